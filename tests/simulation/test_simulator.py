"""The simulator itself: what it does to a world is what Kafka and machines do."""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random

import pytest

from processor.codec.records import decode
from processor.core.records.effects import Publish
from processor.kafka.topics.specs import load_specs
from processor.shard import dedup
from processor.shard.ports import TOMBSTONES_MS
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import CALM, ROUGH, Faults, swarm
from processor.simulation.hosts.outbox import SimulatedOutbox
from processor.simulation.hosts.perils import Crashed
from processor.simulation.hosts.ports import SimulatedLog
from processor.simulation.partitions import (
    COMPACTION_LAG_MS,
    DELETE_RETENTION_MS,
    LogPartition,
    Outputs,
    Portion,
    Transactions,
)
from processor.simulation.scheduler import Channel, Scheduler
from processor.simulation.virtual_loop import VirtualLoop
from processor.simulation.world import Stuck

from . import chaos
from .decoding import decoded_once
from .invariants import check
from .reading import read
from .story import Story


def test_the_cleaner_has_the_settings_of_the_topic() -> None:
    [events] = [spec for spec in load_specs() if spec.name == "events"]
    assert int(events.configs["min.compaction.lag.ms"]) == COMPACTION_LAG_MS
    assert int(events.configs["delete.retention.ms"]) == DELETE_RETENTION_MS
    assert TOMBSTONES_MS == DELETE_RETENTION_MS, "or a store might miss a deletion"


class Clock:
    ms = 0

    def now_ms(self) -> int:
        return self.ms


def keys(log: LogPartition) -> list[tuple[int, bytes, bytes | None]]:
    return [tuple(record) for record in log.read(0, log.end)]  # type: ignore[misc]


def test_a_cleaner_keeps_the_last_record_of_each_key() -> None:
    clock = Clock()
    log = LogPartition(clock.now_ms)
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None)):
        log.append(key, value)
    assert log.cleanable() == 0, "all of it is too young"
    clock.ms += COMPACTION_LAG_MS
    log.append(b"a", b"3")
    assert log.cleanable() == 4
    assert log.compact(log.cleanable()) == 2
    assert keys(log) == [(2, b"a", b"2"), (3, b"b", None), (4, b"a", b"3")]
    clock.ms += DELETE_RETENTION_MS
    log.compact(4)
    assert (3, b"b", None) in keys(log), "the tombstone is still there for those who were away"
    clock.ms += 1
    log.compact(4)
    assert keys(log) == [(2, b"a", b"2"), (4, b"a", b"3")]
    assert log.append(b"c", b"1") == 5, "offsets are never used again"


@pytest.mark.parametrize("seed", range(20))
def test_a_connection_keeps_its_order_however_late(seed: int) -> None:
    scheduler, arrived = Scheduler(seed), []
    channel = Channel(scheduler, "a way", Faults(late=0.3))
    for number in range(50):
        channel.send(lambda number=number: arrived.append(number))  # type: ignore[misc]
        if number % 3 == 0:
            scheduler.step()
    if seed % 2:
        channel.cut()
    while scheduler.step():
        pass
    assert arrived == list(range(len(arrived)))
    assert len(arrived) == 50 or seed % 2


@pytest.mark.parametrize("seed", range(30))
def test_outputs_are_there_once_though_a_publisher_does_not_learn_how_a_commit_ended(
    seed: int,
) -> None:
    scheduler, broker = Scheduler(seed), SimulatedBroker(1)
    faults = Faults(commit_unknown=0.5)
    log = SimulatedLog(broker, 0, scheduler, CALM, lambda: None)
    outbox = SimulatedOutbox(broker, log, 0, scheduler, faults, lambda: None)
    outbox.published()
    records = [Publish("topic", None, b"%d" % number) for number in range(20)]
    for offset, record in enumerate(records):
        outbox.publish(offset, [record])
        scheduler.step()
    while not outbox.idle:
        assert scheduler.step()
    assert broker.outputs[0].of(Publish) == records
    assert scheduler.injected["commit_unknown"]


