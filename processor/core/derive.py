"""derive: the effects of what stands in the log, from it and the state just before it.

The same functions serve the owner that made a record and the next owner that finds it, so that
what a dead owner did not deliver can be delivered again.
"""

from __future__ import annotations

from collections.abc import Iterator

from processor.core.address import Address, Caller
from processor.core.attempt import AttemptState, OpenActivity, armed
from processor.core.effects import (
    ActivityTask,
    CancelAttempt,
    ClearTimer,
    DeadLetter,
    Effect,
    Forget,
    Message,
    Publish,
    Reply,
    RunResult,
    SetTimer,
    StartSuccessor,
)
from processor.core.events import (
    CLOSING,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    CallSent,
    Event,
    EventRejected,
    MessageSent,
    RecordPublished,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
)
from processor.core.headers import NO_HEADERS
from processor.core.inputs import CancelRun, RaiseEvent, TimerKind
from processor.core.marks import Answered
from processor.core.options import DEFAULTS
from processor.core.state import RunState
from processor.policy import Status

__all__ = ("effects_of", "effects_of_answer", "effects_of_attempt", "effects_of_image", "task_of")

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
            return _ended(state, state.activities[event.id])
        case ActivityCancelled():
            activity = state.activities[event.id]
            return [*_ended(state, activity), CancelAttempt(state.run_id, event.id)]
        case TimerStarted():
            return [_set(state, "timer", event.id, 0, event.due_ms)]
        case TimerFired() | TimerCancelled():
            return [ClearTimer(state.run_id, "timer", event.id, 0, state.timers[event.id])]
        case WorkflowStarted():
            if event.execution_timeout_ms is None:
                return []
            return [_set(state, "execution", 0, 0, now_ms + event.execution_timeout_ms)]
        case RecordPublished():
            of = state.workflow_id, state.run_id
            return [Publish(event.topic, event.key, event.value, event.headers, *of)]
        case MessageSent():
            return [_message(event)]
        case CallSent():
            caller = Caller(Address(None, state.workflow_id), state.run_id, event.id)
            return [Message(event.to.workflow_id, event.operation, caller)]
        case EventRejected():
            key = state.workflow_id.encode()
            reason = f"event {event.name!r} of {state.workflow_id}: {event.reason}"
            return [DeadLetter("commands", -1, -1, key, event.payload, reason)]
        case _ if isinstance(event, CLOSING):
            return [*_closed(state, event, now_ms)]
        case _:
            return []


def effects_of_attempt(
    state: RunState, activity: OpenActivity, after: AttemptState
) -> list[Effect]:
    """Return what has to leave because an open activity stands as ``after`` says from now on."""
    before, effects = activity.state, list[Effect]()
    was, now = activity.armed, armed(activity.options, activity.scheduled_ms, after)
    for kind, due_ms in was.items():
        if now.get(kind) != due_ms or _number(kind, before) != _number(kind, after):
            number = _number(kind, before)
            effects.append(ClearTimer(state.run_id, kind, activity.id, number, due_ms))
    if after.attempt != before.attempt and after.is_dispatch:
        effects.append(task_of(state, activity, after))
    elif after.retry_at_ms is not None:
        effects.append(CancelAttempt(state.run_id, activity.id))
    for kind, due_ms in now.items():
        if was.get(kind) != due_ms or _number(kind, before) != _number(kind, after):
            effects.append(_set(state, kind, activity.id, _number(kind, after), due_ms))
    if activity.key:
        effects.append(Forget(activity.key))
    return effects


def effects_of_answer(answered: Answered) -> list[Effect]:
    """Return what a command that left no turn makes leave the shard."""
    effects: list[Effect] = []
    if answered.reply_to is not None:
        effects.append(Reply(answered.reply_to, answered.answer))
    if answered.letter is not None:
        effects.append(answered.letter)
    return effects


