"""Results and published records, exactly once, whatever happens to their producers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from processor.codec.records import LEVEL, decode_as, encode
from processor.config import Settings
from processor.core.records.effects import Publish, RunResult
from processor.core.records.turn import Claim, Positions, Turn, claim_key, turn_key
from processor.errors import LogTruncated
from processor.kafka.group.membership import Membership
from processor.kafka.publishing import transactions as publishing
from processor.kafka.publishing.publisher import KafkaPublisher, ShardPublisher
from processor.kafka.topics.upkeep import read_topics
from processor.kafka.transport import KafkaTransport
from processor.node.publishing.faults import PublishingFailed
from processor.node.publishing.steps import Standing
from processor.shard.ports import Outbox

from .harness import (
    PARTITIONS,
    Adapters,
    acknowledged,
    log_of,
    nobodys,
    set_config,
    until,
)


class Owner:
    """A process that publishes; ``standing`` is what its group says of it."""

    def __init__(
        self,
        kafka: Adapters,
        name: str = "first",
        *,
        standing: Callable[[], Standing] | None = None,
        linger_ms: int = 20,
    ) -> None:
        nobody = nobodys(kafka.connection)
        self.transport = KafkaTransport(kafka.connection, Settings())
        self.publishing = KafkaPublisher(
            kafka.connection,
            name,
            standing or (lambda: nobody),
            self.transport.last_committed,
            linger_ms / 1000,
        )
        self.publisher = self.shard(0)

    def shard(self, partition: int) -> ShardPublisher:
        return ShardPublisher(partition, self.publishing, "", lambda: True)

    def die(self) -> None:
        """Stop without handing over."""
        self.publisher.close()
        self.publishing.close()
        self.transport.close()


@contextmanager
def member(kafka: Adapters, name: str, shards: int = PARTITIONS) -> Iterator[Membership]:
    """Join the group for real, from a loop of its own, and wait for so many shards."""

    async def revoke(partition: int) -> None:
        pass

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    membership = Membership(
        kafka.connection,
        Settings(),
        name,
        loop,
        assign=lambda _: None,
        revoke=revoke,
        failed=lambda _: None,
        next_command=lambda _: -1,
    )
    membership.start()
    try:
        until(lambda: len(membership.owned) == shards, f"the shards of {name}")
        yield membership
    finally:
        asyncio.run_coroutine_threadsafe(membership.close(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def result(number: int) -> RunResult:
    run_id = f"run-{number}"
    return RunResult(
        f"w{number}", run_id, run_id, "order", "completed", b"%d" % number, None, None, 1
    )


def results(kafka: Adapters, count: int) -> list[str]:
    """Return the workflow ids of all results that a read_committed consumer sees, sorted."""
    found = kafka.records(kafka.topic("results"), count, 4)
    return sorted(decode_as(RunResult, message.value() or b"").workflow_id for message in found)


def ids(*numbers: int) -> list[str]:
    return sorted(f"w{number}" for number in numbers)


def is_done(owner: Owner) -> bool:
    return owner.publisher.outputs.backlog == 0


def make_topic(kafka: Adapters, topic: str) -> None:
    for future in kafka.admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()
    until(lambda: bool(read_topics(kafka.admin, [topic])), f"topic {topic}")


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
    owner = Owner(kafka, linger_ms=20_000)
    owner.publisher.begin()
    time.sleep(0.2)
    owner.publishing.drain(5)  # the linger ends for good, so that the next one is published at once
    owner.publisher.publish(1, [result(1)])
    until(lambda: is_done(owner), "a publisher in a hurry")
    owner.die()
    slow = Owner(kafka, linger_ms=20_000)
    slow.publisher.begin()
    slow.publisher.publish(2, [result(2)])
    slow.publisher.publish(3, [result(3)])
    time.sleep(0.5)
    assert not is_done(slow)
    begun = time.monotonic()
    slow.publishing.drain(15)
    assert is_done(slow) and time.monotonic() - begun < 15, "it lingers for 20 s"
    assert results(kafka, 3) == ids(1, 2, 3)
    slow.die()


def test_a_takeover_goes_on_at_the_committed_position(kafka: Adapters) -> None:
    first = Owner(kafka)
    first.publisher.begin()
    for offset in range(1, 11):
        first.publisher.publish(offset, [result(offset)])
    until(lambda: is_done(first), "the first owner")
    first.die()
    second = Owner(kafka, "second")
    assert second.publisher.begin() == 11
    for offset in range(5, 16):  # it cannot know exactly, and offers more
        second.publisher.publish(offset, [result(offset)])
    until(lambda: is_done(second), "the second owner")
    assert results(kafka, 15) == ids(*range(1, 16))
    second.die()


@pytest.mark.parametrize("at", ["written", "positions sent"])
def test_what_a_dead_owner_left_open_is_aborted_at_once(kafka: Adapters, at: str) -> None:
    owner = Owner(kafka)
    owner.publisher.begin()
    owner.publisher.publish(1, [result(1)])
    until(lambda: is_done(owner), "the first owner")
    owner.die()
    dead = former_producer(kafka, "first")
    dead.begin_transaction()
    dead.produce(kafka.topic("results"), encode(result(2)), b"w2")
    if at == "positions sent":
        place = TopicPartition(kafka.topic("events"), 0, 3)
        dead.send_offsets_to_transaction([place], nobodys(kafka.connection).group)
    assert dead.flush(10) == 0  # written, and neither committed nor aborted: its process dies here
    begun = time.monotonic()
    second = Owner(kafka, "second")
    assert second.publisher.begin() == 2
    second.publisher.publish(2, [result(2)])
    until(lambda: is_done(second), "the second owner")
    assert results(kafka, 2) == ids(1, 2)
    assert time.monotonic() - begun < 30, "readers did not wait for the transaction's time-out"
    second.die()


def former_producer(kafka: Adapters, name: str) -> Producer:
    """Return a producer with a process's transactional id; whoever had it is fenced."""
    connection = kafka.connection
    config = connection.transactional_producer(f"{connection.namespace}.publisher.{name}")
    producer = Producer({**config, "transaction.timeout.ms": 60_000})
    producer.init_transactions(10)
    return producer


