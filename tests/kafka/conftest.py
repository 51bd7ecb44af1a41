"""Every test in this folder runs on a real Kafka broker, one for the whole session."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from processor.kafka.topics import connect

from .broker import NoBrokerError, any_broker

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """The bootstrap servers of a broker; without one, tests are skipped, or fail in CI."""
    with ExitStack() as stack:
        try:
            servers = stack.enter_context(any_broker())
        except NoBrokerError as error:
            reason = f"No Kafka broker can be had here. {error}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        yield servers


@pytest.fixture
def admin(kafka_servers: str) -> AdminClient:
    """An admin client of the session's broker."""
    return connect(kafka_servers)


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"