def effects_of_image(state: RunState) -> list[Effect]:
    """Return what sets the tables up for a run of which only a snapshot is left."""
    effects: list[Effect] = []
    if state.deadline_ms is not None:
        effects.append(_set(state, "execution", 0, 0, state.deadline_ms))
    effects += [_set(state, "timer", id, 0, due_ms) for id, due_ms in state.timers.items()]
    for activity in state.activities.values():
        effects.append(task_of(state, activity, activity.state))
        for kind, due_ms in activity.armed.items():
            number = _number(kind, activity.state)
            effects.append(_set(state, kind, activity.id, number, due_ms))
    return effects


def task_of(state: RunState, activity: OpenActivity, attempt: AttemptState) -> ActivityTask:
    """Return the task of an attempt."""
    options = activity.options
    close_ms = options.schedule_to_close_ms
    return ActivityTask(
        state.workflow_id,
        state.run_id,
        state.workflow,
        activity.id,
        attempt.attempt,
        activity.name,
        activity.arguments,
        options.queue,
        attempt.eager,
        attempt.dispatched_ms,
        options.start_to_close_ms,
        options.heartbeat_ms,
        None if close_ms is None else activity.scheduled_ms + close_ms,
        attempt.details,
        activity.headers,
    )


def _number(kind: TimerKind, attempt: AttemptState) -> int:
    """Return the attempt that a time-out is about; schedule-to-close spans all of them."""
    return 0 if kind == "schedule_to_close" else attempt.attempt


def _set(state: RunState, kind: TimerKind, id: int, attempt: int, due_ms: int) -> SetTimer:
    return SetTimer(state.workflow_id, state.run_id, kind, id, attempt, due_ms)


def _ended(state: RunState, activity: OpenActivity) -> list[Effect]:
    """Return what goes with an activity that is over."""
    effects: list[Effect] = []
    if activity.options is not DEFAULTS or activity.state.retry_at_ms is not None:
        for kind, due_ms in activity.armed.items():
            number = _number(kind, activity.state)
            effects.append(ClearTimer(state.run_id, kind, activity.id, number, due_ms))
    if activity.key:
        effects.append(Forget(activity.key))
    return effects


def _dispatched(state: RunState, event: ActivityScheduled, now_ms: int) -> list[Effect]:
    options = event.options or DEFAULTS
    close_ms = options.schedule_to_close_ms
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
        None if close_ms is None else now_ms + close_ms,
        None,
        event.headers,
    )
    if options is DEFAULTS:
        return [task]
    first = AttemptState(event.id, 1, event.eager, now_ms)
    timers = [
        _set(state, kind, event.id, _number(kind, first), due_ms)
        for kind, due_ms in armed(options, now_ms, first).items()
    ]
    return [task, *timers]


def _message(event: MessageSent) -> Message:
    body: RaiseEvent | CancelRun
    if event.kind == "event":
        body = RaiseEvent(event.name, event.payload, headers=event.headers)
    else:
        body = CancelRun(event.reason)
    return Message(event.to.workflow_id, body)


def _closed(state: RunState, event: Event, now_ms: int) -> Iterator[Effect]:
    assert isinstance(event, CLOSING), f"{event} ends no run"
    for activity in state.activities.values():
        yield from _ended(state, activity)
        yield CancelAttempt(state.run_id, activity.id)
    for id, due_ms in state.timers.items():
        yield ClearTimer(state.run_id, "timer", id, 0, due_ms)
    if state.deadline_ms is not None:
        yield ClearTimer(state.run_id, "execution", 0, 0, state.deadline_ms)
    yield RunResult(
        state.workflow_id,
        state.run_id,
        state.first_run_id,
        state.workflow,
        _STATUS_AFTER[type(event).__name__].value,
        event.result if isinstance(event, WorkflowCompleted) else None,
        event.failure if isinstance(event, WorkflowFailed) else None,
        event.reason if isinstance(event, WorkflowCancelled | WorkflowTerminated) else None,
        now_ms,
        None if event.successor is None else event.successor.run_id,
        event.headers if isinstance(event, WorkflowCompleted | WorkflowFailed) else NO_HEADERS,
    )
    if event.successor is not None:
        successor = event.successor
        yield StartSuccessor(state.workflow_id, successor.run_id, successor.started)