def test_a_zombie_publishes_nothing_and_the_owner_everything(kafka: Adapters) -> None:
    """What the group says of the zombie is what it said before it gave its shards to the owner."""
    with member(kafka, "first") as before:
        former = before.standing
        zombie = Owner(kafka, standing=lambda: former)
        zombie.publisher.begin()
        zombie.publisher.publish(1, [result(1)])
        until(lambda: is_done(zombie), "the first owner")
    with member(kafka, "second") as now:
        owner = Owner(kafka, "second", standing=lambda: now.standing)
        assert owner.publisher.begin() == 2
        zombie.publisher.publish(2, [result(2)])
        time.sleep(1.0)
        assert not is_done(zombie)
        owner.publisher.publish(2, [result(2)])
        owner.publisher.publish(3, [result(3)])
        until(lambda: is_done(owner), "the owner")
        assert results(kafka, 3) == ids(1, 2, 3)
        owner.die()
    zombie.die()


def test_a_zombie_of_the_same_name_publishes_nothing(kafka: Adapters) -> None:
    """A process that was replaced by one with its own instance id."""
    with member(kafka, "first") as before:
        former = before.standing
        zombie = Owner(kafka, standing=lambda: former)
        zombie.publisher.begin()
        with member(kafka, "first") as now:
            owner = Owner(kafka, standing=lambda: now.standing)
            assert owner.publisher.begin() == 0
            zombie.publisher.publish(1, [result(1)])
            time.sleep(1.0)
            assert not is_done(zombie)
            owner.publisher.publish(1, [result(1)])
            until(lambda: is_done(owner), "the owner")
            assert results(kafka, 1) == ids(1)
            owner.die()
    zombie.die()