def test_a_transaction_is_written_whole_by_a_member_in_the_last_epoch_of_its_producer() -> None:
    shards = [Outputs(LogPartition()), Outputs(LogPartition())]
    taken: list[Publish] = []
    transactions = Transactions(shards, taken.append)
    record = Publish("topic", None, b"1")
    batches = [Portion(partition, [(0, [record])], 1, [record]) for partition in range(2)]
    before, after = transactions.begin("a"), transactions.begin("a")
    assert not transactions.send("a", before, batches, is_member=True)
    assert not transactions.send("a", after, batches, is_member=False)
    assert transactions.send("a", after, batches, is_member=True)
    assert not transactions.commit("a", before)
    assert not any(shard.records for shard in shards) and not taken
    assert transactions.commit("a", after)
    assert taken == [record, record], "its messages arrive with it"
    assert [shard.of(Publish) for shard in shards] == [[record], [record]]


def test_what_is_open_is_aborted_where_another_one_begins_or_its_time_is_up() -> None:
    shards = [Outputs(LogPartition())]
    taken: list[Publish] = []
    transactions = Transactions(shards, taken.append)
    batches = [Portion(0, [(0, [])], 1, [Publish("topic", None, b"1")])]
    epoch = transactions.begin("a")
    assert transactions.send("a", epoch, batches, is_member=True)
    assert transactions.begin("a") > epoch
    assert not transactions.commit("a", epoch)
    epoch = transactions.begin("a")
    assert transactions.send("a", epoch, batches, is_member=True)
    transactions.settle(0)
    assert not transactions.commit("a", epoch)
    assert shards[0].position == 0 and not taken


def test_a_process_ends_at_the_moment_of_a_port_call_that_a_test_names() -> None:
    ends = []
    for moment in (1, 2, 50):
        story = Story(5, CALM)
        story.world.perils.crash_at = moment
        story.world.scheduler.recent = deque(maxlen=None)
        story.run()
        ends += [line for line in story.world.scheduler.recent if "ends in" in line]
        story.close()
    assert len(ends) == 3
    assert ends[0].endswith("ends in get") and ends[1].endswith("ends in get, after its effect")


@pytest.mark.parametrize("turn", ["first", "second"])
def test_what_a_story_sets_for_its_shards_ends_with_its_test(turn: str) -> None:
    assert (dedup.KEPT, dedup.KEPT_MAX) == (1_000, 10_000), f"before the {turn}"
    Story(5, CALM).close()
    assert dedup.KEPT == dedup.KEPT_MAX == 3


def test_no_handler_of_a_process_sees_its_end() -> None:
    assert not issubclass(Crashed, Exception)


def test_a_swarm_is_a_part_of_the_faults() -> None:
    kinds = [swarm(Random(seed)) for seed in range(50)]
    assert len(set(kinds)) == 50
    assert all(each.crash in (0.0, ROUGH.crash) for each in kinds)
    assert all(each.blows_max == ROUGH.blows_max for each in kinds)


def test_time_passes_for_a_loop_that_sleeps_for_almost_nothing() -> None:
    scheduler = Scheduler(0)
    loop = VirtualLoop(scheduler, "a loop")

    async def main() -> None:
        end = loop.time() + 0.005
        while (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, 1e-9))

    with loop.entered():
        task = loop.create_task(main())
    for _ in range(200):
        if task.done():
            break
        scheduler.step()
    assert task.done()
    loop.close()


def test_a_run_that_goes_on_and_on_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take hours: each of its turns takes longer than the one before."""
    monkeypatch.setattr(chaos, "_EVENTS_MAX", 10)
    story = Story(3)
    with pytest.raises(Stuck, match=r"is not done after .* has .* events, and goes on and on"):
        story.run()
    story.close()


def test_checks_that_share_what_they_decode_leave_it_as_it_is() -> None:
    story = Story(4)
    try:
        story.run()
        with decoded_once() as known:
            check(story)
            first, second = read(story.world, 0), read(story.world, 0)
    finally:
        story.close()
    assert len(first.records) > 100
    pairs = zip(first.records, second.records, strict=True)
    assert all(one.record is other.record for one, other in pairs)
    changed = [data for data, record in known.items() if repr(decode(data)) != repr(record)]
    assert len(known) > 100 and not changed
