"""What a shard has on its way to brokers is bounded, and what does not arrive is said seldom."""

from __future__ import annotations

import gc
import logging
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError

from processor.core.data.address import ReplyTo
from processor.core.data.cause import Origin
from processor.core.nouns.external import RaiseEvent
from processor.core.records.answers import Accepted, Page
from processor.core.records.effects import ActivityTask, DeadLetter, Message, Reply
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.record_producer import Delivered, Outgoing
from processor.kafka.queues.tasks import OpenTasks
from processor.kafka.shards import answers
from processor.kafka.shards.outbox import KafkaOutbox
from processor.kafka.shards.reply_topics import ReplyTopics

LARGE = b"x" * 100_000
MISSING = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
NO_LEADER = KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


class Producer:
    """Keeps what it is given until a test says what becomes of it."""

    def __init__(self) -> None:
        self.given: list[Outgoing] = []

    def produce(
        self, topic: str, partition: int, key: bytes | None, value: bytes, delivered: Delivered
    ) -> None:
        self.given.append(Outgoing(topic, partition, key, value, delivered))

    def produce_later(self, outgoing: Outgoing, _delay_s: float) -> None:
        self.given.append(outgoing)

    def fail(self, _error: KafkaError) -> None: ...

    def settle(self, error: KafkaError | None = None) -> None:
        given, self.given = self.given, []
        for outgoing in given:
            outgoing.delivered(error, None)


class Transport:
    def __init__(self) -> None:
        self.connection = KafkaSettings("localhost:9092", "ns")
        self.sends = Producer()
        self.too_large: set[Origin] = set()
        self.reply_topics = ReplyTopics(dict)


@pytest.fixture
def transport() -> Any:
    return Transport()


@pytest.fixture
def outbox(transport: Any) -> KafkaOutbox:
    publisher: Any = Mock()
    return KafkaOutbox(7, 8, transport, transport.sends, publisher)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("processor.seldom.monotonic", lambda: now[0])
    return now


def reply(content: bytes = b"{}") -> Reply:
    return Reply(ReplyTo(0, "client", 1), Page(content))


def task(queue: str = "default") -> ActivityTask:
    return ActivityTask(
        "w", "0-0", "order", 1, 1, "charge", LARGE, queue, False, 0, None, None, None, None
    )


# --- answers ----------------------------------------------------------------------------------


def test_answers_that_could_not_be_sent_are_said_every_30_s_with_their_number(
    transport: Any, outbox: KafkaOutbox, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(count: int, error: KafkaError) -> list[str]:
        caplog.clear()
        for _ in range(count):
            outbox.reply(reply())
        transport.sends.settle(error)
        return [record.getMessage() for record in caplog.records]

    (first,) = refuse(100, MISSING)
    assert first.startswith("shard 7: 1 replies could not be sent so far, the last one to ns.repl")
    assert "`processor topics apply --namespace ns`" in first
    assert "who writes to ns.commands" in first
    clock[0] += 29.9
    assert refuse(100, MISSING) == []
    (second,) = refuse(100, NO_LEADER)  # what strangers name hides nothing of a topic that is there
    assert second.startswith("shard 7: 201 replies") and "Clients ask again" in second
    assert "`processor topics apply" not in second
    clock[0] += 0.2
    assert refuse(100, NO_LEADER) == []
    (third,) = refuse(100, MISSING)
    assert third.startswith("shard 7: 401 replies")
    clock[0] += 3_600
    outbox.reply(reply())
    transport.sends.settle()
    assert refuse(0, MISSING) == [], "nothing is said of what arrives"
    outbox.reply(reply())
    outbox.close()
    assert refuse(0, MISSING) == [], "nobody is there any more to send it"


def test_answers_that_nobody_takes_are_bounded_and_go_on(
    transport: Any,
    outbox: KafkaOutbox,
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(answers, "_BYTES_MAX", 1_000_000)
    for _ in range(50):
        outbox.reply(reply(LARGE))
    assert len(transport.sends.given) == 10
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "1 replies could not be sent" in record.getMessage()
    assert "bytes of answers wait for a broker" in record.getMessage()
    transport.sends.settle()
    outbox.reply(Reply(ReplyTo(0, "client", 2), Accepted("run")))
    assert len(transport.sends.given) == 1


# --- what turns send --------------------------------------------------------------------------


def test_what_turns_send_is_counted_until_a_broker_has_it(
    transport: Any, outbox: KafkaOutbox
) -> None:
    outbox.send(task(), 1)
    outbox.send(DeadLetter("commands", 7, 3, b"k", LARGE, "why"), 2)
    assert 200_000 < outbox.unsent_bytes < 210_000
    transport.sends.settle(NO_LEADER)
    assert 200_000 < outbox.unsent_bytes < 210_000, "what is sent again is on its way"
    outbox.send(Message("w", RaiseEvent("go", LARGE)), 3, Origin(b"a log of 16 byte", 7, 3, 0))
    assert 300_000 < outbox.unsent_bytes < 310_000
    transport.sends.settle()
    assert outbox.unsent_bytes == 0 and sorted(outbox.delivered()) == [1, 2, 3]


def test_tasks_that_wait_for_the_topic_of_their_queue_hold_nobody_up(
    transport: Any, outbox: KafkaOutbox
) -> None:
    outbox.send(task(), 1)
    outbox.send(task("nope"), 2)
    transport.sends.settle(MISSING)
    assert (outbox.stuck, outbox.unsent_bytes) == (2, 0)
    transport.sends.settle()
    assert (outbox.stuck, outbox.unsent_bytes) == (0, 0)
    assert sorted(outbox.delivered()) == [1, 2]


def test_what_its_topic_refuses_is_counted_as_its_letter(
    transport: Any, outbox: KafkaOutbox
) -> None:
    outbox.send(task(), 1)
    transport.sends.settle(TOO_LARGE)
    (letter,) = transport.sends.given
    assert letter.topic == "ns.dead-letters" and 100_000 < outbox.unsent_bytes < 102_000
    transport.sends.settle(TOO_LARGE)
    transport.sends.settle()
    assert outbox.unsent_bytes == 0 and outbox.delivered() == [1]


def test_what_was_sent_is_not_left_to_the_garbage_collector(
    transport: Any, outbox: KafkaOutbox
) -> None:
    """Megabytes in a cycle stay until it comes, which it does for many objects, not for large."""

    class Value(bytes):
        """What can be looked for."""

    gc.collect()
    gc.disable()
    try:
        sending = outbox._sending
        sending.send("ns.timers", 7, b"k", Value(LARGE), lambda: None)
        transport.sends.settle(NO_LEADER)
        transport.sends.settle()
        assert not [each for each in gc.get_objects() if isinstance(each, Value)]
    finally:
        gc.enable()


def test_a_queue_counts_its_reports_until_a_broker_has_them(transport: Any) -> None:
    tasks = OpenTasks(transport, "default", lambda *_: None, 8)
    message: Any = Junk()
    assert tasks.read(message, lambda: None) is None
    assert 100_000 < tasks.unsent_bytes < 102_000
    transport.sends.settle()
    assert tasks.unsent_bytes == 0


class Junk:
    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 5

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return LARGE
