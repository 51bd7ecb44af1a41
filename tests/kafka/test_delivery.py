"""One record that cannot be delivered holds nobody up: it is a dead letter, in order and once."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from processor import Client, Worker, workflow
from processor.cli.commands.inspection import description_lines
from processor.client import RunDescription
from processor.codec.records import decode_as
from processor.core.records.effects import RunResult
from processor.kafka.publishing import transactions as publishing
from processor.kafka.publishing.publisher import ShardPublisher
from processor.kafka.topics.dead_letters import DeadLetters
from processor.kafka.topics.specs import is_own
from processor.node.publishing.undeliverable import OWN_TOPIC, Undeliverable

from .delivered import is_done, letters, record, result, results, topic_of
from .harness import PARTITIONS, Adapters, set_config, until


def test_a_record_that_is_too_large_is_a_letter_and_the_next_ones_are_published(
    kafka: Adapters, publisher: ShardPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = topic_of(kafka, "narrow", max_message_bytes="1000")
    large = os.urandom(5_000)
    publisher.publish(1, [result(1)])
    publisher.publish(2, [record(narrow, b"before"), record(narrow, large), record(narrow, b"2")])
    publisher.publish(3, [result(3)])
    begun = time.monotonic()
    until(is_done(publisher), "everything")
    assert time.monotonic() - begun < 15
    assert results(kafka, 2) == [1, 3]
    assert [m.value() for m in kafka.records(narrow, 2)] == [b"before", b"2"]
    (letter,) = letters(kafka, 1)
    assert (letter.topic, letter.key, letter.value) == (narrow, b"k", large)
    assert "MSG_SIZE_TOO_LARGE" in letter.reason and "run run-1" in letter.reason
    told = publisher.outputs.undelivered("run-1")
    assert told is not None and (told.count, told.reasons) == (1, (letter.reason,))
    assert publisher.outputs.undelivered("run-3") is None
    assert "run run-1 of workflow id 'w1'" in caplog.text
    assert "processor topics dead-letters replay" in caplog.text


def test_small_records_that_are_too_large_together_are_no_letters(
    kafka: Adapters, publisher: ShardPublisher
) -> None:
    narrow = topic_of(kafka, "narrow", max_message_bytes="1000")
    values = [os.urandom(300) for _ in range(30)]
    values[17] = os.urandom(3_000)
    for offset, value in enumerate(values):
        publisher.publish(offset, [record(narrow, value, offset), result(offset)])
    until(is_done(publisher), "everything")
    good = [value for value in values if len(value) < 1_000]
    assert [m.value() for m in kafka.records(narrow, len(good))] == good
    assert [letter.value for letter in letters(kafka, 1)] == [values[17]]
    assert results(kafka, 30) == list(range(30))


def test_what_a_broker_calls_invalid_is_a_letter(
    kafka: Adapters, publisher: ShardPublisher
) -> None:
    """A compacted topic takes no record without a key."""
    compacted = topic_of(kafka, "compacted", cleanup_policy="compact")
    for offset in range(20):
        key = None if offset % 3 == 0 else b"k"
        publisher.publish(offset, [record(compacted, b"%d" % offset, offset, key), result(offset)])
    until(is_done(publisher), "everything")
    keyed = [b"%d" % offset for offset in range(20) if offset % 3]
    assert [m.value() for m in kafka.records(compacted, len(keyed))] == keyed
    found = letters(kafka, 7)
    assert [letter.value for letter in found] == [b"%d" % n for n in range(0, 20, 3)]
    assert all("INVALID_RECORD" in letter.reason for letter in found)
    assert results(kafka, 20) == list(range(20))


def test_records_for_a_topic_that_does_not_exist_are_letters(
    kafka: Adapters, publisher: ShardPublisher
) -> None:
    missing = f"{kafka.connection.namespace}-missing"
    for offset in range(300):
        publisher.publish(offset, [record(missing, b"%d" % offset, offset), result(offset)])
    begun = time.monotonic()
    until(is_done(publisher), "everything", 60)
    assert time.monotonic() - begun < 40, "one after the other is 25 minutes"
    found = letters(kafka, 300)
    assert [letter.value for letter in found] == [b"%d" % offset for offset in range(300)]
    assert "does not exist" in found[0].reason
    assert results(kafka, 300) == list(range(300))
    begun = time.monotonic()
    publisher.publish(300, [record(missing, b"again"), result(300)])
    until(is_done(publisher), "the next one")
    assert time.monotonic() - begun < 4.5, "the topic was waited for once, which takes 5 s"


def test_topics_that_do_not_exist_are_waited_for_together(
    kafka: Adapters, publisher: ShardPublisher
) -> None:
    missing = f"{kafka.connection.namespace}-missing"
    begun = time.monotonic()
    for offset in range(6):
        publisher.publish(offset, [record(f"{missing}-{offset}", b"%d" % offset, offset)])
    publisher.publish(6, [result(6)])
    until(is_done(publisher), "everything", 60)
    assert time.monotonic() - begun < 25, "one after the other is 30 s"
    assert [letter.value for letter in letters(kafka, 6)] == [b"%d" % n for n in range(6)]
    assert results(kafka, 1) == [6]


@pytest.mark.parametrize("name", ["events", "commands", "results", "activities.default"])
def test_records_for_a_topic_of_the_namespaces_own_are_letters(
    kafka: Adapters, publisher: ShardPublisher, name: str
) -> None:
    """Histories of before may have them, though workflow code is refused such a name now."""
    publisher.publish(1, [record(kafka.topic(name), b"v"), result(1)])
    until(is_done(publisher), "everything")
    (letter,) = letters(kafka, 1)
    assert (letter.topic, letter.value) == (kafka.topic(name), b"v")
    assert OWN_TOPIC in letter.reason
    assert results(kafka, 1) == [1]
    assert not kafka.records(kafka.topic("events"), 0, PARTITIONS)


@pytest.mark.parametrize("named", [True, False])
def test_a_topic_that_takes_nothing_in_a_transaction_is_found(
    kafka: Adapters, publisher: ShardPublisher, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """The broker's error names no topic: it is found by trying them one by one."""
    if not named:
        monkeypatch.setattr(Undeliverable, "_never", lambda self, topic: "")
    there = topic_of(kafka, "there")
    for offset in range(10):
        records = [record(there, b"%d" % offset), record("__transaction_state", b"x", offset)]
        publisher.publish(offset, [*records, result(offset)])
    until(is_done(publisher), "everything", 30)
    found = letters(kafka, 10)
    assert {letter.topic for letter in found} == {"__transaction_state"}
    assert ("TOPIC_AUTHORIZATION_FAILED" in found[0].reason) is not named
    assert [m.value() for m in kafka.records(there, 10)] == [b"%d" % n for n in range(10)]
    assert results(kafka, 10) == list(range(10))


