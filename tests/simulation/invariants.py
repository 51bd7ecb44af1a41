"""What must hold after every story, checked against the log by a reader of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from operator import ge
from typing import NamedTuple

from processor.codec.records import decode
from processor.core import events
from processor.core.effects import Publish, RunResult
from processor.core.events import CLOSING
from processor.core.replay import replay
from processor.core.runner import CodeError
from processor.core.turn import Claim, Turn
from processor.shard.takeover import Takeover
from processor.simulation.faults import CALM
from processor.simulation.ports import SimulatedLog
from processor.simulation.scheduler import Scheduler
from processor.simulation.world import World
from processor.store.keyvalue import FAMILIES, Memory
from processor.store.tables import StateTables

from .story import Story


class Valid(NamedTuple):
    offset: int
    turn: Turn


@dataclass
class Reading:
    """One log, read by the claim rule."""

    turns: list[Valid] = field(default_factory=list)
    claims: int = 0
    ghosts: int = 0

    @property
    def runs(self) -> dict[str, list[Valid]]:
        found: dict[str, list[Valid]] = {}
        for valid in self.turns:
            if not valid.turn.events:
                continue  # a mark belongs to no run
            found.setdefault(valid.turn.run_id, []).append(valid)
        return found


def read(world: World, partition: int) -> Reading:
    reading, epoch = Reading(), -1
    log = world.broker.logs[partition]
    for offset, _, value in log.read(log.first, log.end):
        if value is None:
            continue
        record = decode(value)
        if isinstance(record, Claim):
            epoch = offset
            reading.claims += 1
        elif isinstance(record, Turn) and record.epoch == epoch:
            reading.turns.append(Valid(offset, record))
        else:
            reading.ghosts += 1
    return reading


def check(story: Story) -> list[Reading]:
    """Check everything; returns what the logs held."""
    for case in story.cases:
        assert case.is_right, f"{case.workflow_id}: {case.outcome} {case}"
    readings = []
    for partition in range(story.world.broker.partitions):
        reading = read(story.world, partition)
        readings.append(reading)
        _histories(reading)
        _positions(reading)
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
    _messages(readings)
    return readings


def _histories(reading: Reading) -> None:
    """Histories are contiguous, begin with the start, and have one end, which is the last."""
    for run_id, turns in reading.runs.items():
        number = 0
        for _, turn in turns:
            assert turn.first == number, f"{run_id}: {turn.first} follows {number}"
            number += len(turn.events)
        history = [event for _, turn in turns for event in turn.events]
        assert isinstance(history[0], events.WorkflowStarted)
        ends = [event for event in history if isinstance(event, CLOSING)]
        assert ends == [history[-1]], f"{run_id}: {ends}"
        _one_outcome_each(run_id, history)


def _one_outcome_each(run_id: str, history: list[events.Event]) -> None:
    outcomes = Counter(
        event.id
        for event in history
        if isinstance(
            event, events.ActivityCompleted | events.ActivityFailed | events.ActivityCancelled
        )
    )
    scheduled = {event.id for event in history if isinstance(event, events.ActivityScheduled)}
    assert all(count == 1 for count in outcomes.values()), f"{run_id}: {outcomes}"
    assert set(outcomes) <= scheduled
    if isinstance(history[-1], events.WorkflowCompleted):
        assert set(outcomes) == scheduled, f"{run_id}: {scheduled - set(outcomes)} has no outcome"


def _positions(reading: Reading) -> None:
    """No input counts twice: positions only grow, and each turn of an input moves its own."""
    before = (0, 0, 0)
    fields = {"commands": 0, "activity-results": 1, "timers": 2}
    for offset, turn in reading.turns:
        after = tuple(turn.positions)
        assert all(map(ge, after, before)), f"{offset}: {before} {after}"
        if turn.source in fields:
            moved = fields[turn.source]
            assert after[moved] > before[moved], f"{offset}: {turn.source} stands at {before}"
        before = after  # type: ignore[assignment]


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


def _messages(readings: list[Reading]) -> None:
    """Each message between workflows arrives once."""
    turns = [valid.turn for reading in readings for valid in reading.turns]
    sent = Counter(
        (event.workflow_id, event.name)
        for turn in turns
        for event in turn.events
        if isinstance(event, events.MessageSent)
    )
    received = Counter(
        (turn.workflow_id, event.name)
        for turn in turns
        for event in turn.events
        if isinstance(event, events.EventReceived) and turn.origin is not None
    )
    assert received == sent
