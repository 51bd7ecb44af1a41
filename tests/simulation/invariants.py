"""What must hold after every story, checked against the log by a reader of its own."""

from __future__ import annotations

from collections import Counter, deque
from operator import ge
from typing import Any

from processor.core import events
from processor.core.decide import STARTS_MAX
from processor.core.effects import (
    Accepted,
    ActivityTask,
    Closed,
    Message,
    Publish,
    Reply,
    RunResult,
    SetTimer,
)
from processor.core.events import CLOSING
from processor.core.inputs import Origin, TimerDue
from processor.core.replay import replay
from processor.core.runner import CodeError
from processor.shard.takeover import Takeover
from processor.simulation.faults import CALM
from processor.simulation.outbox import Left
from processor.simulation.ports import SimulatedLog
from processor.simulation.scheduler import Scheduler
from processor.store.keyvalue import FAMILIES, Memory
from processor.store.tables import StateTables

from .reading import Reading, Valid, read
from .story import Story

__all__ = ("SUCCEEDED_MIN", "Checked", "check")

SUCCEEDED_MIN = 0.9
"""Less of the operations, and a run proves nothing: it may hold because all was refused."""


class Checked:
    """Counts what was checked, by invariant."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def that(self, invariant: str, holds: bool, *what: Any) -> None:
        self.counts[invariant] += 1
        assert holds, f"{invariant}: {' '.join(map(str, what))}"


def check(story: Story) -> tuple[list[Reading], Checked]:
    """Check everything; returns what the logs held, and how much was checked."""
    checked = Checked()
    readings = [read(story.world, each) for each in range(story.world.broker.partitions)]
    for case in story.cases:
        checked.that("every case ends as the model says", case.is_right, case)
    for reading in readings:
        _histories(checked, reading)
        _reports(checked, reading)
        _positions(checked, story, reading)
        _deliveries(checked, story, reading)
        _outputs(checked, story, reading)
        _tables(checked, story, reading)
        _eager_starts(checked, story, reading)
    _departures(checked, story, readings)
    _ends(checked, story, readings)
    _messages(checked, readings)
    _dead_letters(checked, story, readings)
    _sums(checked, story)
    enough = story.succeeded >= SUCCEEDED_MIN * story.asked
    checked.that("operations succeed", enough, story.succeeded, "of", story.asked)
    return readings, checked


# --- one log ----------------------------------------------------------------------------------


def _histories(checked: Checked, reading: Reading) -> None:
    """Histories are contiguous, begin with the start, and have one end, which is the last."""
    for run_id, turns in reading.runs.items():
        number = 0
        for _, turn, _ in turns:
            contiguous = turn.first == number
            checked.that("histories are contiguous", contiguous, run_id, turn.first, number)
            number += len(turn.events)
        history = [event for _, turn, _ in turns for event in turn.events]
        begins = isinstance(history[0], events.WorkflowStarted)
        checked.that("a history begins with the start", begins, run_id, history[0])
        ends = [event for event in history if isinstance(event, CLOSING)]
        checked.that("a run has one end, which is its last", ends == [history[-1]], run_id, ends)
        _one_outcome_each(checked, run_id, history)
        _lost_for_a_reason(checked, run_id, history)


def _lost_for_a_reason(checked: Checked, run_id: str, history: list[events.Event]) -> None:
    """An activity is lost for good when no attempt or no time is left, or it ended many workers."""
    activities: dict[int, tuple[events.ActivityScheduled, bool]] = {}
    starts: Counter[tuple[int, int]] = Counter()
    for event in history:
        match event:
            case events.ActivityScheduled():
                activities[event.id] = event, event.eager
            case events.ActivityRetried():
                activities[event.id] = activities[event.id][0], event.eager
            case events.ActivityStarted():
                starts[event.id, event.attempt] += 1
            case events.ActivityFailed() if event.failure.timeout_kind == "lost":
                scheduled, eager = activities[event.id]
                options = scheduled.options
                used_up = event.attempt == options.maximum_attempts
                poison = not eager and starts[event.id, event.attempt] == STARTS_MAX
                reason = used_up or poison or options.schedule_to_close_ms is not None
                checked.that("an activity is lost for a reason", reason, run_id, event)


def _one_outcome_each(checked: Checked, run_id: str, history: list[events.Event]) -> None:
    kinds = events.ActivityCompleted | events.ActivityFailed | events.ActivityCancelled
    outcomes = Counter(event.id for event in history if isinstance(event, kinds))
    scheduled = {event.id for event in history if isinstance(event, events.ActivityScheduled)}
    for id in scheduled | set(outcomes):
        at_most = outcomes[id] <= 1 and id in scheduled
        checked.that("an activity has one outcome", at_most, run_id, id, outcomes[id])
    if isinstance(history[-1], events.WorkflowCompleted):
        left = {id for id in scheduled if not outcomes[id]}
        # What a program gave up in its last turn has its outcome in the end of the run.
        checked.that("a completed run has every outcome", not left, run_id, left)
    ids = [e.request_id for e in history if isinstance(e, events.EventReceived) and e.request_id]
    checked.that("a client's event counts once", len(ids) == len(set(ids)), run_id, ids)


def _reports(checked: Checked, reading: Reading) -> None:
    """What is recorded of an activity is of the attempt that runs."""
    for run_id, event, attempt in reading.attempts:
        runs = event.attempt == attempt
        checked.that("a report counts for its attempt only", runs, run_id, event, attempt)


def _positions(checked: Checked, story: Story, reading: Reading) -> None:
    """No input counts twice: positions only grow, and each turn of an input moves its own.

    In the end they say of everything that it was read, also of what left no turn.
    """
    before = (0, 0, 0)
    fields = {"commands": 0, "activity-results": 1, "timers": 2}
    for offset, turn, _ in reading.turns:
        after = tuple(turn.positions)
        checked.that("positions only grow", all(map(ge, after, before)), offset, before, after)
        if turn.source in fields:
            moved = fields[turn.source]
            once = after[moved] > before[moved]
            checked.that("an input changes history once", once, offset, turn.source, before)
        before = after  # type: ignore[assignment]
    ends = tuple(held.end for held in story.world.broker.inputs[reading.partition].values())
    checked.that("what was read is written down", before == ends, reading.partition, before, ends)
    origins = Counter(turn.origin for _, turn, _ in reading.turns if turn.origin is not None)
    for origin, count in origins.items():
        checked.that("a message changes history once", count == 1, origin, count)


def _deliveries(checked: Checked, story: Story, reading: Reading) -> None:
    """A turn calls only that delivered which had arrived: what it is wrong about is lost."""
    arrivals = story.world.broker.arrivals
    under_way: deque[Origin] = deque()
    for offset, turn, effects in reading.turns:
        while under_way and under_way[0].offset < turn.delivered:
            message = under_way.popleft()
            arrived = message in arrivals and arrivals[message] <= offset
            checked.that("what is called delivered has arrived", arrived, offset, message)
        for index, effect in enumerate(effects):
            if isinstance(effect, Message):
                under_way.append(Origin(reading.partition, offset, index))


def _outputs(checked: Checked, story: Story, reading: Reading) -> None:
    """Results and published records are there once each, in the order of the log."""
    due = [
        (offset, effect)
        for offset, _, effects in reading.turns
        for effect in effects
        if isinstance(effect, Publish | RunResult)
    ]
    outputs = story.world.broker.outputs[reading.partition].records
    written = [(offset, record) for offset, _, record in outputs]
    for each in due:
        checked.that("results are there once each", written.count(each) == 1, each)
    checked.that("results are in the order of the log", written == due, written, due)


def _tables(checked: Checked, story: Story, reading: Reading) -> None:
    """The owner's tables, the fold of the log, and the replay through the code agree."""
    world, partition = story.world, reading.partition
    session = world.hosts[world.owners[partition]].ownerships[partition].session
    assert session is not None and session.at_rest, "the owner is at rest"
    scheduler = Scheduler(0, world.scheduler.now_ms)
    log = SimulatedLog(world.broker, partition, scheduler, CALM, lambda: None)
    fresh, held = Memory(), world.hosts[world.owners[partition]].disk(partition)
    tables = StateTables(fresh, f"events-{partition}")
    takeover = Takeover(partition, log, tables, "a check")
    takeover.fold(world.broker.logs[partition].end, 0)
    for family in FAMILIES:
        if family != "meta":
            same = rows(held, family) == rows(fresh, family)
            checked.that("tables are the fold of the log", same, partition, family)
    ours, folded = session.tables.checkpoint(), tables.checkpoint()
    same = (ours.positions, ours.seen) == (folded.positions, folded.seen)
    checked.that("the checkpoint is the fold of the log", same, ours, folded)
    for run_id, turns in reading.runs.items():
        instance = replay(story.code.runners, [turn for _, turn, _ in turns])
        replays = not isinstance(instance.runner, CodeError)
        checked.that("a history replays", replays, run_id, instance.runner)
        same = instance.state.summary() == tables.run(run_id)
        checked.that("replay equals the tables", same, run_id)
        if not isinstance(instance.runner, CodeError):
            instance.runner.close()
    for left in ("activities", "timers", "parked"):
        checked.that("closed runs leave no rows", not rows(fresh, left), left, rows(fresh, left))


