"""Events: the facts of a run's history, in the order in which they became true.

Frozen, flat, and past tense. A run's state is the fold of its events (``evolve``); nothing else
changes it. One input causes one *turn*: a list of events that is appended to the log as a single
record. Identifiers of activities, timers and side effects are the position of the request among
all requests of the run, which replay repeats.

Times are milliseconds since the epoch. Payloads are encoded bytes (JSON unless a codec changed
them); ``arguments`` are an encoded list.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.options import ActivityOptions

__all__ = (
    "CLOSING",
    "DECISIONS",
    "ActivityAttemptFailed",
    "ActivityCancelled",
    "ActivityCompleted",
    "ActivityFailed",
    "ActivityHeartbeatRecorded",
    "ActivityRetried",
    "ActivityScheduled",
    "ActivityStarted",
    "Event",
    "EventReceived",
    "EventRejected",
    "MessageSent",
    "RecordPublished",
    "RunParked",
    "RunUnparked",
    "SideEffectRecorded",
    "StatusSet",
    "TimerCancelled",
    "TimerFired",
    "TimerStarted",
    "WorkflowCancelRequested",
    "WorkflowCancelled",
    "WorkflowCompleted",
    "WorkflowFailed",
    "WorkflowStarted",
    "WorkflowTerminated",
    "WorkflowTimedOut",
)


# --- facts that arrive from outside the workflow code ---------------------------------------


@frozen
class WorkflowStarted:
    workflow: str
    arguments: bytes
    execution_timeout_ms: int | None = None
    memo: bytes | None = None
    request_id: str = ""


@frozen
class EventReceived:
    """An external event; kept until the code waits for its name, in order of arrival."""

    name: str
    payload: bytes
    request_id: str = ""


@frozen
class WorkflowCancelRequested:
    reason: str


@frozen
class TimerFired:
    id: int


@frozen
class ActivityStarted:
    """A worker announced that it runs this attempt (queued activities only)."""

    id: int
    attempt: int
    worker: str


@frozen
class ActivityHeartbeatRecorded:
    id: int
    attempt: int
    details: bytes | None


@frozen
class ActivityAttemptFailed:
    """One attempt failed and another one follows at ``retry_at_ms``."""

    id: int
    attempt: int
    failure: Failure
    retry_at_ms: int


@frozen
class ActivityRetried:
    """The retry delay is over: attempt number ``attempt`` is on its way."""

    id: int
    attempt: int
    eager: bool


@frozen
class ActivityCompleted:
    id: int
    attempt: int
    result: bytes


@frozen
class ActivityFailed:
    """The activity failed for good: by an error, a time-out, or a lost last attempt."""

    id: int
    attempt: int
    failure: Failure


@frozen
class RunUnparked:
    """Code that gets further than the parked one took the run up again."""


# --- decisions of the workflow code ---------------------------------------------------------


@frozen
class ActivityScheduled:
    """The code asked for an activity. ``eager``: it runs in the process that owns the shard."""

    id: int
    name: str
    arguments: bytes
    eager: bool
    options: ActivityOptions


@frozen
class ActivityCancelled:
    """The code gave the activity up; a result that still comes is ignored."""

    id: int


@frozen
class TimerStarted:
    id: int
    due_ms: int


@frozen
class TimerCancelled:
    id: int


@frozen
class SideEffectRecorded:
    id: int
    value: bytes


@frozen
class StatusSet:
    value: bytes


@frozen
class EventRejected:
    """An external event did not fit the type that the code waits for; it went to dead-letters."""

    name: str
    payload: bytes
    reason: str


@frozen
class RecordPublished:
    """``workflow.publish``: a record for a topic of the user's, exactly once."""

    topic: str
    key: bytes | None
    value: bytes


@frozen
class MessageSent:
    """A message to another instance: an "event", or a "cancel" whose ``name`` is the reason."""

    kind: str
    workflow_id: str
    name: str
    payload: bytes


@frozen
class WorkflowCompleted:
    result: bytes


@frozen
class WorkflowFailed:
    failure: Failure


@frozen
class WorkflowCancelled:
    reason: str


# --- ends and stops that are no decision of the code ----------------------------------------


@frozen
class WorkflowTerminated:
    reason: str


@frozen
class WorkflowTimedOut:
    timeout_ms: int


@frozen
class RunParked:
    """The code met a bug or a mismatch. Facts are kept; the code is run again by newer code.

    ``kind``: "bug", "nondeterminism", or "not_registered". ``where``: file, line and source.
    """

    kind: str
    error: str
    where: str
    traceback: str


Event: TypeAlias = (
    WorkflowStarted
    | EventReceived
    | WorkflowCancelRequested
    | TimerFired
    | ActivityStarted
    | ActivityHeartbeatRecorded
    | ActivityAttemptFailed
    | ActivityRetried
    | ActivityCompleted
    | ActivityFailed
    | RunUnparked
    | ActivityScheduled
    | ActivityCancelled
    | TimerStarted
    | TimerCancelled
    | SideEffectRecorded
    | StatusSet
    | EventRejected
    | RecordPublished
    | MessageSent
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
    | WorkflowTerminated
    | WorkflowTimedOut
    | RunParked
)

DECISIONS: Final = (
    ActivityScheduled,
    ActivityCancelled,
    TimerStarted,
    TimerCancelled,
    SideEffectRecorded,
    StatusSet,
    EventRejected,
    RecordPublished,
    MessageSent,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowCancelled,
)
"""Events that record what the workflow code asked for; replay compares exactly these."""

CLOSING: Final = (
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowCancelled,
    WorkflowTerminated,
    WorkflowTimedOut,
)
"""Events that end a run; exactly one, and it is the last one."""
