"""derive: the effects of an event, from the event and the state just before it.

The same function serves the owner that made the turn and the next owner that finds it in the
log, so that what a dead owner did not deliver can be delivered again.
"""

from __future__ import annotations

from collections.abc import Iterator

from processor.core.effects import (
    ActivityTask,
    CancelAttempt,
    ClearTimer,
    DeadLetter,
    Effect,
    Message,
    Publish,
    RunResult,
    SetTimer,
)
from processor.core.events import (
    CLOSING,
    ActivityAttemptFailed,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityHeartbeatRecorded,
    ActivityRetried,
    ActivityScheduled,
    ActivityStarted,
    Event,
    EventRejected,
    MessageSent,
    RecordPublished,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from processor.core.evolve import armed_at_dispatch, armed_at_start
from processor.core.inputs import TimerKind
from processor.core.state import OpenActivity, RunState
from processor.policy import Status

__all__ = ("effects_of",)

_STATUS_AFTER = {
    "WorkflowCompleted": Status.COMPLETED,
    "WorkflowFailed": Status.FAILED,
    "WorkflowCancelled": Status.CANCELLED,
    "WorkflowTerminated": Status.TERMINATED,
    "WorkflowTimedOut": Status.TIMED_OUT,
}


def effects_of(state: RunState, event: Event, now_ms: int) -> list[Effect]:
    """Return what has to leave the shard because ``event`` becomes true in ``state``."""
    match event:
        case ActivityScheduled():
            return _dispatched(state, event, now_ms)
        case ActivityCompleted() | ActivityFailed():
            activity = state.activities[event.id]
            return [*_disarmed(state, activity)] if activity.armed else []
        case ActivityCancelled():
            activity = state.activities[event.id]
            cancel = CancelAttempt(state.run_id, event.id)
            return [*_disarmed(state, activity), cancel]
        case TimerStarted():
            return [_set(state, "timer", event.id, 0, event.due_ms)]
        case TimerFired() | TimerCancelled():
            return [ClearTimer(state.run_id, "timer", event.id, 0, state.timers[event.id])]
        case WorkflowStarted():
            if event.execution_timeout_ms is None:
                return []
            return [_set(state, "execution", 0, 0, now_ms + event.execution_timeout_ms)]
        case ActivityStarted() | ActivityHeartbeatRecorded():
            return [*_watched(state, event, now_ms)]
        case ActivityAttemptFailed():
            return [*_failed(state, event)]
        case ActivityRetried():
            return [*_retried(state, event, now_ms)]
        case RecordPublished():
            return [Publish(event.topic, event.key, event.value)]
        case MessageSent():
            return [Message(event.kind, event.workflow_id, event.name, event.payload)]
        case EventRejected():
            key = state.workflow_id.encode()
            reason = f"event {event.name!r} of {state.workflow_id}: {event.reason}"
            return [DeadLetter("commands", -1, -1, key, event.payload, reason)]
        case _ if isinstance(event, CLOSING):
            return [*_closed(state, event, now_ms)]
        case _:
            return []


def _set(state: RunState, kind: TimerKind, id: int, attempt: int, due_ms: int) -> SetTimer:
    return SetTimer(state.workflow_id, state.run_id, kind, id, attempt, due_ms)


def _disarmed(state: RunState, activity: OpenActivity) -> Iterator[Effect]:
    for kind, due_ms in activity.armed.items():
        attempt = 0 if kind == "schedule_to_close" else activity.attempt
        yield ClearTimer(state.run_id, kind, activity.id, attempt, due_ms)


def _dispatched(state: RunState, event: ActivityScheduled, now_ms: int) -> list[Effect]:
    options = event.options
    deadline_ms = None
    if options.schedule_to_close_ms is not None:
        deadline_ms = now_ms + options.schedule_to_close_ms
    task = ActivityTask(
        state.workflow_id,
        state.run_id,
        state.workflow,
        event.id,
        1,
        event.name,
        event.arguments,
        options.queue,
        event.eager,
        now_ms,
        options.start_to_close_ms,
        options.heartbeat_ms,
        deadline_ms,
        None,
    )
    timers = [
        # Schedule-to-close spans all attempts.
        _set(state, kind, event.id, 0 if kind == "schedule_to_close" else 1, due_ms)
        for kind, due_ms in armed_at_dispatch(options, event.eager, 1, now_ms).items()
    ]
    return [task, *timers]


def _retried(state: RunState, event: ActivityRetried, now_ms: int) -> Iterator[Effect]:
    activity = state.activities[event.id]
    options = activity.options
    retry_due_ms = activity.armed.get("retry")
    if retry_due_ms is not None:
        yield ClearTimer(state.run_id, "retry", activity.id, activity.attempt, retry_due_ms)
    yield ActivityTask(
        state.workflow_id,
        state.run_id,
        state.workflow,
        activity.id,
        event.attempt,
        activity.name,
        activity.arguments,
        options.queue,
        event.eager,
        now_ms,
        options.start_to_close_ms,
        options.heartbeat_ms,
        activity.armed.get("schedule_to_close"),
        activity.heartbeat_details,
    )
    for kind, due_ms in armed_at_dispatch(options, event.eager, event.attempt, now_ms).items():
        yield _set(state, kind, event.id, event.attempt, due_ms)


def _watched(
    state: RunState, event: ActivityStarted | ActivityHeartbeatRecorded, now_ms: int
) -> Iterator[Effect]:
    activity = state.activities[event.id]
    if isinstance(event, ActivityStarted):
        armed = armed_at_start(activity.options, now_ms)
        gone = {"schedule_to_start", *armed}
    elif activity.eager or activity.options.heartbeat_ms is None:
        return
    else:
        armed = {"heartbeat": now_ms + activity.options.heartbeat_ms}
        gone = {"heartbeat"}
    for kind, due_ms in activity.armed.items():
        if kind in gone:
            yield ClearTimer(state.run_id, kind, activity.id, activity.attempt, due_ms)
    for kind, due_ms in armed.items():
        yield _set(state, kind, activity.id, activity.attempt, due_ms)


def _failed(state: RunState, event: ActivityAttemptFailed) -> Iterator[Effect]:
    activity = state.activities[event.id]
    for kind, due_ms in activity.armed.items():
        if kind != "schedule_to_close":
            yield ClearTimer(state.run_id, kind, activity.id, activity.attempt, due_ms)
    yield CancelAttempt(state.run_id, event.id)
    yield _set(state, "retry", activity.id, activity.attempt, event.retry_at_ms)


def _closed(state: RunState, event: Event, now_ms: int) -> Iterator[Effect]:
    for activity in state.activities.values():
        yield from _disarmed(state, activity)
        yield CancelAttempt(state.run_id, activity.id)
    for id, due_ms in state.timers.items():
        yield ClearTimer(state.run_id, "timer", id, 0, due_ms)
    if state.deadline_ms is not None:
        yield ClearTimer(state.run_id, "execution", 0, 0, state.deadline_ms)
    yield RunResult(
        state.workflow_id,
        state.run_id,
        state.workflow,
        _STATUS_AFTER[type(event).__name__].value,
        event.result if isinstance(event, WorkflowCompleted) else None,
        event.failure if isinstance(event, WorkflowFailed) else None,
        now_ms,
    )
