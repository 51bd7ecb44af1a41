"""A run's whole state as a record, for runs whose history does not grow for ever."""

from __future__ import annotations

from dataclasses import replace

from processor.core.data.cause import RecordedCause
from processor.core.data.fields import RequestId, RunId, WorkflowId
from processor.core.data.frozen import frozen
from processor.core.data.options import DEFAULTS
from processor.core.nouns.activity import ActivityScheduled, AttemptState, OpenActivity
from processor.core.nouns.call import CallSent
from processor.core.nouns.run import RunParked, WorkflowStarted
from processor.core.records.turn import (
    Delivered,
    Epoch,
    Events,
    FirstEvent,
    Positions,
    RecordTime,
    Source,
    Turn,
)
from processor.core.state import RunState
from processor.policy import Status

__all__ = ("OpenActivityImage", "RunImage", "Snapshot", "TimerImage", "snapshot_of", "state_of")


@frozen
class OpenActivityImage:
    """An open activity of a snapshot."""

    scheduled: ActivityScheduled
    """How it was asked for."""
    scheduled_ms: int
    """When it was asked for, in milliseconds since the epoch."""
    state: AttemptState
    """Where it stands."""


@frozen
class TimerImage:
    """A timer of a snapshot."""

    id: RequestId
    due_ms: int
    """When it is due, in milliseconds since the epoch."""


@frozen
class RunImage:
    """The state of an open run, as its events add up to."""

    started: WorkflowStarted
    """Its start."""
    started_ms: int
    """When it began, in milliseconds since the epoch."""
    updated_ms: int
    """When its last turn was made."""
    events: int
    """How many events its history has."""
    activities: tuple[OpenActivityImage, ...] = ()
    """Its open activities."""
    timers: tuple[TimerImage, ...] = ()
    """Its timers."""
    calls: tuple[CallSent, ...] = ()
    """Its calls that have no answer."""
    custom_status: bytes | None = None
    """Encoded status that the code has set."""
    cancel_reason: str | None = None
    """Why it was asked to cancel itself; None: it was not."""
    parked: RunParked | None = None
    """Why it is parked; None: it is not."""


@frozen
class Snapshot:
    """A turn, and the state of its run after it: replay begins there, and what is older of the run
    may go. One record of the events topic, under the claim rule.
    """

    workflow_id: WorkflowId
    run_id: RunId
    epoch: Epoch
    first: FirstEvent
    time_ms: RecordTime
    source: Source
    positions: Positions
    delivered: Delivered
    cause: RecordedCause | None
    events: Events
    image: RunImage
    """The state of the run after the turn."""
    value: bytes | None = None
    """Encoded state of the code after the turn."""


def snapshot_of(turn: Turn, state: RunState, value: bytes) -> Snapshot:
    """Return a turn with the state after it: the run's, and the code's as ``value``."""
    assert state.run_id == turn.run_id, f"the state of {state.run_id} is not that of {turn.run_id}"
    assert state.events == turn.first + len(turn.events), "the state is that after the turn"
    return Snapshot(
        turn.workflow_id,
        turn.run_id,
        turn.epoch,
        turn.first,
        turn.time_ms,
        turn.source,
        turn.positions,
        turn.delivered,
        turn.cause,
        turn.events,
        image_of(state),
        value,
    )


def image_of(state: RunState) -> RunImage:
    """Return an open run's state as a record."""
    assert state.started is not None, f"run {state.run_id} has not started"
    assert state.status.is_open, f"run {state.run_id} is not open"
    assert not state.children, f"run {state.run_id} has children, and code that cannot be kept"
    assert not state.promises, f"run {state.run_id} has promises, which an image does not hold"
    return RunImage(
        replace(state.started, memo=state.memo),
        state.started_ms,
        state.updated_ms,
        state.events,
        tuple(map(_activity_image, state.activities.values())),
        tuple(TimerImage(id, due_ms) for id, due_ms in state.timers.items()),
        tuple(state.calls.values()),
        state.custom_status,
        state.cancel_reason,
        state.parked,
    )


def state_of(snapshot: Snapshot) -> RunState:
    """Return the state that a snapshot holds."""
    image = snapshot.image
    assert image.events >= snapshot.first, f"run {snapshot.run_id}: the state is that after a turn"
    return RunState(
        snapshot.workflow_id,
        snapshot.run_id,
        image.started,
        Status.RUNNING if image.parked is None else Status.PARKED,
        image.started_ms,
        image.updated_ms,
        events=image.events,
        activities={each.scheduled.id: _open_activity(each) for each in image.activities},
        timers={each.id: each.due_ms for each in image.timers},
        calls={each.id: each for each in image.calls},
        custom_status=image.custom_status,
        cancel_reason=image.cancel_reason,
        parked=image.parked,
        base=snapshot.first,
        memo=image.started.memo,
    )


def _activity_image(activity: OpenActivity) -> OpenActivityImage:
    options = None if activity.options == DEFAULTS else activity.options
    scheduled = ActivityScheduled(
        activity.id,
        activity.name,
        activity.arguments,
        activity.state.eager,
        options,
        activity.headers,
    )
    return OpenActivityImage(scheduled, activity.scheduled_ms, activity.state)


def _open_activity(image: OpenActivityImage) -> OpenActivity:
    scheduled = image.scheduled
    return OpenActivity(
        scheduled.id,
        scheduled.name,
        scheduled.arguments,
        scheduled.options or DEFAULTS,
        scheduled.headers,
        image.scheduled_ms,
        image.state,
    )
