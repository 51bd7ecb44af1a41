"""What a run comes to that must be the same, whatever failed, and in what such runs may differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import itemgetter
from typing import Any, TypeVar, cast

from processor.codec.records import decode
from processor.core.data.failure import Failure
from processor.core.event import Event
from processor.core.nouns.activity import ActivityCompleted, ActivityFailed, AttemptState
from processor.core.nouns.call import CallSent
from processor.core.nouns.locks.granting import CallUnderLock, HolderCalled, LockFreed, LockGranted
from processor.core.nouns.locks.holding import LockAnswered
from processor.core.nouns.run import Closing, Successor, WorkflowStarted
from processor.core.nouns.timer import TimerStarted
from processor.core.records.answers import Accepted, Locked, Page, ReplyBody
from processor.core.records.effects import DeadLetter, RunResult
from processor.core.records.marks import Mark, SourceWindow
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Claim, Turn
from processor.shard.dedup import Known
from processor.simulation.world import World
from processor.store.tables import StateTables

from .reading import Reading

__all__ = ("Outcome", "comparable_answer", "compare", "outcome_of")

T = TypeVar("T")


@dataclass
class Outcome:
    """What has to be the same, whatever failed. ``results`` are in order for each workflow id.

    ``answers`` are what clients were told, by client and request, ``tables`` what the owner's rows
    say, and ``kept`` the records that the log still holds once a cleaner has been there. Of
    ``letters`` and ``failed``, the failed attempts of each activity, there may be more.
    """

    histories: dict[str, list[Event]]
    results: list[tuple[str, str, bytes | None]]
    published: list[tuple[str, bytes | None, bytes | None]]
    answers: dict[tuple[str, int], ReplyBody]
    tables: list[Any]
    kept: Counter[tuple[Any, ...]]
    letters: Counter[DeadLetter]
    failed: dict[tuple[str, int], Counter[str]]


def outcome_of(
    world: World,
    readings: Sequence[Reading],
    tables: Sequence[StateTables],
    answers: dict[tuple[str, int], ReplyBody],
) -> Outcome:
    """Return what a world came to, from its logs, the tables of its owners, and its answers."""
    histories: dict[str, list[Event]] = {}
    for turn in (turn for reading in readings for _, turn, _ in reading.turns):
        histories.setdefault(turn.workflow_id, []).extend(_comparable(turn.events))
    broker = world.broker
    outcome = Outcome(
        histories,
        sorted(map(_result, broker.results()), key=itemgetter(0)),
        [(each.topic, each.key, each.value) for each in broker.published()],
        answers,
        [row for each in tables for row in _rows(each)],
        Counter(_kept(world)),
        Counter(replace(letter, offset=-1) for letter in broker.dead_letters),
        _failed(readings),
    )
    return _Names(readings).of(outcome)


class _Names:
    """Other names for the runs: the id of one that a workflow began says where in the log."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        runs: dict[str, list[str]] = {}
        for reading in readings:
            for _, turn, _ in reading.turns:
                if turn.first == 0:
                    runs.setdefault(turn.workflow_id, []).append(turn.run_id)
        self._names = {
            run_id: f"run {number} of {workflow_id}"
            for workflow_id, of_id in runs.items()
            for number, run_id in enumerate(of_id, 1)
        }
        self._any = re.compile("|".join(map(re.escape, self._names)))

    def of(self, value: T) -> T:
        """Return a value with the runs in it named so."""
        renamed: Any = value
        match value:
            case str():
                renamed = self._any.sub(lambda found: self._names[found.group()], value)
            case Counter():
                renamed = Counter({self.of(key): count for key, count in value.items()})
            case dict():
                renamed = {self.of(key): self.of(held) for key, held in value.items()}
            case list():
                renamed = [self.of(held) for held in value]
            case tuple():
                renamed = tuple(self.of(held) for held in value)
            case _ if is_dataclass(value) and not isinstance(value, type):
                held = {each.name: getattr(value, each.name) for each in fields(value)}
                found = {name: self.of(each) for name, each in held.items()}
                renamed = replace(value, **{n: new for n, new in found.items() if new != held[n]})
        return cast(T, renamed)


def compare(run: Outcome, untouched: Outcome, deaths: int = 1) -> None:
    """Check that a run with failures came to the same as one without.

    Each death may cost an eager activity one attempt, and nothing else any. It may have a letter
    written once more.
    """
    for part in ("histories", "results", "published", "answers", "tables", "kept"):
        assert getattr(run, part) == getattr(untouched, part), part
    assert set(run.letters) == set(untouched.letters)
    assert (run.letters - untouched.letters).total() <= deaths * len(untouched.letters)
    for activity, kinds in run.failed.items():
        before = untouched.failed.get(activity, Counter())
        added = kinds - before
        assert set(added) <= {"lost"}, f"{activity}: {kinds} instead of {before}"
        assert added.total() <= deaths, f"{activity}: {kinds} instead of {before}"


