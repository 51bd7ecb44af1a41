"""evolve: (state, event) -> state, in place. The fold of the log, and nothing else, calls it."""

from __future__ import annotations

from typing import assert_never

from processor.core.events import (
    ActivityAttemptFailed,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityHeartbeatRecorded,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
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
from processor.core.inputs import TimerKind
from processor.core.options import ActivityOptions
from processor.core.state import TRANSITIONS, OpenActivity, RunState
from processor.policy import Status

__all__ = ("armed_at_dispatch", "armed_at_start", "evolve")


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
                event.options,
                event.eager,
                now_ms,
                armed=armed_at_dispatch(event.options, event.eager, 1, now_ms),
            )
        case TimerStarted():
            state.timers[event.id] = event.due_ms
        case TimerFired() | TimerCancelled():
            del state.timers[event.id]
        case EventReceived():
            if event.request_id:
                state.request_ids.append(event.request_id)
        case WorkflowStarted():
            state.workflow = event.workflow
            state.started_ms = now_ms
            state.request_id = event.request_id
            state.memo = event.memo
            if event.execution_timeout_ms is not None:
                state.deadline_ms = now_ms + event.execution_timeout_ms
        case WorkflowCompleted() | WorkflowFailed() | WorkflowCancelled():
            _close(state, event, now_ms)
        case WorkflowTerminated() | WorkflowTimedOut():
            _close(state, event, now_ms)
        case (
            ActivityStarted()
            | ActivityHeartbeatRecorded()
            | ActivityAttemptFailed()
            | ActivityRetried()
        ):
            _evolve_attempt(state.activities[event.id], event, now_ms)
        case StatusSet():
            state.custom_status = event.value
        case WorkflowCancelRequested():
            state.cancel_reason = event.reason
        case RunParked():
            state.status = _status_after(state, event)
            state.parked = event
        case RunUnparked():
            state.status = _status_after(state, event)
            state.parked = None
        case SideEffectRecorded() | EventRejected() | RecordPublished() | MessageSent():
            pass
        case _:
            assert_never(event)


def _evolve_attempt(
    activity: OpenActivity,
    event: ActivityStarted | ActivityHeartbeatRecorded | ActivityAttemptFailed | ActivityRetried,
    now_ms: int,
) -> None:
    match event:
        case ActivityStarted():
            activity.worker = event.worker
            activity.starts += 1
            activity.heartbeat_at_ms = now_ms
            activity.armed.pop("schedule_to_start", None)
            activity.armed.update(armed_at_start(activity.options, now_ms))
        case ActivityHeartbeatRecorded():
            activity.heartbeat_at_ms = now_ms
            activity.heartbeat_details = event.details
            if activity.options.heartbeat_ms is not None and not activity.eager:
                activity.armed["heartbeat"] = now_ms + activity.options.heartbeat_ms
        case ActivityAttemptFailed():
            activity.last_failure = event.failure
            activity.retry_at_ms = event.retry_at_ms
            close_due_ms = activity.armed.get("schedule_to_close")
            activity.armed = {"retry": event.retry_at_ms}
            if close_due_ms is not None:
                activity.armed["schedule_to_close"] = close_due_ms
        case ActivityRetried():
            activity.attempt = event.attempt
            activity.eager = event.eager
            activity.retry_at_ms = None
            activity.worker = ""
            activity.starts = 0
            activity.armed.pop("retry", None)
            armed = armed_at_dispatch(activity.options, event.eager, event.attempt, now_ms)
            activity.armed.update(armed)


def armed_at_dispatch(
    options: ActivityOptions, eager: bool, attempt: int, now_ms: int
) -> dict[TimerKind, int]:
    """Return the time-outs that begin when an attempt leaves the shard.

    Schedule-to-close spans all attempts, so it begins with the first. An eager attempt starts
    at once, and the process that runs it watches over it.
    """
    armed: dict[TimerKind, int] = {}
    if options.schedule_to_start_ms is not None and not eager:
        armed["schedule_to_start"] = now_ms + options.schedule_to_start_ms
    if options.schedule_to_close_ms is not None and attempt == 1:
        armed["schedule_to_close"] = now_ms + options.schedule_to_close_ms
    return armed


def armed_at_start(options: ActivityOptions, now_ms: int) -> dict[TimerKind, int]:
    """Return the time-outs that begin when a worker announces that it runs a queued attempt."""
    armed: dict[TimerKind, int] = {}
    if options.start_to_close_ms is not None:
        armed["start_to_close"] = now_ms + options.start_to_close_ms
    if options.heartbeat_ms is not None:
        armed["heartbeat"] = now_ms + options.heartbeat_ms
    return armed


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
