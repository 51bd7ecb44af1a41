"""What must hold after every story, checked against the log by a reader of its own."""

from __future__ import annotations

from collections import Counter

from processor.core import events
from processor.core.effects import Publish, RunResult
from processor.core.events import CLOSING
from processor.core.replay import replay
from processor.core.runner import CodeError
from processor.shard.takeover import Takeover
from processor.simulation.faults import CALM
from processor.simulation.ports import SimulatedLog
from processor.simulation.scheduler import Scheduler
from processor.simulation.world import World
from processor.store.keyvalue import FAMILIES, Memory
from processor.store.tables import StateTables
from tests.log_rules import Reading, check_histories, check_messages, check_positions, read_log

from .story import Story


def read(world: World, partition: int) -> Reading:
    log = world.broker.logs[partition]
    return read_log((offset, value) for offset, _, value in log.read(log.first, log.end))


def check(story: Story) -> list[Reading]:
    """Check everything; returns what the logs held."""
    for case in story.cases:
        assert case.is_right, f"{case.workflow_id}: {case.outcome} {case}"
    readings = []
    for partition in range(story.world.broker.partitions):
        reading = read(story.world, partition)
        readings.append(reading)
        check_histories(reading)
        check_positions(reading)
        _outputs(story, partition, reading)
        _tables(story, partition, reading)
        _starts(story, partition, reading)
    started = Counter(
        valid.turn.workflow_id
        for r in readings
        for valid in r.turns
        if valid.turn.first == 0 and valid.turn.events
    )
    assert started == {case.workflow_id: 1 for case in story.cases}
    check_messages(readings)
    return readings


def _outputs(story: Story, partition: int, reading: Reading) -> None:
    """Results and published records are there once each, in the order of the log."""
    records = story.world.broker.outputs[partition].records
    due = []
    for offset, turn in reading.turns:
        for event in turn.events:
            if isinstance(event, events.RecordPublished):
                due.append((offset, event.key, event.value))
            elif isinstance(event, CLOSING):
                due.append((offset, turn.run_id.encode(), b""))
    written = []
    for offset, _, record in records:
        if isinstance(record, Publish):
            written.append((offset, record.key, record.value))
        else:
            assert isinstance(record, RunResult)
            written.append((offset, record.run_id.encode(), b""))
    assert written == due


def _tables(story: Story, partition: int, reading: Reading) -> None:
    """The owner's tables, the fold of the log, and the replay through the code agree."""
    world = story.world
    owner = world.hosts[world.owners[partition]]
    ownership = owner.ownerships[partition]
    assert ownership.shard is not None and ownership.shard.idle, "the owner is at rest"
    scheduler = Scheduler(0, world.scheduler.now_ms)
    log = SimulatedLog(world.broker, partition, scheduler, CALM, lambda: None)
    fresh = Memory()
    tables = StateTables(fresh, f"events-{partition}")
    Takeover(partition, log, tables, "a check").fold(world.broker.logs[partition].end, 0)
    for family in FAMILIES:
        if family != "meta":
            assert rows(owner.disk(partition), family) == rows(fresh, family), family
    assert ownership.tables.checkpoint().positions == tables.checkpoint().positions
    for run_id, turns in reading.runs.items():
        instance = replay(story.code.runners, [turn for _, turn in turns])
        assert not isinstance(instance.runner, CodeError), f"{run_id}: {instance.runner}"
        assert instance.state.summary() == tables.run(run_id)
        instance.runner.close()
    for left in ("activities", "timers", "parked"):
        assert not rows(fresh, left), f"{left} of closed runs"


def rows(store: Memory, family: str) -> list[tuple[bytes, bytes]]:
    return list(store.scan(family, b""))


def _starts(story: Story, partition: int, reading: Reading) -> None:
    """No eager attempt began before its turn was acknowledged, and none because of a ghost."""
    placed: dict[tuple[str, int, int], int] = {}
    for offset, turn in reading.turns:
        for event in turn.events:
            if isinstance(event, events.ActivityScheduled):
                placed[turn.run_id, event.id, 1] = offset
            elif isinstance(event, events.ActivityRetried):
                placed[turn.run_id, event.id, event.attempt] = offset
    for started in story.world.starts:
        if started.partition == partition:
            offset = placed[started.run_id, started.id, started.attempt]
            assert offset < started.confirmed_end, f"{started} began before {offset}"
