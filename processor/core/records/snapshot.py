"""A run's whole state as a record, for runs whose history does not grow for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, Final

from processor.core.data.cause import RecordedCause
from processor.core.data.fields import RequestId, RunId, WorkflowId
from processor.core.data.frozen import frozen
from processor.core.data.options import DEFAULTS
from processor.core.nouns.activity import ActivityScheduled, AttemptState, OpenActivity
from processor.core.nouns.awaited import AnswerAwaited
from processor.core.nouns.call import CallSent
from processor.core.nouns.child import OpenChild
from processor.core.nouns.external import EventReceived
from processor.core.nouns.lineage import UpdateOutcome
from processor.core.nouns.locks.granting import (
    HeldLock,
    HolderCalled,
    LockFreed,
    LockGranted,
    LockRequested,
    LockWithdrawn,
)
from processor.core.nouns.run import RunParked, WorkflowStarted
from processor.core.nouns.timer import EventDelayed
from processor.core.nouns.update import OperationEnded, UpdateAccepted, UpdateCompleted
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
from processor.core.runner import EntityCode, Kept
from processor.core.state import RunState
from processor.policy import Status

__all__ = (
    "EntityDelta",
    "EntitySnapshot",
    "OpenActivityImage",
    "RunImage",
    "Snapshot",
    "TimerImage",
    "kept_in",
    "snapshot_of",
    "started_now",
    "state_of",
)

_OUTCOMES: Final = 10
_OUTCOME_BYTES: Final = 2_000
"""So many outcomes of older operations an entity's snapshot has, the newest ones."""


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


@frozen
class EntitySnapshot(Snapshot):
    """The turn after which no operation of an entity runs, and the entity's state: replay begins
    there, and what is older of the entity may go. One record of the events topic, under the claim
    rule.
    """

    previous: FirstEvent = 0
    """First event of the snapshot before; what is older than that one had been given up by it."""
    queue: tuple[UpdateAccepted | EventReceived | LockRequested | HolderCalled, ...] = ()
    """What has not begun, in order: calls, signals, and requests for the lock."""
    outcomes: tuple[UpdateOutcome, ...] = ()
    """The newest outcomes of calls, in order: who asks again is told them. Those of the turn itself
    are without results, which stand in its events.
    """
    callers: tuple[AnswerAwaited, ...] = ()
    """Other runs that wait for the outcomes of calls."""
    children: tuple[OpenChild, ...] = ()
    """Workflows that operations have started, and that have not ended."""
    last_id: RequestId = 0
    """Id of the last request of all operations so far."""
    wake: RequestId | None = None
    """Timer that lets the next operation begin; None: there is none."""
    delayed: tuple[EventDelayed, ...] = ()
    """Signals that are not due; their timers stand in the image."""
    lock: HeldLock | None = None
    """The grant under which the entity is locked; None: it is not."""
    lock_number: int = 0
    """Number of the last grant; 0: there was none."""
    history: tuple[OperationEnded, ...] = ()
    """The last operations that have ended, the oldest first, where the class of the entity keeps
    them.
    """


@frozen
class EntityDelta(Turn):
    """The turn after which no operation of an entity runs, and what is new since its snapshot: the
    code goes on from here, and its history still begins with the snapshot. One record of the events
    topic, under the claim rule.
    """

    value: bytes | None = None
    """Encoded state of the entity after the turn."""
    waiting: int = 0
    """How much has not begun: calls of the holder of the lock that have not ended, and the last
    ones of the rest in the snapshot and in the turns since, but for requests that were withdrawn.
    """
    last_id: RequestId = 0
    """Id of the last request of all operations so far."""
    wake: RequestId | None = None
    """Timer that lets the next operation begin; None: there is none."""
    history: tuple[OperationEnded, ...] = ()
    """The last operations that have ended, the oldest first, where the class of the entity keeps
    them.
    """


def snapshot_of(turn: Turn, state: RunState, kept: Kept, *, whole: bool) -> Snapshot | EntityDelta:
    """Return a turn with the state after it: the run's, and what the code goes on from.

    ``whole``: the run's state is due. Otherwise an entity for which something waits leaves it out.
    """
    assert state.run_id == turn.run_id, f"the state of {state.run_id} is not that of {turn.run_id}"
    assert state.events == turn.first + len(turn.events), "the state is that after the turn"
    if not isinstance(kept, EntityCode):
        return _snapshot(turn, state, kept)
    assert not state.activities, f"run {state.run_id}: an operation leaves no activity open"
    assert not state.values, f"run {state.run_id}: an entity's values are its fields"
    assert kept.wake is None or kept.wake in state.timers, f"timer {kept.wake} is open"
    if whole or not (kept.queue or state.callers or state.children or state.timers):
        return _entity_snapshot(turn, state, kept)
    return EntityDelta(
        **_parts(turn),
        value=kept.state,
        waiting=len(kept.queue),
        last_id=kept.last_id,
        wake=kept.wake,
        history=kept.history,
    )