def _comparable(turn: Sequence[Event]) -> Iterator[Event]:
    """Leave out what a takeover may change: numbers of attempts, times, and what is random."""
    for event in turn:
        match event:
            case ActivityCompleted():
                yield replace(event, attempt=0)
            case ActivityFailed():
                yield replace(event, attempt=0, failure=_comparable_failure(event.failure))
            case TimerStarted():
                yield replace(event, due_ms=0)
            case LockGranted() | LockFreed() | HolderCalled():
                yield replace(event, number=0)
            case CallSent(operation=CallUnderLock() as call):
                yield replace(event, operation=replace(call, number=0))
            case LockAnswered(outcome=Locked()):
                yield replace(event, outcome=Locked(0))
            case WorkflowStarted():
                yield _comparable_start(event)
            case _ if isinstance(event, Closing) and event.successor is not None:
                started = _comparable_start(event.successor.started)
                yield replace(event, successor=Successor(event.successor.run_id, started))
            case _:
                yield event


def _comparable_start(started: WorkflowStarted) -> WorkflowStarted:
    plan = started.plan
    if plan is not None and plan.start_at_ms is not None:
        plan = replace(plan, start_at_ms=0)
    return replace(started, seed=b"", plan=plan)


def _comparable_failure(failure: Failure) -> Failure:
    """Say of a time-out its kind alone: the worker or the shard finds it out, whoever is first."""
    if failure.timeout_kind is None:
        return replace(failure, attempts=0)
    return Failure(failure.kind, failure.type, "", timeout_kind=failure.timeout_kind)


def comparable_answer(body: ReplyBody) -> ReplyBody:
    """Leave out what depends on when it is asked: whether anything changed, and a shard's view."""
    match body:
        case Accepted():
            return replace(body, created=True)
        case Page():
            return Page(b"")
        case _:
            return body


def _rows(tables: StateTables) -> Iterator[Any]:
    """Yield what tables say, without times and places in logs."""
    for summary in tables.runs(""):
        closed_ms = None if summary.closed_ms is None else 0
        purged_ms = None if summary.purged_ms is None else 0
        times = {"started_ms": 0, "updated_ms": 0, "closed_ms": closed_ms, "purged_ms": purged_ms}
        yield replace(summary, **times)  # type: ignore[arg-type]
    known = [_comparable_known(each) for each in tables.requests()]
    yield from sorted(known, key=repr)
    for more in (tables.parked(), tables.open_attempts(), tables.timers(0, 1)):
        yield [*more]


def _result(result: RunResult) -> tuple[str, str, bytes | None]:
    return result.workflow_id, result.status, result.result


def _comparable_known(known: Known) -> Known:
    heard: dict[str, Any] = {each: 0 for each in ("heard_ms", "heard_at") if hasattr(known, each)}
    if isinstance(known, SourceWindow):
        return replace(known, origin=replace(known.origin, offset=0), **heard)
    return replace(known, **heard)


def _kept(world: World) -> Iterator[tuple[Any, ...]]:
    """Yield what a log holds that was cleaned: what no key replaced, and no tombstone deleted.

    Claims and marks are left out. Of these there is one each, or a few.
    """
    for log in world.broker.logs:
        last = {record.key: record.value for record in log.written}
        records = [decode(value) for value in last.values() if value is not None]
        assert sum(isinstance(record, Mark) for record in records) <= 1
        for record in records:
            if isinstance(record, Turn | Snapshot):
                yield type(record).__name__, record.run_id, record.first
            elif not isinstance(record, Mark | Claim):
                yield type(record).__name__, getattr(record, "run_id", "")


def _failed(readings: Sequence[Reading]) -> dict[tuple[str, int], Counter[str]]:
    """Return how often, and how, attempts failed that were tried again, by workflow and id."""
    failed: dict[tuple[str, int], Counter[str]] = {}
    for reading in readings:
        workflows = {turn.run_id: turn.workflow_id for _, turn, _ in reading.turns}
        for (run_id, id), states in reading.changes.items():
            kinds = failed.setdefault((workflows[run_id], id), Counter())
            kinds.update(map(_kind, filter(_has_failed, states)))
    return failed


def _has_failed(state: AttemptState) -> bool:
    """Whether an attempt has just failed: what is known next of it, is that it is retried."""
    return state.retry_at_ms is not None


def _kind(state: AttemptState) -> str:
    failure = state.last_failure
    assert failure is not None, f"{state} waits for its retry"
    return failure.timeout_kind or failure.type