def test_a_producer_that_is_thrown_away_is_freed(
    kafka: Adapters, publisher: ShardPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka import KafkaError, KafkaException

    fails: list[int] = []

    class Failing(Producer):
        def commit_transaction(self, *arguments: Any) -> None:
            if fails:
                fails.pop()
                cause = KafkaError(KafkaError.INVALID_TXN_STATE, txn_requires_abort=True)
                raise KafkaException(cause)
            super().commit_transaction(*arguments)

    monkeypatch.setattr(publishing, "Producer", Failing)
    held = []
    for offset in range(20):
        fails.append(1)
        publisher.publish(offset, [result(offset)])
        until(is_done(publisher), "this one")
        held.append((_threads(), len(os.listdir("/proc/self/fd"))))
    until(lambda: _threads() <= held[2][0] + 4, f"the threads to end: {held}", 10)
    assert len(os.listdir("/proc/self/fd")) <= held[2][1] + 10, held


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


@pytest.mark.parametrize("name", ["", ".", "..", "no such name", "näme", "x" * 250, "a/b", "a\n"])
def test_records_for_what_can_be_no_topic_are_letters(
    kafka: Adapters, publisher: ShardPublisher, name: str
) -> None:
    """Histories of before may have them, though workflow code is refused such a name now."""
    publisher.publish(1, [record(name, b"v"), result(1)])
    until(is_done(publisher), "everything")
    (letter,) = letters(kafka, 1)
    assert (letter.topic, letter.value) == (name, b"v")
    assert "no topic can have this name" in letter.reason
    assert results(kafka, 1) == [1]


@pytest.mark.parametrize(
    "name", ["commands", "events", "results", "dead-letters", "activities.q", "__consumer_offsets"]
)
def test_records_for_topics_that_are_not_the_users_are_letters(
    kafka: Adapters, publisher: ShardPublisher, name: str
) -> None:
    topic = name if name.startswith("_") else kafka.connection.topic(name)
    publisher.publish(1, [record(topic, b"v"), result(1)])
    until(is_done(publisher), "everything")
    (letter,) = letters(kafka, 1)
    assert (letter.topic, letter.value) == (topic, b"v")
    assert letter.reason.endswith("does not write to Processor's or Kafka's own topics")
    assert results(kafka, 1) == [1]
    (kept,) = DeadLetters(kafka.connection).read()
    assert kept.why_not, "nor does a replay write it there"


def test_a_topic_of_the_users_may_begin_as_the_namespace_does() -> None:
    assert not is_own("shop", "shop.orders")
    assert not is_own("shop", "other.commands")
    assert is_own("shop", "shop.commands")


def test_a_result_that_is_too_large_is_a_letter(kafka: Adapters, publisher: ShardPublisher) -> None:
    set_config(kafka.admin, kafka.topic("results"), "max.message.bytes", "2000")
    large = RunResult("w", "r", "r", "workflow", "completed", os.urandom(5_000), None, None, 1)
    publisher.publish(1, [large])
    publisher.publish(2, [result(2)])
    until(is_done(publisher), "everything")
    (letter,) = letters(kafka, 1)
    assert (letter.topic, letter.key) == (kafka.topic("results"), b"w")
    assert decode_as(RunResult, letter.value or b"") == large
    assert results(kafka, 1) == [2]


def test_a_letter_is_written_once_though_its_commit_was_not_heard_of(
    kafka: Adapters, publisher: ShardPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka import KafkaError, KafkaException

    lost = []

    class Deaf(Producer):
        def commit_transaction(self, *arguments: Any) -> None:
            super().commit_transaction(*arguments)
            if len(lost) < 3:
                lost.append(1)
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    monkeypatch.setattr(publishing, "Producer", Deaf)
    narrow = topic_of(kafka, "narrow", max_message_bytes="1000")
    for offset in range(5):
        publisher.publish(offset, [record(narrow, os.urandom(2_000), offset), result(offset)])
        until(is_done(publisher), "this one")
    assert len(lost) == 3
    assert results(kafka, 5) == list(range(5))
    reasons = [letter.reason for letter in letters(kafka, 5)]
    assert [reason.partition(" of ")[0] for reason in reasons] == [f"run run-{n}" for n in range(5)]
    assert all(publisher.outputs.undelivered(f"run-{n}") is not None for n in range(5))


@workflow.define
async def publishes(topics: list[str]) -> str:
    for topic in topics:
        workflow.publish(topic, "k", f"for {topic}")
    return "done"


async def talk(kafka: Adapters, narrow: str, state: Path) -> list[RunDescription]:
    connection = kafka.connection
    async with (
        Worker(
            connection.servers,
            namespace=connection.namespace,
            workflows=[publishes],
            state_dir=state,
        ),
        Client(connection.servers, namespace=connection.namespace) as client,
    ):
        missing = f"{connection.namespace}-missing"
        assert await client.run(publishes, [narrow, missing, narrow], id="bad") == "done"
        assert await client.run(publishes, [narrow], id="good") == "done"
        async with asyncio.timeout(60):
            while True:  # first it says that the record waits
                bad = await client.handle("bad").describe()
                if bad.undelivered is not None and bad.undelivered["count"]:
                    break
                await asyncio.sleep(0.1)
        return [bad, await client.handle("good").describe()]


def test_a_run_says_what_it_could_not_deliver(
    kafka: Adapters, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = topic_of(kafka, "there")
    bad, good = asyncio.run(talk(kafka, there, tmp_path / "worker"))
    assert good.undelivered is None
    assert bad.undelivered is not None and bad.undelivered["count"] == 1
    (reason,) = bad.undelivered["reasons"]
    assert f"{kafka.connection.namespace}-missing" in reason and bad.run_id in reason
    assert f"run {bad.run_id} of workflow id 'bad'" in caplog.text
    assert ("undelivered", f"1 in dead-letters\n{reason}") in list(description_lines(bad))
    assert len(kafka.records(there, 3)) == 3
    assert len(kafka.records(kafka.topic("results"), 2, PARTITIONS)) == 2
    (letter,) = letters(kafka, 1)
    assert letter.reason == reason
