"""Activities: asked for, attempted, and over.

How the attempts of an activity go is no part of the history. Each change is a record of its own
that replaces the one before, so that an activity which is retried for a month takes one row of the
log, whatever it costs meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from processor.core.data.failure import Failure
from processor.core.data.fields import Attempt, Int32, RequestId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.event import Decision, Fact
from processor.core.inputs import TimerKind
from processor.core.nouns.run import Run
from processor.core.records.effects import (
    ActivityTask,
    CancelAttempt,
    ClearTimer,
    Effect,
    Forget,
    SetTimer,
)

__all__ = (
    "ActivityAdjusted",
    "ActivityCancelled",
    "ActivityCompleted",
    "ActivityFailed",
    "ActivityScheduled",
    "ActivityStopRequested",
    "AttemptState",
    "OpenActivities",
    "OpenActivity",
    "armed",
    "attempted",
    "effects_of_attempt",
    "task_of",
)


@frozen
class AttemptState:
    """Where an open activity stands: its attempt that runs, or the retry that it waits for."""

    id: RequestId
    attempt: Attempt
    eager: bool
    """Whether the attempt runs in the process that owns the shard."""
    dispatched_ms: int
    """When the attempt left the shard, in milliseconds since the epoch."""
    started_ms: int | None = None
    """When a worker announced that it runs the attempt; None: none has."""
    heartbeat_ms: int | None = None
    """When the attempt last said that it is alive; None: never."""
    retry_at_ms: int | None = None
    """When the next attempt is due; None: an attempt is out."""
    worker: str = ""
    """Identity of the worker that announced the attempt, for people. Empty in one that has started:
    its function has left it open, and somebody else says how it ends.
    """
    starts: Int32 = 0
    """How many workers announced that they run this attempt; of an eager one, how many attempts in
    a row were lost with their process.
    """
    details: bytes | None = None
    """Encoded details of the last heartbeat, which the next attempt can read."""
    failures: Int32 = 0
    """How many attempts have failed."""
    first_failure: Failure | None = None
    """Why the first of them failed."""
    last_failure: Failure | None = None
    """Why the last of them failed."""

    @property
    def is_left_open(self) -> bool:
        """Whether nobody runs the attempt any more, and it waits for whoever says how it ends."""
        return self.started_ms is not None and not self.worker and self.retry_at_ms is None

    @property
    def is_dispatch(self) -> bool:
        """Whether this is the state in which an attempt leaves the shard."""
        return self.retry_at_ms is self.started_ms is self.heartbeat_ms is None


@dataclass(slots=True)
class OpenActivity:
    """An activity without an outcome.

    ``key`` is that of the log's record of ``state``, empty as long as the activity's own event
    says it all. ``stop_ms`` is when the code asked it to stop; None: it did not. ``paused``: no
    other attempt begins. ``counted_from`` is the attempt that is the first one to its retry policy.
    """

    id: int
    name: str
    arguments: bytes | None
    options: ActivityOptions
    headers: Headers
    scheduled_ms: int
    state: AttemptState
    key: bytes = b""
    stop_ms: int | None = None
    paused: bool = False
    counted_from: int = 1

    @property
    def attempt(self) -> int:
        return self.state.attempt

    @property
    def end_ms(self) -> int | None:
        """When schedule-to-close ends it."""
        limit_ms = self.options.schedule_to_close_ms
        return None if limit_ms is None else self.scheduled_ms + limit_ms

    @property
    def armed(self) -> Mapping[TimerKind, int]:
        return self.armed_as(self.state)

    def armed_as(self, state: AttemptState) -> Mapping[TimerKind, int]:
        """Return what runs where the activity stands so: see ``armed``.

        One that was asked to stop while it waited for its next attempt ends at once instead.
        """
        found = armed(self.options, self.scheduled_ms, state)
        if state.retry_at_ms is None or (self.stop_ms is None and not self.paused):
            return found
        if self.stop_ms is not None:
            return {**found, "retry": self.stop_ms}
        return {kind: due_ms for kind, due_ms in found.items() if kind != "retry"}


_NOTHING: Final[Mapping[TimerKind, int]] = MappingProxyType({})


def armed(
    options: ActivityOptions, scheduled_ms: int, state: AttemptState
) -> Mapping[TimerKind, int]:
    """Return what runs now for an activity: its retry and its time-outs, with their due times.

    Schedule-to-close spans all attempts. An eager attempt starts at once, and the process that
    runs it watches over it; only queued ones have time-outs of their own here.
    """
    found: dict[TimerKind, int] = {}
    if options.schedule_to_close_ms is not None:
        found["schedule_to_close"] = scheduled_ms + options.schedule_to_close_ms
    if state.retry_at_ms is not None:
        found["retry"] = state.retry_at_ms
    elif not state.eager:
        _arm_queued(found, options, state)
    return found or _NOTHING


def _arm_queued(found: dict[TimerKind, int], options: ActivityOptions, state: AttemptState) -> None:
    """Add what begins when an attempt leaves, when a worker announces it, and when it beats."""
    started_ms = state.started_ms
    if started_ms is None and options.schedule_to_start_ms is not None:
        found["schedule_to_start"] = state.dispatched_ms + options.schedule_to_start_ms
    if started_ms is not None and options.start_to_close_ms is not None:
        found["start_to_close"] = started_ms + options.start_to_close_ms
    beaten_ms = started_ms if state.heartbeat_ms is None else state.heartbeat_ms
    if beaten_ms is not None and options.heartbeat_ms is not None:
        found["heartbeat"] = beaten_ms + options.heartbeat_ms


@dataclass
class OpenActivities(Run):
    """``activities``: those that are open, by their ids."""

    activities: dict[int, OpenActivity] = field(default_factory=dict)

    @property
    def has_more_than_an_image(self) -> bool:
        """Whether a snapshot would lose something of the run: none is made then."""
        return any(
            each.stop_ms is not None or each.paused or each.counted_from > 1
            for each in self.activities.values()
        )

    def armed(self) -> Iterator[Effect]:
        yield from super().armed()
        for activity in self.activities.values():
            yield task_of(self, activity, activity.state)
            for kind, due_ms in activity.armed.items():
                yield _set(self, kind, activity.id, _number(kind, activity.state), due_ms)

    def left(self) -> Iterator[Effect]:
        for activity in self.activities.values():
            yield from _ended(self, activity)
            yield CancelAttempt(self.run_id, activity.id)
        yield from super().left()


@frozen
class ActivityScheduled(Decision):
    """The code asked for an activity."""

    id: RequestId
    name: str
    """Name of the activity."""
    arguments: bytes | None
    """Encoded list of arguments."""
    eager: bool
    """Whether the first attempt runs in the process that owns the shard."""
    options: ActivityOptions | None = None
    """How it is to be run; None: as the defaults of ActivityOptions say."""
    headers: Headers = NO_HEADERS

    identity = ("id", "name")
    payloads = ("arguments",)

    def apply(self, run: OpenActivities, now_ms: int) -> None:
        assert self.id not in run.activities, f"activity {self.id} is scheduled once"
        run.activities[self.id] = OpenActivity(
            self.id,
            self.name,
            self.arguments,
            self.options or DEFAULTS,
            self.headers,
            now_ms,
            AttemptState(self.id, 1, self.eager, now_ms),
        )

    def effects(self, run: OpenActivities, now_ms: int) -> Sequence[Effect]:
        options = self.options or DEFAULTS
        close_ms = options.schedule_to_close_ms
        task = ActivityTask(
            run.workflow_id,
            run.run_id,
            run.workflow,
            self.id,
            1,
            self.name,
            self.arguments,
            options.queue,
            self.eager,
            now_ms,
            options.start_to_close_ms,
            options.heartbeat_ms,
            None if close_ms is None else now_ms + close_ms,
            None,
            self.headers,
        )
        if options is DEFAULTS:
            return (task,)
        first = AttemptState(self.id, 1, self.eager, now_ms)
        timers = [
            _set(run, kind, self.id, _number(kind, first), due_ms)
            for kind, due_ms in armed(options, now_ms, first).items()
        ]
        return [task, *timers]


@frozen
class ActivityCompleted(Fact):
    """The activity returned."""

    id: RequestId
    attempt: Attempt
    result: bytes | None
    """Encoded return value; None where it has none."""
    headers: Headers = NO_HEADERS

    def apply(self, run: OpenActivities, now_ms: int) -> None:
        assert self.id in run.activities, f"activity {self.id} is open"
        del run.activities[self.id]

    def effects(self, run: OpenActivities, now_ms: int) -> Sequence[Effect]:
        return _ended(run, run.activities[self.id])


@frozen
class ActivityFailed(Fact):
    """The activity failed for good: by an error, a time-out, or a lost last attempt."""

    id: RequestId
    attempt: Attempt
    failure: Failure
    """Why it failed."""

    def apply(self, run: OpenActivities, now_ms: int) -> None:
        assert self.id in run.activities, f"activity {self.id} is open"
        del run.activities[self.id]

    def effects(self, run: OpenActivities, now_ms: int) -> Sequence[Effect]:
        return _ended(run, run.activities[self.id])


@frozen
class ActivityCancelled(Decision):
    """The code gave the activity up; a result that still comes is ignored."""

    id: RequestId

    identity = ("id",)

    def apply(self, run: OpenActivities, now_ms: int) -> None:
        assert self.id in run.activities, f"activity {self.id} is open"
        del run.activities[self.id]

    def effects(self, run: OpenActivities, now_ms: int) -> Sequence[Effect]:
        return [*_ended(run, run.activities[self.id]), CancelAttempt(run.run_id, self.id)]


@frozen
class ActivityStopRequested(Decision):
    """The code asked the activity to stop, and waits until it has: its outcome still comes."""

    id: RequestId

    identity = ("id",)

    def apply(self, run: OpenActivities, now_ms: int) -> None:
        assert self.id in run.activities, f"activity {self.id} is open"
        run.activities[self.id].stop_ms = now_ms

    def effects(self, run: OpenActivities, now_ms: int) -> Sequence[Effect]:
        activity = run.activities[self.id]
        after = replace(activity, stop_ms=now_ms)
        stop = CancelAttempt(run.run_id, self.id, waits=True)
        return [*_rearmed(run, activity, after), stop]


@frozen
class ActivityAdjusted(Fact):
    """An operator changed how the activity goes on. Its code does not hear of it."""

    id: RequestId
    paused: bool
    """Whether no other attempt begins."""
    counted_from: Attempt
    """The attempt that is the first one to its retry policy."""
    options: ActivityOptions | None
    """How it is run from its next attempt on; None: as the defaults of ActivityOptions say."""
    reason: str = ""
    """Why, for people."""

    wakes_code = False

    def apply(self, run: OpenActivities, now_ms: int) -> None:
        assert self.id in run.activities, f"activity {self.id} is open"
        run.activities[self.id] = self._adjusted(run)

    def effects(self, run: OpenActivities, now_ms: int) -> Sequence[Effect]:
        return [*_rearmed(run, run.activities[self.id], self._adjusted(run))]

    def _adjusted(self, run: OpenActivities) -> OpenActivity:
        return replace(
            run.activities[self.id],
            paused=self.paused,
            counted_from=self.counted_from,
            options=self.options or DEFAULTS,
        )


# --- attempts ---------------------------------------------------------------------------------


def attempted(run: OpenActivities, attempt: AttemptState, key: bytes) -> bool:
    """Apply a record of an attempt; False where its activity is over, and so nothing is changed."""
    activity = run.activities.get(attempt.id)
    if activity is None:
        return False
    activity.state, activity.key = attempt, key
    return True


def effects_of_attempt(
    run: OpenActivities, activity: OpenActivity, after: AttemptState
) -> list[Effect]:
    """Return what has to leave because an open activity stands as ``after`` says from now on."""
    before, effects = activity.state, list[Effect]()
    assert after.id == before.id, f"{after} is an attempt of activity {before.id}"
    was, now = activity.armed, activity.armed_as(after)
    for kind, due_ms in was.items():
        if now.get(kind) != due_ms or _number(kind, before) != _number(kind, after):
            number = _number(kind, before)
            effects.append(ClearTimer(run.run_id, kind, activity.id, number, due_ms))
    if after.attempt != before.attempt and after.is_dispatch:
        effects.append(task_of(run, activity, after))
    elif after.retry_at_ms is not None:
        effects.append(CancelAttempt(run.run_id, activity.id))
    for kind, due_ms in now.items():
        if was.get(kind) != due_ms or _number(kind, before) != _number(kind, after):
            effects.append(_set(run, kind, activity.id, _number(kind, after), due_ms))
    if activity.key:
        effects.append(Forget(activity.key))
    return effects


def task_of(run: OpenActivities, activity: OpenActivity, attempt: AttemptState) -> ActivityTask:
    """Return the task of an attempt."""
    assert attempt.id == activity.id, f"{attempt} is an attempt of activity {activity.id}"
    assert attempt.attempt >= 1, f"activity {activity.id}: attempts are counted from 1 on"
    options = activity.options
    close_ms = options.schedule_to_close_ms
    return ActivityTask(
        run.workflow_id,
        run.run_id,
        run.workflow,
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


def _set(run: OpenActivities, kind: TimerKind, id: int, attempt: int, due_ms: int) -> SetTimer:
    return SetTimer(run.workflow_id, run.run_id, kind, id, attempt, due_ms)


def _rearmed(run: OpenActivities, before: OpenActivity, after: OpenActivity) -> Iterator[Effect]:
    """Yield what changes of the timers of an activity whose attempts stand as they did."""
    assert before.state == after.state, f"activity {before.id} stands where it stood"
    was, now = before.armed, after.armed
    for kind in was.keys() | now.keys():
        due_ms, later_ms = was.get(kind), now.get(kind)
        number = _number(kind, before.state)
        if due_ms != later_ms and due_ms is not None:
            yield ClearTimer(run.run_id, kind, before.id, number, due_ms)
        if due_ms != later_ms and later_ms is not None:
            yield _set(run, kind, before.id, number, later_ms)


def _ended(run: OpenActivities, activity: OpenActivity) -> list[Effect]:
    """Return what goes with an activity that is over."""
    effects: list[Effect] = []
    if activity.options is not DEFAULTS or activity.state.retry_at_ms is not None:
        for kind, due_ms in activity.armed.items():
            number = _number(kind, activity.state)
            effects.append(ClearTimer(run.run_id, kind, activity.id, number, due_ms))
    if activity.key:
        effects.append(Forget(activity.key))
    return effects
