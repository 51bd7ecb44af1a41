"""What is sent until it is delivered says what keeps it, and waits longer from time to time."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from confluent_kafka import KafkaError

from processor.config import Settings
from processor.kafka.connection import KafkaSettings
from processor.kafka.sending import Sending
from processor.kafka.transport import KafkaTransport
from tests.wire.scripted import Cluster


def test_a_topic_that_we_may_not_write_to_is_tried_with_patience_until_we_may(caplog: Any) -> None:
    topic = "default.timers"
    with Cluster({topic: 1}) as cluster:
        transport = KafkaTransport(KafkaSettings(cluster.servers), Settings())
        tries: list[float] = []

        def refuse(_: object) -> int:
            tries.append(time.monotonic())
            return KafkaError.TOPIC_AUTHORIZATION_FAILED if len(tries) < 3 else 0

        cluster.misbehave = refuse
        done: list[int] = []
        sending = Sending(transport, "shard 0")
        sending.send(topic, 0, b"key", b"value", lambda: done.append(1))
        deadline = time.monotonic() + 20
        while not done and time.monotonic() < deadline:
            time.sleep(0.01)
        transport.close()
        assert done and cluster.records(topic, 0) == [(b"key", b"value")]
        assert "Allow this process's user Write and Describe on that topic" in caplog.text
        first, second = (after - before for before, after in pairwise(tries))
        assert second > 1.3 * first
