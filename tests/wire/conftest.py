"""The producer of a test, which has a fixture ``cluster`` of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import Security
from tests.wire.scripted import Cluster
from tests.wire.sent import Sent


@pytest.fixture
def sent(cluster: Cluster) -> Iterator[Sent]:
    producer = WireProducer(cluster.servers, Security(), "a test")
    yield Sent(producer)
    producer.close()