def _entity_snapshot(turn: Turn, state: RunState, kept: EntityCode) -> EntitySnapshot:
    return EntitySnapshot(
        **_parts(turn),
        image=image_of(state),
        value=kept.state,
        previous=state.base,
        queue=tuple(kept.queue),
        outcomes=_outcomes(turn, state),
        callers=tuple(AnswerAwaited(caller, *what) for caller, what in state.callers.items()),
        children=tuple(state.children.values()),
        last_id=kept.last_id,
        wake=kept.wake,
        delayed=tuple(state.delayed.values()),
        lock=state.lock,
        lock_number=state.lock_number,
        history=kept.history,
    )


def _outcomes(turn: Turn, state: RunState) -> tuple[UpdateOutcome, ...]:
    """Return the newest outcomes that are known. Those of the turn itself stand in its events."""
    here = {event.id for event in turn.events if isinstance(event, UpdateCompleted)}
    found: list[UpdateOutcome] = []
    left, most = _OUTCOME_BYTES, _OUTCOMES + len(here)
    for update in reversed(state.updates.values()):
        if not update.over:
            continue
        if update.id in here:
            found.append(UpdateOutcome(update.id, update.name, None, over=True))
            continue
        left -= update.size
        if left < 0 or len(found) >= most:
            break
        found.append(update)
    return tuple(reversed(found))


def _snapshot(turn: Turn, state: RunState, value: bytes) -> Snapshot:
    assert not state.children, f"run {state.run_id} has children, and code that cannot be kept"
    return Snapshot(**_parts(turn), image=image_of(state), value=value)


_OF_TURN: Final = tuple(each.name for each in fields(Turn))
_values_of = attrgetter(*_OF_TURN)


def _parts(turn: Turn) -> dict[str, Any]:
    return dict(zip(_OF_TURN, _values_of(turn), strict=True))


def kept_in(snapshot: Snapshot, since: Sequence[Turn] = ()) -> Kept:
    """Return what the code goes on from. The last turn ``since`` a snapshot has what is new."""
    if since:
        assert isinstance(snapshot, EntitySnapshot), f"{snapshot.run_id} is that of an entity"
        return _kept_since(snapshot, since)
    if isinstance(snapshot, EntitySnapshot):
        code = snapshot.value, snapshot.queue, snapshot.last_id, snapshot.wake
        locked = snapshot.lock is not None, snapshot.lock_number
        return EntityCode(*code, snapshot.image.updated_ms, *locked, snapshot.history)
    assert snapshot.value is not None, "a snapshot of a run has the state of its code"
    return snapshot.value


def _kept_since(snapshot: EntitySnapshot, since: Sequence[Turn]) -> EntityCode:
    last = since[-1]
    assert isinstance(last, EntityDelta), f"the code of {last.run_id} goes on from {last}"
    queue, done = [*snapshot.queue], set[str]()
    locked, number = snapshot.lock is not None, snapshot.lock_number
    for event in (event for turn in since for event in turn.events):
        match event:
            case UpdateAccepted() | EventReceived() | LockRequested():
                queue.append(event)
            case LockWithdrawn(caller):
                queue.remove(LockRequested(caller))
            case UpdateCompleted(id):
                done.add(id)
            case LockGranted():
                locked, number = True, event.number
            case LockFreed():
                locked = False
            case _:
                pass
    first = [each for each in queue if isinstance(each, HolderCalled) and each.id not in done]
    others = [each for each in queue if not isinstance(each, HolderCalled)]
    count = last.waiting - len(first)
    assert 0 <= count <= len(others), f"{last.run_id}: {last.waiting} wait of {len(queue)}"
    waiting = (*first, *others[len(others) - count :])
    code = last.value, waiting, last.last_id, last.wake, last.time_ms
    return EntityCode(*code, locked, number, last.history)


def started_now(state: RunState) -> WorkflowStarted:
    """Return how a run began, with the memo and the search attributes that it has now."""
    started, memo = state.started, state.memo
    assert started is not None, f"run {state.run_id} has not started"
    return started if started.memo is memo else replace(started, memo=memo)


def image_of(state: RunState) -> RunImage:
    """Return an open run's state as a record."""
    assert state.status.is_open, f"run {state.run_id} is not open"
    assert not state.promises, f"run {state.run_id} has promises, which an image does not hold"
    assert not state.correlations, f"run {state.run_id} holds keys, which an image does not hold"
    return RunImage(
        started_now(state),
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
    state = RunState(
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
    if isinstance(snapshot, EntitySnapshot):
        _fill(state, snapshot)
    return state


def _fill(state: RunState, snapshot: EntitySnapshot) -> None:
    """Add what an entity has beside other runs."""
    here = {event.id: event for event in snapshot.events if isinstance(event, UpdateCompleted)}
    for outcome in snapshot.outcomes:
        told = here.get(outcome.id, outcome)
        state.know(replace(outcome, result=told.result, failure=told.failure))
    for operation in snapshot.queue:
        if isinstance(operation, UpdateAccepted):
            state.begin_update(UpdateOutcome(operation.id, operation.name, None, over=False))
    for signal in snapshot.delayed:
        state.delay(signal)
    state.callers.update({each.caller: (each.kind, each.name) for each in snapshot.callers})
    state.lock, state.lock_number = snapshot.lock, snapshot.lock_number
    state.children.update({each.called.id: each for each in snapshot.children})


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
