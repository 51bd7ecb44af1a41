"""The table of transitions, walked for every status and every type of event."""

from __future__ import annotations

from typing import get_args

import pytest

from processor.core import events
from processor.core.events import CLOSING, DECISIONS, Event
from processor.core.evolve import evolve
from processor.core.state import TRANSITIONS, RunState
from processor.policy import Status

from .scripted import DOWN, NOW, STARTED, scheduled, state

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
OPEN_THINGS = (scheduled(1), events.TimerStarted(2, NOW + 5))
SAMPLES: tuple[Event, ...] = (
    STARTED,
    events.EventReceived("go", b"1", "r2"),
    events.WorkflowCancelRequested("enough"),
    events.TimerFired(2),
    events.ActivityStarted(1, 1, "w"),
    events.ActivityHeartbeatRecorded(1, 1, b"1"),
    events.ActivityAttemptFailed(1, 1, DOWN, NOW + 5),
    events.ActivityRetried(1, 2, True),
    events.ActivityCompleted(1, 1, b"1"),
    events.ActivityFailed(1, 1, DOWN),
    events.RunUnparked(),
    scheduled(3),
    events.ActivityCancelled(1),
    events.TimerStarted(3, NOW),
    events.TimerCancelled(2),
    events.SideEffectRecorded(3, b"1"),
    events.StatusSet(b"1"),
    events.EventRejected("go", b"1", "why"),
    events.RecordPublished("t", None, b"1"),
    events.MessageSent("event", "other", "go", b"1"),
    events.WorkflowCompleted(b"1"),
    events.WorkflowFailed(DOWN),
    events.WorkflowCancelled("enough"),
    events.WorkflowTerminated("enough"),
    events.WorkflowTimedOut(5),
    PARKED,
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
    assert not run.activities and not run.timers
    assert run.summary().cancel_reason == "enough"


def test_an_attempt_that_failed_waits_and_the_next_one_begins_afresh() -> None:
    run = state(
        scheduled(1, start_to_close_ms=50, schedule_to_close_ms=900),
        events.ActivityStarted(1, 1, "w"),
    )
    activity = run.activities[1]
    assert activity.armed == {"schedule_to_close": NOW + 900, "start_to_close": NOW + 50}
    evolve(run, events.ActivityAttemptFailed(1, 1, DOWN, NOW + 7), NOW)
    assert activity.armed == {"retry": NOW + 7, "schedule_to_close": NOW + 900}
    evolve(run, events.ActivityRetried(1, 2, False), NOW + 7)
    assert (activity.attempt, activity.starts, activity.worker) == (2, 0, "")
    assert activity.armed == {"schedule_to_close": NOW + 900}
    assert (activity.retry_at_ms, activity.last_failure) == (None, DOWN)
