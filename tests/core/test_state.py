"""The table of transitions, walked for every status and every type of event."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from processor.core import events
from processor.core.address import Address
from processor.core.answers import Accepted
from processor.core.events import CLOSING, DECISIONS, Event
from processor.core.evolve import attempted, evolve
from processor.core.inputs import RaiseEvent
from processor.core.started import Lineage, Successor
from processor.core.state import TRANSITIONS, RunState
from processor.policy import Status

from .scripted import DOWN, NOW, RUN, STARTED, attempt, scheduled, state

PARKED = events.RunParked("bug", "error", "", "")
REACHED: dict[Status, tuple[Event, ...]] = {
    Status.RUNNING: (),
    Status.PARKED: (PARKED,),
    Status.COMPLETED: (events.WorkflowCompleted(b"1"),),
    Status.FAILED: (events.WorkflowFailed(DOWN),),
    Status.CANCELLED: (events.WorkflowCancelled("enough"),),
    Status.TERMINATED: (events.WorkflowTerminated("enough"),),
    Status.TIMED_OUT: (events.WorkflowTimedOut(5),),
}
OTHER = Address(None, "other")
CALL = events.CallSent(4, OTHER, RaiseEvent("go"))
OPEN_THINGS = (scheduled(1), events.TimerStarted(2, NOW + 5), CALL)
SAMPLES: tuple[Event, ...] = (
    events.ActivityCompleted(1, 1, b"1"),
    scheduled(3),
    events.TimerStarted(3, NOW),
    events.TimerFired(2),
    STARTED,
    events.WorkflowCompleted(b"1"),
    events.EventReceived("go", b"1"),
    events.ActivityFailed(1, 1, DOWN),
    events.SideEffectRecorded(3, b"1"),
    events.StatusSet(b"1"),
    events.MessageSent(OTHER, "event", "go", "", b"1"),
    events.RecordPublished("t", None, b"1"),
    events.TimerCancelled(2),
    events.ActivityCancelled(1),
    events.EventRejected("go", b"1", "why"),
    events.WorkflowCancelRequested("enough"),
    events.WorkflowFailed(DOWN),
    events.WorkflowCancelled("enough"),
    events.WorkflowTerminated("enough"),
    events.WorkflowTimedOut(5),
    PARKED,
    events.RunUnparked(),
    events.CallSent(3, OTHER, RaiseEvent("go")),
    events.CallAnswered(4, Accepted("run-9")),
)


def in_status(status: Status) -> RunState:
    return state(*OPEN_THINGS, *REACHED[status])


def test_there_is_a_sample_of_every_event() -> None:
    assert [type(sample) for sample in SAMPLES] == list(get_args(Event))


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_every_pair(status: Status, event: Event) -> None:
    run = in_status(status)
    assert run.status is status
    moves = TRANSITIONS.get(type(event).__name__)
    legal = status.is_open if moves is None else status in moves
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
    assert set(TRANSITIONS) == {each.__name__ for each in CLOSING} | {"RunParked", "RunUnparked"}
    for moves in TRANSITIONS.values():
        assert all(before.is_open for before in moves)
    for closing in CLOSING:
        assert not any(after.is_open for after in TRANSITIONS[closing.__name__].values())


def test_decisions_are_events() -> None:
    assert set(DECISIONS) <= set(get_args(Event))


def test_a_closed_run_holds_nothing_open() -> None:
    run = in_status(Status.TERMINATED)
    assert not run.activities and not run.timers and not run.calls
    assert run.summary().cancel_reason == "enough"


@pytest.mark.parametrize(
    "event",
    [event for event in SAMPLES if isinstance(event, CLOSING)],
    ids=lambda e: type(e).__name__,
)
def test_a_closed_run_names_the_one_that_follows_it(event: Event) -> None:
    run = state()
    evolve(run, replace(event, successor=Successor("run-2", STARTED)), NOW)
    assert run.summary().successor == "run-2"
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
        (events.WorkflowCompleted(None), (None, None, None)),
        (events.WorkflowCompleted(b""), (b"", None, None)),
        (events.WorkflowFailed(DOWN), (None, DOWN, None)),
        (events.WorkflowCancelled("enough"), (None, None, "enough")),
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
    run = state(scheduled(1), events.ActivityCompleted(1, 1, b"1"))
    assert not attempted(run, attempt(2), b"k")
    assert run == state(scheduled(1), events.ActivityCompleted(1, 1, b"1"))