def test_an_owner_goes_on_in_the_next_generation(kafka: Adapters) -> None:
    with member(kafka, "first") as membership:
        owner = Owner(kafka, standing=lambda: membership.standing)
        shards = [owner.shard(partition) for partition in range(PARTITIONS)]
        for shard in shards:
            shard.begin()
        with member(kafka, "second", PARTITIONS // 2):
            kept = [shards[partition] for partition in membership.owned]
            for shard in kept:
                shard.publish(1, [result(shard.outputs.partition)])
            until(
                lambda: not any(shard.outputs.backlog for shard in kept),
                "the shards that were kept",
            )
            assert results(kafka, 2) == ids(*(shard.outputs.partition for shard in kept))
        owner.die()


def test_an_owner_goes_on_in_a_generation_that_changes_nothing_for_it(kafka: Adapters) -> None:
    with ExitStack() as members:
        first = members.enter_context(member(kafka, "first"))
        for name, shards in (("second", 2), ("third", 1), ("fourth", 1), ("fifth", 0)):
            last = members.enter_context(member(kafka, name, shards))
        until(lambda: last.standing.group is not None, "the generation in which the fifth joined")
        (partition,) = first.owned
        owner = Owner(kafka, standing=lambda: first.standing)
        shard = owner.shard(partition)
        shard.begin()
        shard.publish(1, [result(1)])
        until(lambda: shard.outputs.backlog == 0, "the shard")
        assert results(kafka, 1) == ids(1)
        owner.die()


def test_a_shard_that_is_given_up_publishes_nothing_more(kafka: Adapters) -> None:
    """Though its publisher was not told yet, and the group would take it: it may be ours again."""
    group, all_of_them = nobodys(kafka.connection)
    owned = dict(all_of_them)
    owner = Owner(kafka, standing=lambda: Standing(group, dict(owned)))
    neighbour = owner.shard(1)
    owner.publisher.begin()
    neighbour.begin()
    time.sleep(0.3)
    del owned[0]
    owner.publisher.publish(1, [result(1)])
    neighbour.publish(1, [result(2)])
    assert results(kafka, 1) == ids(2)
    owned[0] = 2
    neighbour.publish(2, [result(3)])
    assert results(kafka, 2) == ids(2, 3)
    assert not is_done(owner)
    again = owner.shard(0)
    assert again.begin() == 0
    again.publish(1, [result(1)])
    assert results(kafka, 3) == ids(1, 2, 3)
    owner.die()


def test_a_position_is_not_committed_for_a_shard_that_was_lost_meanwhile(kafka: Adapters) -> None:
    """Its next owner may have published beyond what was read."""
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def looks_long() -> bool:
        waiting.release()
        return go_on.wait(20)

    def begin(shard: ShardPublisher) -> None:
        with suppress(PublishingFailed):  # it gives up once it is closed
            shard.begin()

    def committed(partition: int) -> int:
        place = TopicPartition(kafka.topic("events"), partition)
        return owner.transport.last_committed(place).offset or 0

    with member(kafka, "first") as membership:
        owner = Owner(kafka, standing=lambda: membership.standing)
        shards = [
            ShardPublisher(partition, owner.publishing, "", looks_long)
            for partition in range(PARTITIONS)
        ]
        begins = [threading.Thread(target=begin, args=(shard,)) for shard in shards]
        for thread in begins:
            thread.start()
        for _ in shards:
            assert waiting.acquire(timeout=20)
        with member(kafka, "second", PARTITIONS // 2) as second:
            go_on.set()
            until(lambda: all(committed(p) == 0 for p in membership.owned), "those that were kept")
            time.sleep(0.5)
            assert all(committed(p) < 0 for p in second.owned)
            for shard in shards:
                shard.close()
        for thread in begins:
            thread.join(20)
        owner.die()


def test_a_shard_taken_again_waits_for_what_this_process_is_publishing(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, go_on = threading.Event(), threading.Event()

    class Slow(Producer):
        def send_offsets_to_transaction(self, *arguments: Any) -> None:
            if armed:
                sending.set()
                assert go_on.wait(20)
            super().send_offsets_to_transaction(*arguments)

    armed = False
    monkeypatch.setattr(publishing, "Producer", Slow)
    owner = Owner(kafka)
    owner.publisher.begin()
    armed = True
    owner.publisher.publish(1, [result(1)])
    assert sending.wait(20)
    owner.publisher.close()  # its shard was lost, and is claimed again
    again = owner.shard(0)
    positions: list[int] = []
    begins = threading.Thread(target=lambda: positions.append(again.begin()))
    begins.start()
    time.sleep(0.3)
    assert not positions
    go_on.set()
    begins.join(20)
    assert positions == [2]
    again.publish(1, [result(1)])
    again.publish(2, [result(2)])
    until(lambda: again.outputs.backlog == 0, "the rest")
    assert results(kafka, 2) == ids(1, 2)
    owner.die()


def test_a_paused_owner_whose_transaction_was_taken_goes_on(kafka: Adapters) -> None:
    owner = Owner(kafka)
    owner.publisher.begin()
    former_producer(kafka, "first")
    owner.publisher.publish(1, [result(1)])
    until(lambda: is_done(owner), "the owner")
    assert results(kafka, 1) == ids(1)
    owner.die()


def test_a_letter_is_cut_to_what_its_topic_takes_and_holds_nobody_up(kafka: Adapters) -> None:
    make_topic(kafka, narrow := f"{kafka.connection.namespace}-narrow")
    set_config(kafka.admin, narrow, "max.message.bytes", "1000")
    set_config(kafka.admin, kafka.topic("dead-letters"), "max.message.bytes", "1000")
    owner = Owner(kafka)
    neighbour = owner.shard(1)
    owner.publisher.begin()
    neighbour.begin()
    owner.publisher.publish(1, [Publish(narrow, None, os.urandom(5_000))])
    for number in range(10):
        neighbour.publish(number, [result(number)])
        time.sleep(0.05)
    until(lambda: neighbour.outputs.backlog == 0, "the neighbour")
    until(lambda: is_done(owner), "the shard whose letter was refused")
    (letter,) = kafka.records(kafka.topic("dead-letters"), 1)
    assert 0 < len(letter.value() or b"") < 1_000
    assert results(kafka, 10) == ids(*range(10))
    owner.die()


def test_a_missing_topic_of_the_user_is_named_and_waited_for_a_moment(
    kafka: Adapters, caplog: pytest.LogCaptureFixture
) -> None:
    missing = f"{kafka.connection.namespace}-late"
    owner = Owner(kafka)
    owner.publisher.begin()
    owner.publisher.publish(1, [result(1)])
    owner.publisher.publish(2, [Publish(missing, None, b"x")])
    owner.publisher.publish(3, [result(3)])
    until(lambda: "which does not exist" in caplog.text, "the hint")
    assert missing in caplog.text
    make_topic(kafka, missing)
    until(lambda: is_done(owner), "the rest")
    assert [message.value() for message in kafka.records(missing, 1)] == [b"x"]
    assert results(kafka, 2) == ids(1, 3)
    owner.die()


def test_a_lost_position_is_not_guessed(kafka: Adapters) -> None:
    ports = kafka.open()
    log = log_of(ports)
    log.append(claim_key("1"), encode(Claim("me", "1", LEVEL, 1)))
    acknowledged(log, 1)
    assert ports.outbox.published() == 0, "claims alone: nothing can have been published"
    ports.outbox.close()
    group = kafka.connection.shards_group
    for future in kafka.admin.delete_consumer_groups([group]).values():
        future.result()
    turn = Turn("w", "0-0", 0, 0, 1, "commands", Positions(), 0, None, ())
    log.append(turn_key("0-0", 0, 0), encode(turn))
    acknowledged(log, 1)
    with pytest.raises(LogTruncated, match=r"--reset-offsets --to-offset N"):
        kafka.open().outbox.published()
