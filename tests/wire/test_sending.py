"""What is sent until it is delivered says what keeps it, and waits longer from time to time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.codec.records import decode_as
from processor.config import Settings
from processor.core.records.effects import DeadLetter
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.clients.sending import Sending
from processor.kafka.transport import KafkaTransport
from processor.kafka.wire import machine
from tests.wire.scripted import Cluster


@pytest.mark.parametrize("topic", ["default.timers", "default.dead-letters"])
def test_a_topic_that_we_may_not_write_to_is_tried_with_patience_until_we_may(
    caplog: Any, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cluster({topic: 1}) as cluster:
        transport = KafkaTransport(KafkaSettings(cluster.servers), Settings())
        refusals = [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 2
        cluster.misbehave = lambda _: refusals.pop() if refusals else 0
        waits_s: list[float] = []
        later = transport.sends.produce_later

        def noted(outgoing: Outgoing, wait_s: float) -> None:
            waits_s.append(wait_s)
            later(outgoing, wait_s)

        monkeypatch.setattr(transport.sends, "produce_later", noted)
        done: list[int] = []
        sending = Sending(transport, "shard 0")
        sending.send(topic, 0, b"key", b"value", lambda: done.append(1))
        deadline = time.monotonic() + 20
        while not done and time.monotonic() < deadline:
            time.sleep(0.01)
        transport.close()
        assert done and cluster.records(topic, 0) == [(b"key", b"value")]
        assert "Allow this process's user Write and Describe on that topic" in caplog.text
        waits = "the shard takes no command, report or timer" in caplog.text
        assert waits == (topic == "default.dead-letters"), "a letter holds back what comes after it"
        first, second = waits_s
        assert second > 1.3 * first


def test_tasks_of_a_queue_without_topic_are_counted_apart_and_bounded(
    caplog: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(machine, "_MISSING_S", 0.2)
    monkeypatch.setattr("processor.kafka.clients.sending.STUCK_MAX", 5)
    letters, queue = "default.dead-letters", "default.activities.nope"
    with Cluster({letters: 1}) as cluster:
        transport = KafkaTransport(KafkaSettings(cluster.servers), Settings())
        sending, done = Sending(transport, "shard 0"), list[int]()
        for number in range(8):
            key, said = b"k%d" % number, partial(done.append, number)
            sending.send(queue, -1, key, b"task", said, turn=number // 2)
        until(lambda: len(done) == 3)
        assert sending.stuck.turns == 3
        assert len(cluster.records(letters, 0)) == 3
        assert "too many tasks wait for it" in caplog.text
        cluster.topics[queue] = 1
        until(lambda: len(done) == 8)
        transport.close()
    assert sending.stuck.turns == 0
    assert len(cluster.records(queue, 0)) == 5


@pytest.mark.parametrize("size", [100_000, 1_900_000])
def test_a_letter_is_cut_to_what_its_topic_takes(size: int, caplog: Any) -> None:
    topic = "default.dead-letters"
    with Cluster({topic: 1, "default.commands": 1}) as cluster:
        cluster.batch_max = 20_000
        transport = KafkaTransport(KafkaSettings(cluster.servers), Settings())
        sending, done = Sending(transport, "shard 0"), list[int]()
        value = os.urandom(size)
        sending.bury(DeadLetter("commands", 0, 7, b"key", value, "why"), lambda: done.append(1))
        large = os.urandom(200_000)
        sending.send("default.commands", 0, b"k", large, lambda: done.append(2))
        until(lambda: len(done) == 2)
        transport.close()
        first, second = (decode_as(DeadLetter, v or b"") for _, v in cluster.records(topic, 0))
        if first.offset != 7:
            first, second = second, first
        assert (first.key, first.offset) == (b"key", 7)
        assert first.value and len(first.value) > 4_000 and value.startswith(first.value)
        assert "why (the first" in first.reason
        assert second.value and large.startswith(second.value) and len(second.value) > 4_000


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)
