"""evolve: (state, event) -> state, in place. The fold of the log, and nothing else, calls it."""

from __future__ import annotations

from typing import assert_never

from processor.core.attempt import AttemptState, OpenActivity
from processor.core.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    CallAnswered,
    CallSent,
    Event,
    EventReceived,
    EventRejected,
    MessageSent,
    RecordPublished,
    RunParked,
    RunUnparked,
    SideEffectRecorded,
    StatusSet,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.options import DEFAULTS
from processor.core.state import TRANSITIONS, RunState
from processor.policy import Status

__all__ = ("attempted", "evolve")


def evolve(state: RunState, event: Event, now_ms: int) -> None:
    """Apply one event that became true at ``now_ms`` (the time of its turn)."""
    assert state.closed_ms is None, f"run {state.run_id} is closed and takes no {event}"
    state.events += 1
    state.updated_ms = now_ms
    match event:
        case ActivityCompleted() | ActivityFailed() | ActivityCancelled():
            del state.activities[event.id]
        case ActivityScheduled():
            state.activities[event.id] = OpenActivity(
                event.id,
                event.name,
                event.arguments,
                event.options or DEFAULTS,
                event.headers,
                now_ms,
                AttemptState(event.id, 1, event.eager, now_ms),
            )
        case TimerStarted():
            state.timers[event.id] = event.due_ms
        case TimerFired() | TimerCancelled():
            del state.timers[event.id]
        case WorkflowStarted():
            state.started = event
            state.started_ms = now_ms
        case WorkflowCompleted() | WorkflowFailed() | WorkflowCancelled():
            _close(state, event, now_ms)
        case WorkflowTerminated() | WorkflowTimedOut():
            _close(state, event, now_ms)
        case StatusSet():
            state.custom_status = event.value
        case WorkflowCancelRequested():
            state.cancel_reason = event.reason
        case CallSent():
            state.calls[event.id] = event
        case CallAnswered():
            del state.calls[event.id]
        case RunParked():
            state.status = _status_after(state, event)
            state.parked = event
        case RunUnparked():
            state.status = _status_after(state, event)
            state.parked = None
        case EventReceived() | SideEffectRecorded() | EventRejected():
            pass
        case RecordPublished() | MessageSent():
            pass
        case _:
            assert_never(event)


def attempted(state: RunState, attempt: AttemptState, key: bytes) -> bool:
    """Apply a record of an attempt; False where its activity is over, and so nothing is changed."""
    activity = state.activities.get(attempt.id)
    if activity is None:
        return False
    activity.state, activity.key = attempt, key
    return True


def _close(
    state: RunState,
    event: WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
    | WorkflowTerminated
    | WorkflowTimedOut,
    now_ms: int,
) -> None:
    state.status = _status_after(state, event)
    state.closed_ms = now_ms
    state.parked = None
    state.activities.clear()
    state.timers.clear()
    state.calls.clear()
    state.successor = None if event.successor is None else event.successor.run_id
    match event:
        case WorkflowCompleted():
            state.result = event.result
        case WorkflowFailed():
            state.failure = event.failure
        case WorkflowCancelled():
            state.cancel_reason = event.reason
        case WorkflowTerminated():
            state.cancel_reason = event.reason
        case WorkflowTimedOut():
            pass
        case _:
            assert_never(event)


def _status_after(state: RunState, event: Event) -> Status:
    after = TRANSITIONS[type(event).__name__].get(state.status)
    assert after is not None, f"run {state.run_id} is {state.status.value} and takes no {event}"
    return after
