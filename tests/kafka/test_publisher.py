"""Results and published records, exactly once, whatever happens to their producers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from processor.codec.records import decode_as, encode
from processor.config import Settings
from processor.core.effects import Publish, RunResult
from processor.core.turn import Claim, Positions, Turn
from processor.errors import LogTruncated
from processor.kafka import publisher
from processor.kafka.publisher import ShardPublisher
from processor.kafka.transport import KafkaTransport
from processor.shard.ports import Outbox

from .harness import Adapters, acknowledged, adapters, log_of, until


@pytest.fixture
def kafka(
    kafka_servers: str, namespace: str, admin: AdminClient, tmp_path: Path
) -> Iterator[Adapters]:
    with adapters(kafka_servers, namespace, admin, tmp_path) as made:
        yield made


class Owner:
    """A publisher of shard 0 in a process of its own (a transport of its own)."""

    def __init__(
        self, kafka: Adapters, *, ours: bool = True, settings: Settings | None = None
    ) -> None:
        self.transport = KafkaTransport(kafka.connection, settings or Settings())
        self.ours = ours
        self.publisher = ShardPublisher(
            0, self.transport.publishing, "", lambda: self.ours, lambda: True
        )

    def die(self) -> None:
        """Stop without handing over."""
        self.publisher.close()
        self.transport.close()


def result(number: int) -> RunResult:
    return RunResult(f"w{number}", f"0-{number}", "order", "completed", b"%d" % number, None, 1)


def results(kafka: Adapters, count: int) -> list[str]:
    """Return the workflow ids of all results that a read_committed consumer sees, sorted."""
    found = kafka.records(kafka.topic("results"), count, 4)
    return sorted(decode_as(RunResult, message.value() or b"").workflow_id for message in found)


def ids(*numbers: int) -> list[str]:
    return sorted(f"w{number}" for number in numbers)


def is_done(owner: Owner) -> bool:
    return owner.publisher.backlog == 0


def make_topic(kafka: Adapters, topic: str) -> None:
    for future in kafka.admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()


def test_records_are_published_in_order_with_their_position(kafka: Adapters) -> None:
    make_topic(kafka, user := f"{kafka.connection.namespace}-user")
    outbox: Outbox = kafka.open().outbox
    assert outbox.published() == 0
    for offset in range(1, 41):
        outbox.publish(offset, [result(offset), Publish(user, b"k", b"%d" % offset)])
    assert results(kafka, 40) == ids(*range(1, 41))
    published = kafka.records(user, 40)
    assert [message.value() for message in published] == [b"%d" % n for n in range(1, 41)]
    assert {message.key() for message in published} == {b"k"}
    (first, *_) = kafka.records(kafka.topic("results"), 40, 4)
    assert first.headers() == [("content-type", b"avro/binary")]
    outbox.close()
    assert kafka.open().outbox.published() == 41


def test_results_gather_after_the_first_and_a_clean_stop_waits_for_none(kafka: Adapters) -> None:
    owner = Owner(kafka, settings=Settings(publish_linger_ms=20_000))
    owner.publisher.begin()
    time.sleep(0.2)
    owner.transport.drain(5)  # the linger ends for good, so that the next one is published at once
    owner.publisher.publish(1, [result(1)])
    until(lambda: is_done(owner), "a publisher in a hurry")
    owner.die()
    slow = Owner(kafka, settings=Settings(publish_linger_ms=20_000))
    slow.publisher.begin()
    slow.publisher.publish(2, [result(2)])
    slow.publisher.publish(3, [result(3)])
    time.sleep(0.5)
    assert not is_done(slow)
    begun = time.monotonic()
    slow.transport.drain(5)
    assert is_done(slow) and time.monotonic() - begun < 4
    assert results(kafka, 3) == ids(1, 2, 3)
    slow.die()


def test_a_takeover_goes_on_at_the_committed_position(kafka: Adapters) -> None:
    first = Owner(kafka)
    first.publisher.begin()
    for offset in range(1, 11):
        first.publisher.publish(offset, [result(offset)])
    until(lambda: is_done(first), "the first owner")
    first.die()
    second = Owner(kafka)
    assert second.publisher.begin() == 11
    for offset in range(5, 16):  # it cannot know exactly, and offers more
        second.publisher.publish(offset, [result(offset)])
    until(lambda: is_done(second), "the second owner")
    assert results(kafka, 15) == ids(*range(1, 16))
    second.die()


def test_what_a_dead_owner_left_open_is_aborted_at_once(kafka: Adapters) -> None:
    owner = Owner(kafka)
    owner.publisher.begin()
    owner.publisher.publish(1, [result(1)])
    until(lambda: is_done(owner), "the first owner")
    owner.die()
    connection = kafka.connection
    config = connection.transactional_producer(f"{connection.namespace}.shard.0")
    dead = Producer({**config, "transaction.timeout.ms": 60_000})
    dead.init_transactions(10)
    dead.begin_transaction()
    dead.produce(connection.topic("results"), encode(result(2)), b"w2")
    assert dead.flush(10) == 0  # written, and neither committed nor aborted: its process dies here
    begun = time.monotonic()
    second = Owner(kafka)
    assert second.publisher.begin() == 2
    second.publisher.publish(2, [result(2)])
    until(lambda: is_done(second), "the second owner")
    assert results(kafka, 2) == ids(1, 2)
    assert time.monotonic() - begun < 10, "readers did not wait for the transaction's time-out"
    second.die()


def test_a_zombie_publishes_nothing_and_the_owner_everything(kafka: Adapters) -> None:
    zombie = Owner(kafka)
    zombie.publisher.begin()
    zombie.publisher.publish(1, [result(1)])
    until(lambda: is_done(zombie), "the first owner")
    owner = Owner(kafka)
    assert owner.publisher.begin() == 2
    zombie.ours = False
    zombie.publisher.publish(2, [result(2)])
    owner.publisher.publish(2, [result(2)])
    owner.publisher.publish(3, [result(3)])
    until(lambda: is_done(owner), "the owner")
    assert results(kafka, 3) == ids(1, 2, 3)
    assert not is_done(zombie)
    for each in (owner, zombie):
        each.die()


def test_owners_that_fence_each_other_publish_each_record_once(kafka: Adapters) -> None:
    """Both believe that the shard is theirs, and both offer every record."""
    first, second = Owner(kafka), Owner(kafka)
    first.publisher.begin()
    second.publisher.begin()
    for offset in range(1, 61):
        for owner in (first, second):
            owner.publisher.publish(offset, [result(offset)])
        time.sleep(0.005)
    first.ours = False
    until(lambda: is_done(second), "the second owner", 60)
    assert results(kafka, 60) == ids(*range(1, 61))
    for owner in (first, second):
        owner.die()


def test_a_paused_owner_whose_transaction_was_taken_goes_on(kafka: Adapters) -> None:
    owner = Owner(kafka)
    owner.publisher.begin()
    connection = kafka.connection
    thief = Producer(connection.transactional_producer(f"{connection.namespace}.shard.0"))
    thief.init_transactions(10)
    owner.publisher.publish(1, [result(1)])
    until(lambda: is_done(owner), "the owner")
    assert results(kafka, 1) == ids(1)
    owner.die()


def test_a_missing_topic_of_the_user_is_named_and_waited_for(
    kafka: Adapters, caplog: pytest.LogCaptureFixture
) -> None:
    missing = f"{kafka.connection.namespace}-late"
    owner = Owner(kafka)
    owner.publisher.begin()
    owner.publisher.publish(1, [result(1)])
    owner.publisher.publish(2, [Publish(missing, None, b"x")])
    owner.publisher.publish(3, [result(3)])
    assert results(kafka, 1) == ids(1)
    until(lambda: "does not exist: make the topic" in caplog.text, "the hint")
    assert missing in caplog.text
    make_topic(kafka, missing)
    until(lambda: is_done(owner), "the rest")
    assert [message.value() for message in kafka.records(missing, 1)] == [b"x"]
    assert results(kafka, 2) == ids(1, 3)
    owner.die()


def test_a_lost_position_is_not_guessed(kafka: Adapters) -> None:
    ports = kafka.open()
    log = log_of(ports)
    log.append(b"claim/1", encode(Claim("me", "1", 1)))
    acknowledged(log, 1)
    assert ports.outbox.published() == 0, "claims alone: nothing can have been published"
    ports.outbox.close()
    group = kafka.connection.results_group
    for future in kafka.admin.delete_consumer_groups([group]).values():
        future.result()
    turn = Turn("w", "0-0", 0, 0, 1, "commands", Positions(), 0, None, ())
    log.append(b"0-0/0/0", encode(turn))
    acknowledged(log, 1)
    with pytest.raises(LogTruncated, match=r"--reset-offsets --to-offset N"):
        kafka.open().outbox.published()


def test_a_call_that_never_returns_stops_nothing(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As librdkafka's does when the connection to the group's coordinator breaks in between."""
    armed, never = threading.Event(), threading.Event()
    stuck: list[object] = []

    class Stuck(Producer):
        def send_offsets_to_transaction(self, *arguments: Any) -> None:
            if armed.is_set() and not stuck:
                stuck.append(arguments)
                never.wait()
            super().send_offsets_to_transaction(*arguments)

    monkeypatch.setattr(publisher, "_OFFSETS_S", 3.0)
    monkeypatch.setattr(publisher, "Producer", Stuck)
    first = Owner(kafka)
    assert first.publisher.begin() == 0
    armed.set()
    first.publisher.publish(5, [result(5)])
    until(lambda: bool(stuck), "the call")
    first.publisher.publish(6, [result(6)])
    until(lambda: is_done(first), "everything is published all the same")
    never.set()
    assert results(kafka, 2) == ids(5, 6)
    first.die()
