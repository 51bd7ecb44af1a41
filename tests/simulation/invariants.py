"""What must hold after every story, checked against the log by a reader of its own."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Mapping
from operator import ge
from typing import Any

from processor.codec.records import encode
from processor.core.data.cause import CallRequest, Cause, Origin, RecordedCause, is_keyed
from processor.core.data.run_id import run_id_of
from processor.core.entity_id import is_entity_id
from processor.core.inputs import TimerDue
from processor.core.nouns.call import CallSent, MessageSent
from processor.core.nouns.chain import external_events
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.run import Closing, WorkflowStarted, WorkflowTerminated
from processor.core.nouns.start import StartRun, StartWith
from processor.core.nouns.timer import EventDelayed
from processor.core.records.answers import Accepted, Closed, Refused
from processor.core.records.effects import (
    Message,
    Reply,
    SetTimer,
)
from processor.core.records.marks import Answered, Mark
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.shard.reads import EXPIRED
from processor.simulation.hosts.outbox import Left
from processor.simulation.mirror import MIRRORED

from . import purses, vaults
from .asking import TOLD
from .checked import Checked
from .decoding import decoded_once
from .invariants_of_activities import check_activities
from .invariants_of_calls import check_calls, check_in_vain, check_later
from .invariants_of_children import check_children
from .invariants_of_correlation import check_correlation
from .invariants_of_entities import check_customers, check_histories
from .invariants_of_handlers import check_handlers
from .invariants_of_locks import check_locks
from .invariants_of_memory import check_memory, check_sums
from .invariants_of_outputs import check_outputs, published
from .invariants_of_tables import check_tables
from .reading import Reading, Valid, read
from .shipments import KEY_ID
from .story import Story

__all__ = ("SUCCEEDED_MIN", "Checked", "check")

SUCCEEDED_MIN = 0.9
"""Less of the operations, and a run proves nothing: it may hold because all was refused."""


def check(story: Story) -> tuple[list[Reading], Checked]:
    """Check everything; returns what the logs held, and how much was checked."""
    with decoded_once():
        return _checked(story)


def _checked(story: Story) -> tuple[list[Reading], Checked]:
    checked = Checked()
    readings = [read(story.world, each) for each in range(story.world.broker.partitions)]
    for case in story.cases:
        checked.that("every case ends as the model says", case.is_right, case)
    for reading in readings:
        _histories(checked, reading)
        check_activities(checked, story, reading)
        _keys(checked, story, reading)
        _positions(checked, story, reading)
        _deliveries(checked, story, reading)
        check_outputs(checked, story, reading)
        check_tables(checked, story, reading)
        check_memory(checked, story, reading)
        _successors(checked, reading)
        _levels(checked, story, reading)
    _departures(checked, story, readings)
    _ends(checked, story, readings)
    _messages(checked, story, readings)
    check_calls(checked, readings, story.world.broker.refused)
    check_in_vain(checked, story, readings)
    check_later(checked, story, readings)
    check_children(checked, readings, story.world.broker.refused)
    check_handlers(checked, story, readings)
    check_locks(checked, story, readings)
    check_correlation(checked, readings)
    check_histories(checked, readings)
    check_customers(checked, story)
    _dead_letters(checked, story, readings)
    check_sums(checked, story)
    _contest(checked, story, readings)
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
        begins = isinstance(history[0], WorkflowStarted)
        checked.that("a history begins with the start", begins, run_id, history[0])
        ends = [event for event in history if isinstance(event, Closing)]
        of_entity = is_entity_id(turns[0][1].workflow_id)  # nobody ends one
        right = not ends if of_entity else ends == [history[-1]]
        checked.that("a run has one end, which is its last", right, run_id, ends)


def _keys(checked: Checked, story: Story, reading: Reading) -> None:
    """No key is used twice for what counts, so that nothing that comes late replaces it."""
    keys = Counter(key for _, key, _, _ in reading.records)
    again = [key for key, count in keys.items() if count > 1]
    checked.that("no key is used twice", not again, again)


def _positions(checked: Checked, story: Story, reading: Reading) -> None:
    """No input counts twice: positions only grow, and what an input causes moves its own.

    In the end they say of everything that it was read, also of what left no record.
    """
    before = (0, 0, 0)
    fields = {"commands": 0, "results": 1, "timers": 2}
    for offset, _, record, _ in reading.records:
        after = tuple(record.positions)
        checked.that("positions only grow", all(map(ge, after, before)), offset, before, after)
        if record.source in fields:
            moved = fields[record.source]
            once = after[moved] > before[moved]
            checked.that("an input changes history once", once, offset, record.source, before)
        before = after  # type: ignore[assignment]
    ends = tuple(held.end for held in story.world.broker.inputs[reading.partition].values())
    checked.that("what was read is written down", before == ends, reading.partition, before, ends)
    _causes(checked, story, reading)


def _causes(checked: Checked, story: Story, reading: Reading) -> None:
    """Messages and requests count once. Shards that are forgetful know those that come again."""
    commands = story.world.broker.inputs[reading.partition]["commands"]
    found: set[Cause] = set()
    for _, _, record, _ in reading.records:
        if isinstance(record, Mark) or record.cause is None:
            continue
        cause, offset = record.cause, record.positions.commands - 1
        if isinstance(cause, CallRequest):
            cause = cause.origin
        if isinstance(cause, Origin):
            checked.that("a message counts once", cause not in found, cause)
            is_own = cause.shard == reading.partition and cause.log == story.world.broker.log_id
            no_topic = record.source == "eager"
            checked.that("what is for the own shard needs no topic", is_own == no_topic, cause)
        elif not story.forgetful:
            checked.that("a request counts once", cause not in found, cause)
        elif cause in found and offset >= commands.first:
            again = commands.get(offset).again  # type: ignore[union-attr]
            checked.that("a request that comes again never counts", not again, cause)
        if not (is_keyed(cause) and isinstance(getattr(record, "answer", None), Refused)):
            found.add(cause)


def _deliveries(checked: Checked, story: Story, reading: Reading) -> None:
    """A turn calls only that delivered which had arrived: what it is wrong about is lost."""
    arrivals = _arrivals(story, reading)
    under_way: deque[Origin] = deque()
    log_id = story.world.broker.log_id
    for offset, _, record, effects in reading.records:
        while under_way and under_way[0].offset < record.delivered:
            origin = under_way.popleft()
            arrived = origin in arrivals and arrivals[origin] <= offset
            checked.that("what is called delivered has arrived", arrived, offset, origin)
        messages = [effect for effect in effects if isinstance(effect, Message)]
        for index, message in enumerate(messages):
            if not MIRRORED.crosses(message):
                under_way.append(Origin(log_id, reading.partition, offset, index))
    _given_up(checked, story, reading, arrivals)


def _arrivals(story: Story, reading: Reading) -> dict[Origin, int]:
    """Return where the log of a shard ended when each of its messages arrived.

    What it sends to itself arrives with the record that took it, and goes through no topic.
    """
    arrivals = dict(story.world.broker.arrivals)
    for offset, _, record, _ in reading.records:
        cause = record.cause if not isinstance(record, Mark) else None
        origin = cause.origin if isinstance(cause, CallRequest) else cause
        if isinstance(origin, Origin) and record.source == "eager":
            arrivals[origin] = offset + 1
    return arrivals


def _given_up(
    checked: Checked, story: Story, reading: Reading, arrivals: Mapping[Origin, int]
) -> None:
    """What has a tombstone had been delivered and published when that was written."""
    broker, partition = story.world.broker, reading.partition
    gone = {
        record.key: record.offset
        for record in broker.logs[partition].written[::-1]
        if record.value is None
    }
    for offset, key, _, effects in reading.records:
        end = gone.get(key)
        if end is None:
            continue
        messages = [effect for effect in effects if isinstance(effect, Message)]
        for index, message in enumerate(messages):
            if MIRRORED.crosses(message):
                continue
            origin = Origin(broker.log_id, partition, offset, index)
            arrived = arrivals.get(origin, end + 1) <= end
            checked.that("what is given up was delivered", arrived, key, origin)
        if any(published(broker.log_id, partition, offset, effects)):
            there = broker.outputs[partition].written_at.get(offset, end + 1) <= end
            checked.that("what is given up was published", there, key, offset)


def _levels(checked: Checked, story: Story, reading: Reading) -> None:
    """A release claims what it knows, and an owner writes under a claim of the present level only.

    A claim may be late: by somebody who looked before the level was raised. It is made again.
    """
    level = 0
    written = {record.epoch for _, _, record, _ in reading.records}
    for offset, claim in reading.claimed:
        level = max(level, claim.level)
        host = story.world.hosts.get(claim.owner)
        if host is not None:
            knows = claim.level <= host.level
            checked.that("a release claims what it knows", knows, offset, claim)
            silent = offset not in written
            right = silent or claim.level == level
            checked.that("an owner's claim says the level", right, offset, claim, level)


# --- nothing leaves early, and nothing of a ghost ---------------------------------------------


def _departures(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """Each effect belongs to a turn that counts, and left after its acknowledgement."""
    turns = [{valid.offset: valid for valid in reading.records} for reading in readings]
    answers, queued = _Answers(story, readings), set[TimerDue]()
    for left in story.world.departures:
        effect = left.effect
        if isinstance(effect, TimerDue):
            fields = (effect.workflow_id, effect.run_id, effect.kind, effect.id, effect.attempt)
            timer = SetTimer(*fields, effect.due_ms)
            set_at = readings[left.partition].timers.get(timer, left.confirmed_end)
            first = effect not in queued  # an owner may read it too early, and queue it again
            checked.that(
                "a timer fires after its turn", set_at < left.confirmed_end or not first, left
            )
            queued.add(effect)
        elif isinstance(effect, Reply):
            for offset in answers.told_by(left.partition, effect):
                early = not 0 <= offset < left.confirmed_end
                checked.that("an answer follows its turn", not early, left, offset)
        elif left.offset is not None:
            log_id = story.world.broker.log_id
            _departed(checked, log_id, left, turns[left.partition].get(left.offset))


def _departed(checked: Checked, log_id: bytes, left: Left, valid: Valid | None) -> None:
    counts = valid is not None and (
        left.effect in valid.effects
        or left.effect in published(log_id, left.partition, valid.offset, valid.effects)
    )
    checked.that("nothing of a ghost leaves", counts, left)
    confirmed = left.offset is not None and left.offset < left.confirmed_end
    checked.that("an effect leaves after its turn", confirmed, left)


class _Answers:
    """Where the records are that an answer tells of: the first of a request.

    A forgetful shard writes another one if the connection brings the same copy later.
    """

    def __init__(self, story: Story, readings: list[Reading]) -> None:
        self._asked = story.world.broker.asked
        self._forgetful = story.forgetful
        self._causes: dict[tuple[int, Any], int] = {}
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        for reading in readings:
            for offset, _, record, _ in reading.records:
                if not isinstance(record, Mark) and record.cause is not None:
                    self._causes.setdefault((reading.partition, record.cause), offset)
            for offset, turn, _ in reading.turns:
                for event in turn.events:
                    if isinstance(event, WorkflowStarted):
                        self._starts[turn.run_id] = offset
                    elif isinstance(event, Closing):
                        self._ends[turn.run_id] = offset

    def told_by(self, partition: int, reply: Reply) -> list[int]:
        body = reply.body
        if self._forgetful and body == EXPIRED:
            return []
        if isinstance(body, Accepted | Refused):
            command = self._asked.get((reply.to.client, reply.to.request))
            cause = None if command is None else command.cause
            told = [] if cause is None else [self._causes.get((partition, cause), -1)]
            if isinstance(body, Accepted):
                told.append(self._starts.get(body.run_id, -1))
            return told
        if isinstance(body, Closed):
            return [self._ends.get(body.run_id, -1)]
        return []


# --- all logs together ------------------------------------------------------------------------


def _ends(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """Each accepted id has one run with one end: in the log, in the results, at the client."""
    started: Counter[str] = Counter()
    for reading in readings:
        for _, turn, _ in reading.turns:
            start = turn.events[0]
            if isinstance(start, WorkflowStarted) and start.caller is None:
                started[turn.workflow_id] += 1
    if story.contest is not None:
        del started[story.contest.workflow_id]
    expected = {
        case.workflow_id: case.runs + isinstance(case.stop, StartRun) for case in story.cases
    }
    called = purses.called(story.cases) | vaults.called(story.cases)
    called |= {customer.workflow_id for customer in story.customers}
    expected |= dict.fromkeys(called, 1)
    started.pop(KEY_ID, None)  # as often as somebody needs the key
    told = started.pop(TOLD, 0)  # by one that asks, unless it ends before it comes to that
    checked.that("what is started with a signal is started once", told <= 1, told)
    checked.that("an accepted id has its runs", started == expected, started)
    results = {result.run_id: result for result in story.world.broker.results()}
    for case in story.cases:
        closed = case.closed
        assert closed is not None, "the story is over"
        result = results[closed.run_id]
        told = (closed.run_id, closed.status, closed.result)
        same = told == (result.run_id, result.status, result.result)
        checked.that("the client and the results say the same", same, closed, result)


def _raised(operation: Any) -> RaiseEvent | None:
    """Return the event that a call sends."""
    if isinstance(operation, StartWith):
        operation = operation.first
    return operation if isinstance(operation, RaiseEvent) else None


def _messages(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """Each message between workflows arrives once, and so does each of another namespace."""
    turns = [valid.turn for reading in readings for valid in reading.turns]
    sent = Counter(
        (event.to.workflow_id, event.name, event.payload)
        for turn in turns
        for event in turn.events
        if isinstance(event, MessageSent) and event.kind in ("event", "entity")
    )
    called = Counter(
        (event.to.workflow_id, raised.name, raised.payload)
        for turn in turns
        for event in turn.events
        if isinstance(event, CallSent) and (raised := _raised(event.operation)) is not None
    )
    taken = Counter(
        (turn.workflow_id, event.name, event.payload)
        for turn in turns
        for event in turn.events
        if isinstance(event, EventReceived | EventDelayed) and _is_ours(turn.cause, story)
    )
    taken += Counter(
        (turn.workflow_id, event.name, event.payload)
        for turn in turns
        if is_entity_id(turn.workflow_id)
        for event in external_events(turn.events[:1])
        if turn.first == 0 and isinstance(turn.events[0], WorkflowStarted)
    )
    for message, count in sent.items():
        checked.that("a message arrives once", taken[message] == count, message, taken)
    strange = taken - sent - called
    checked.that("no message comes from nowhere", not strange, strange)
    causes = Counter(
        record.cause
        for reading in readings
        for _, _, record, _ in reading.records
        if not isinstance(record, Mark)
    )
    for command in story.foreign:
        once = causes[command.cause] == 1
        checked.that("another namespace's messages count once", once, command)


def _is_ours(cause: RecordedCause | None, story: Story) -> bool:
    """Return whether a cause is a message of this namespace."""
    origin = cause.origin if isinstance(cause, CallRequest) else cause
    return isinstance(origin, Origin) and origin.log == story.world.broker.log_id


def _dead_letters(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """What cannot be used has its place among the dead letters before any turn is past it."""
    burials = story.world.broker.burials
    for place in story.chaos.unreadable:
        checked.that("the unreadable is kept", place in burials, place)
    for (partition, command), buried in burials.items():
        if (partition, command) not in story.chaos.unreadable:
            continue
        records = readings[partition].records
        first = next((v.offset for v in records if v.record.positions.commands > command), buried)
        checked.that("no turn is past what is not buried yet", buried <= first, partition, command)

    letters = story.world.broker.dead_letters
    for reading in readings:
        for _, _, record, _ in reading.records:
            if isinstance(record, Answered) and record.letter is not None:
                kept = record.letter in letters
                checked.that("what is refused of strangers is kept", kept, record)
    values = [letter.value for letter in letters]
    for command in story.lost:
        kept = encode(command) in values
        checked.that("what strangers lost is kept", kept, command)


def _successors(checked: Checked, reading: Reading) -> None:
    """A run that follows another one begins with the next record, and begins once."""
    for before, after in itertools.pairwise(reading.records):
        closing = before.record.events[-1] if isinstance(before.record, Turn | Snapshot) else None
        successor = getattr(closing, "successor", None)
        if successor is not None:
            begins = isinstance(after.record, Turn | Snapshot) and (
                (after.record.run_id, after.record.first) == (successor.run_id, 0)
            )
            checked.that("a successor begins next", begins, before, after)
    starts = Counter(turn.run_id for _, turn, _ in reading.turns if turn.first == 0)
    again = [run_id for run_id, count in starts.items() if count > 1]
    checked.that("a run begins once", not again, again)


def _contest(checked: Checked, story: Story, readings: list[Reading]) -> None:
    """Of several starts of one id each makes one run at most, and is told which."""
    contest = story.contest
    if contest is None:
        return
    asked = story.world.broker.asked
    runs = {
        turn.run_id: turn
        for reading in readings
        for _, turn, _ in reading.turns
        if turn.workflow_id == contest.workflow_id and turn.first == 0
    }
    made: Counter[str] = Counter()
    for entrant in contest.entrants:
        command = asked[entrant.client._name, 1]
        assert isinstance(command.body, StartRun), "a client's first request is its start"
        partition = story.world.broker.partition_of(contest.workflow_id)
        log_id = story.world.broker.log_id
        run_id = run_id_of(log_id, contest.workflow_id, command.cause, partition, -1)
        made[run_id] += 1
        answer = entrant.answer
        if isinstance(answer, Accepted) and answer.created:
            is_own = answer.run_id == run_id and run_id in runs
            checked.that("a start is told its own run", is_own, answer, run_id)
        elif not story.forgetful:
            checked.that("a refused start makes no run", run_id not in runs, answer, run_id)
    checked.that("no run comes from nowhere", set(runs) <= set(made), runs, made)
    for run_id, turn in _terminated(readings, contest.workflow_id):
        own = [each for each in contest.entrants if f"ended by {each.client._name}" == turn]
        for entrant in own:
            told = entrant.answer
            is_own = isinstance(told, Accepted) and told.run_id == run_id
            checked.that("who ends a chain ends no other one", is_own, run_id, entrant)


def _terminated(readings: list[Reading], workflow_id: str) -> list[tuple[str, str]]:
    """Return the runs of an id that were terminated, with the reasons."""
    return [
        (turn.run_id, event.reason)
        for reading in readings
        for _, turn, _ in reading.turns
        for event in turn.events
        if turn.workflow_id == workflow_id and isinstance(event, WorkflowTerminated)
    ]
