"""The table of transitions, walked for every status and every type of event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor.core.data.address import Address, Caller
from processor.core.event import Event
from processor.core.evolve import evolve
from processor.core.nouns.activity import (
    ActivityAdjusted,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityStopRequested,
    attempted,
)
from processor.core.nouns.awaited import AnswerAwaited, AnswerNotAwaited
from processor.core.nouns.call import (
    CallAnswered,
    CallGivenUp,
    CallSent,
    MessageDelayed,
    MessageRejected,
    MessageSent,
)
from processor.core.nouns.child import (
    ChildCalled,
    ChildCancelRequested,
    ChildEnded,
    ChildrenSpared,
    ChildStarted,
)
from processor.core.nouns.external import EventReceived, EventRejected, RaiseEvent
from processor.core.nouns.lineage import Lineage
from processor.core.nouns.locks.granting import (
    HolderCalled,
    LockFreed,
    LockGranted,
    LockRequested,
    LockWithdrawn,
)
from processor.core.nouns.locks.holding import LockAnswered, LockCalled, LockReleased
from processor.core.nouns.promise import PromiseMade, PromiseSettled
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    Closing,
    RunParked,
    RunUnparked,
    Successor,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.nouns.start import StartChild
from processor.core.nouns.stop import OutputSet
from processor.core.nouns.timer import EventDelayed, TimerCancelled, TimerFired, TimerStarted
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted
from processor.core.nouns.value import (
    AttributesSet,
    MemoSet,
    SideEffectRecorded,
    StatusSet,
    ValueSet,
)
from processor.core.records.answers import Accepted, Closed, Locked
from processor.core.state import RunState
from processor.core.vocabulary import EVENTS
from processor.policy import Status

from .scripted import DOWN, NOW, RUN, STARTED, attempt, scheduled, state

PARKED = RunParked("bug", "error", "", "")
REACHED: dict[Status, tuple[Event, ...]] = {
    Status.RUNNING: (),
    Status.PARKED: (PARKED,),
    Status.COMPLETED: (WorkflowCompleted(b"1"),),
    Status.FAILED: (WorkflowFailed(DOWN),),
    Status.CANCELLED: (WorkflowCancelled("enough"),),
    Status.TERMINATED: (WorkflowTerminated("enough"),),
    Status.TIMED_OUT: (WorkflowTimedOut(5),),
    Status.CONTINUED: (WorkflowContinued(Successor("run-2", STARTED)),),
}
OTHER = Address(None, "other")
CALL = CallSent(4, OTHER, RaiseEvent("go"))
UPDATE = UpdateAccepted("u1", "do", b"[1]", validated=True)
CHILD = ChildCalled(5, OTHER, StartChild("order"), "terminate")
CALLER = Caller(OTHER, "run-8", 1)
WAITS = AnswerAwaited(CALLER, "result")
LOCK = LockCalled(8, Address(None, "@Account@ada"))
WAITS_FOR_LOCK = replace(CALLER, call=3)
OPEN_THINGS = (
    *(scheduled(1), TimerStarted(2, NOW + 5), CALL, CHILD, UPDATE, PromiseMade(6), WAITS),
    *(LOCK, LockRequested(WAITS_FOR_LOCK)),
)
SAMPLES: tuple[Event, ...] = (
    ActivityCompleted(1, 1, b"1"),
    scheduled(3),
    TimerStarted(3, NOW),
    TimerFired(2),
    STARTED,
    WorkflowCompleted(b"1"),
    EventReceived("go", b"1"),
    ActivityFailed(1, 1, DOWN),
    SideEffectRecorded(3, b"1"),
    StatusSet(b"1"),
    MessageSent(OTHER, "event", "go", "", b"1"),
    RecordPublished("t", None, b"1"),
    TimerCancelled(2),
    ActivityCancelled(1),
    EventRejected("go", b"1", "why"),
    WorkflowCancelRequested("enough"),
    WorkflowFailed(DOWN),
    WorkflowCancelled("enough"),
    WorkflowTerminated("enough"),
    WorkflowTimedOut(5),
    PARKED,
    RunUnparked(),
    CallSent(3, OTHER, RaiseEvent("go")),
    CallAnswered(4, Accepted("run-9")),
    MessageRejected(4, OTHER, "go", b"1", "nobody"),
    UpdateAccepted("u2", "do", b"[1]", validated=True),
    UpdateCompleted("u1", b"1"),
    WorkflowContinued(Successor("run-2", STARTED)),
    ChildCalled(6, OTHER, StartChild("order"), "cancel"),
    ChildStarted(5, "run-9"),
    ChildEnded(5, Closed("run-9", "completed")),
    ChildCancelRequested(5, "enough"),
    ChildrenSpared(),
    ActivityStopRequested(1),
    ActivityAdjusted(1, True, 2, None),
    ValueSet("v", b"1"),
    PromiseMade(7),
    PromiseSettled(6, b"1"),
    MemoSet(b"{}"),
    AnswerAwaited(replace(CALLER, call=2), "value", "v"),
    AnswerNotAwaited(CALLER),
    CallGivenUp(4),
    OutputSet(b"1"),
    EventDelayed(1 << 52, NOW + 9, "go", b"1"),
    MessageDelayed(OTHER, "entity", "go", "", b"1", due_ms=NOW + 9),
    LockCalled(9, LOCK.to),
    LockAnswered(8, Locked(5)),
    LockReleased(8),
    LockRequested(replace(CALLER, call=4)),
    LockWithdrawn(WAITS_FOR_LOCK),
    LockGranted(WAITS_FOR_LOCK, 5),
    LockFreed(5),
    HolderCalled("u3", "do", b"[1]", validated=True, number=5),
    AttributesSet(b'{"a":1}'),
)
BEFORE: dict[type[Event], Event] = {LockFreed: LockGranted(WAITS_FOR_LOCK, 5)}
"""What has to be there, beside what is open."""


MOVES: dict[type[Event], dict[Status, Status]] = {
    RunParked: {Status.RUNNING: Status.PARKED},
    RunUnparked: {Status.PARKED: Status.RUNNING},
    WorkflowCompleted: {Status.RUNNING: Status.COMPLETED},
    WorkflowFailed: {Status.RUNNING: Status.FAILED},
    WorkflowCancelled: {Status.RUNNING: Status.CANCELLED},
    WorkflowTerminated: {Status.RUNNING: Status.TERMINATED, Status.PARKED: Status.TERMINATED},
    WorkflowTimedOut: {Status.RUNNING: Status.TIMED_OUT, Status.PARKED: Status.TIMED_OUT},
    WorkflowContinued: {Status.RUNNING: Status.CONTINUED},
}
"""All other events leave the status as it is and need an open run."""


def in_status(status: Status) -> RunState:
    return state(*OPEN_THINGS, *REACHED[status])


def test_there_is_a_sample_of_every_event() -> None:
    assert [type(sample) for sample in SAMPLES] == list(EVENTS)


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_every_pair(status: Status, event: Event) -> None:
    run = in_status(status)
    assert run.status is status
    moves = MOVES.get(type(event))
    legal = status.is_open if moves is None else status in moves
    if legal and type(event) in BEFORE:
        evolve(run, BEFORE[type(event)], NOW)
    if not legal:
        with pytest.raises(AssertionError, match=r"takes no"):
            evolve(run, event, NOW)
        return
    before = run.events
    evolve(run, event, NOW + 1)
    assert run.status is (status if moves is None else moves[status])
    assert (run.events, run.updated_ms) == (before + 1, NOW + 1)
    assert (run.closed_ms is not None) == (not run.status.is_open)


def test_the_table_is_about_closing_and_parking() -> None:
    assert {each for each in EVENTS if issubclass(each, Closing)} == {
        each for each, moves in MOVES.items() if not any(after.is_open for after in moves.values())
    }
    for moves in MOVES.values():
        assert all(before.is_open for before in moves)


def test_a_closed_run_holds_nothing_open() -> None:
    run = in_status(Status.TERMINATED)
    assert not run.activities and not run.timers and not run.calls and not run.children
    assert not run.callers and not run.locks and run.lock is None
    assert run.summary().cancel_reason == "enough"


@pytest.mark.parametrize(
    "event",
    [event for event in SAMPLES if isinstance(event, Closing)],
    ids=lambda e: type(e).__name__,
)
def test_a_closed_run_names_the_one_that_follows_it(event: Event) -> None:
    run = state()
    evolve(run, replace(event, successor=Successor("run-2", STARTED)), NOW)
    assert run.summary().successor == "run-2"
    if not isinstance(event, WorkflowContinued):
        alone = state()
        evolve(alone, event, NOW)
        assert alone.summary().successor is None


def test_a_chain_is_known_by_its_first_run() -> None:
    assert state().first_run_id == state().summary().first_run_id == RUN
    later = replace(STARTED, lineage=Lineage(first_run_id="run-0", previous_run_id="run-0"))
    assert state(started=later).summary().first_run_id == "run-0"
    begins_one = replace(STARTED, lineage=Lineage(caller=None, attempt=2))
    assert state(started=begins_one).first_run_id == RUN


@pytest.mark.parametrize(
    ("event", "held"),
    [
        (WorkflowCompleted(None), (None, None, None)),
        (WorkflowCompleted(b""), (b"", None, None)),
        (WorkflowFailed(DOWN), (None, DOWN, None)),
        (WorkflowCancelled("enough"), (None, None, "enough")),
    ],
)
def test_a_closed_run_keeps_how_it_ended(event: Event, held: object) -> None:
    run = state(event).summary()
    assert (run.result, run.failure, run.cancel_reason) == held


def test_where_an_attempt_stands_is_no_part_of_the_history() -> None:
    run = state(scheduled(1, start_to_close_ms=50, schedule_to_close_ms=900))
    assert run.activities[1].state == attempt() and run.activities[1].key == b""
    before = (run.events, run.updated_ms)
    began = attempt(started_ms=NOW, worker="w", starts=1)
    assert attempted(run, began, b"k1")
    activity = run.activities[1]
    assert (activity.state, activity.key, activity.attempt) == (began, b"k1", 1)
    assert activity.armed == {"schedule_to_close": NOW + 900, "start_to_close": NOW + 50}
    waits = attempt(retry_at_ms=NOW + 7, failures=1, last_failure=DOWN)
    assert attempted(run, waits, b"k2")
    assert activity.armed == {"retry": NOW + 7, "schedule_to_close": NOW + 900}
    assert (run.events, run.updated_ms) == before


def test_a_record_of_an_attempt_that_is_over_changes_nothing() -> None:
    run = state(scheduled(1), ActivityCompleted(1, 1, b"1"))
    assert not attempted(run, attempt(2), b"k")
    assert run == state(scheduled(1), ActivityCompleted(1, 1, b"1"))