def rows(store: Memory, family: str) -> list[tuple[bytes, bytes]]:
    return list(store.scan(family, b""))


# --- nothing leaves early, and nothing of a ghost ---------------------------------------------


def _eager_starts(checked: Checked, story: Story, reading: Reading) -> None:
    placed: dict[tuple[str, int, int], int] = {}
    for offset, _, effects in reading.turns:
        for effect in effects:
            if isinstance(effect, ActivityTask):
                placed[effect.run_id, effect.id, effect.attempt] = offset
    for started in story.world.starts:
        if started.partition == reading.partition:
            offset = placed.get((started.run_id, started.id, started.attempt), -1)
            early = not 0 <= offset < started.confirmed_end
            checked.that("an eager attempt begins after its turn", not early, started, offset)


def _departures(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """Each effect belongs to a turn that counts, and left after its acknowledgement."""
    turns = [{valid.offset: valid for valid in reading.turns} for reading in readings]
    answers = _Answers(readings)
    for left in story.world.departures:
        effect = left.effect
        if isinstance(effect, TimerDue):
            fields = (effect.workflow_id, effect.run_id, effect.kind, effect.id, effect.attempt)
            timer = SetTimer(*fields, effect.due_ms)
            set_at = readings[left.partition].timers.get(timer, left.confirmed_end)
            checked.that("a timer fires after its turn", set_at < left.confirmed_end, left)
        elif isinstance(effect, Reply):
            for offset in answers.told_by(left.partition, effect):
                early = not 0 <= offset < left.confirmed_end
                checked.that("an answer follows its turn", not early, left, offset)
        elif left.offset is not None:
            _departed(checked, left, turns[left.partition].get(left.offset))


def _departed(checked: Checked, left: Left, valid: Valid | None) -> None:
    counts = valid is not None and left.effect in valid.effects
    checked.that("nothing of a ghost leaves", counts, left)
    confirmed = left.offset is not None and left.offset < left.confirmed_end
    checked.that("an effect leaves after its turn", confirmed, left)


class _Answers:
    """Where the turns are that an answer tells of."""

    def __init__(self, readings: list[Reading]) -> None:
        self._events: dict[tuple[int, str], int] = {}
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        for reading in readings:
            for offset, turn, _ in reading.turns:
                for event in turn.events:
                    if isinstance(event, events.WorkflowStarted):
                        self._starts[turn.run_id] = offset
                    elif isinstance(event, events.EventReceived):
                        self._events[reading.partition, event.request_id] = offset
                    elif isinstance(event, CLOSING):
                        self._ends[turn.run_id] = offset

    def told_by(self, partition: int, reply: Reply) -> list[int]:
        body = reply.body
        if isinstance(body, Accepted):
            told = [self._starts.get(body.run_id, -1)]
            event = self._events.get((partition, reply.request_id))
            return told if event is None else [*told, event]
        if isinstance(body, Closed):
            return [self._ends.get(body.run_id, -1)]
        return []


# --- all logs together ------------------------------------------------------------------------


def _ends(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """Each accepted id has one run with one end: in the log, in the results, at the client."""
    started: Counter[str] = Counter()
    for reading in readings:
        for _, turn, _ in reading.turns:
            started[turn.workflow_id] += turn.first == 0 and bool(turn.events)
    del started[""]
    expected = {case.workflow_id: 1 for case in story.cases}
    checked.that("an accepted id has one run", started == expected, started)
    results = {result.workflow_id: result for result in story.world.broker.results()}
    for case in story.cases:
        result, closed = results[case.workflow_id], case.closed
        assert closed is not None, "the story is over"
        told = (closed.run_id, closed.status, closed.result)
        same = told == (result.run_id, result.status, result.result)
        checked.that("the client and the results say the same", same, closed, result)


def _messages(checked: Checked, readings: list[Reading]) -> None:
    """Each message between workflows arrives once."""
    turns = [valid.turn for reading in readings for valid in reading.turns]
    sent = Counter(
        (event.workflow_id, event.name, event.payload)
        for turn in turns
        for event in turn.events
        if isinstance(event, events.MessageSent) and event.kind == "event"
    )
    received = Counter(
        (turn.workflow_id, event.name, event.payload)
        for turn in turns
        for event in turn.events
        if isinstance(event, events.EventReceived) and turn.origin is not None
    )
    for message, count in sent.items():
        checked.that("a message arrives once", received[message] == count, message, received)
    checked.that("no message comes from nowhere", received == sent, received - sent)


def _dead_letters(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """What cannot be used has its place among the dead letters before any turn is past it."""
    burials = story.world.broker.burials
    for place in story.chaos.unreadable:
        checked.that("the unreadable is kept", place in burials, place)
    for (partition, command), buried in burials.items():
        turns = readings[partition].turns
        first = next((at for at, turn, _ in turns if turn.positions.commands > command), buried)
        checked.that("no turn is past what is not buried yet", buried <= first, partition, command)


def _sums(checked: Checked, story: Story) -> None:
    if story.ledger is not None:
        names = story.ledger.before
        after = {case.workflow_id: case.result for case in story.cases}
        kept = sum(after[name] for name in names) == sum(names.values())
        checked.that("the sum of the accounts stays", kept, after, story.ledger)
