"""Events: the facts of a run's history, in the order in which they became true.

Frozen, flat, and past tense. A run's state is the fold of its events (``evolve``); nothing else
changes it. One input causes one *turn*: a list of events that is appended to the log as a single
record. Identifiers of activities, timers and side effects are the position of the request among
all requests of the run, which replay repeats.

Times are milliseconds since the epoch. Payloads are encoded bytes (JSON unless a codec changed
them), or None where there is none, which is not the same as empty bytes; ``arguments`` are an
encoded list. How the attempts of an activity go is no part of a history: see ``attempt``.
"""

from __future__ import annotations

from typing import Final, TypeAlias, get_args

from processor.core.address import Address
from processor.core.answers import CallOutcome
from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.headers import NO_HEADERS, Headers
from processor.core.inputs import CancelRun, RaiseEvent, StartRun
from processor.core.options import ActivityOptions
from processor.core.started import EventReceived, Successor, WorkflowStarted

__all__ = (
    "CLOSING",
    "DECISIONS",
    "ActivityCancelled",
    "ActivityCompleted",
    "ActivityFailed",
    "ActivityScheduled",
    "CallAnswered",
    "CallOperation",
    "CallSent",
    "Decision",
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
class WorkflowCancelRequested:
    reason: str


@frozen
class TimerFired:
    id: int


@frozen
class ActivityCompleted:
    id: int
    attempt: int
    result: bytes | None
    headers: Headers = NO_HEADERS


@frozen
class ActivityFailed:
    """The activity failed for good: by an error, a time-out, or a lost last attempt."""

    id: int
    attempt: int
    failure: Failure


@frozen
class CallAnswered:
    """The answer to a call of this run."""

    id: int
    outcome: CallOutcome


@frozen
class RunUnparked:
    """Code that gets further than the parked one took the run up again."""


# --- decisions of the workflow code ---------------------------------------------------------


@frozen
class ActivityScheduled:
    """The code asked for an activity. ``eager``: it runs in the process that owns the shard.

    ``options`` is None for the defaults of ``ActivityOptions``.
    """

    id: int
    name: str
    arguments: bytes | None
    eager: bool
    options: ActivityOptions | None = None
    headers: Headers = NO_HEADERS


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
    value: bytes | None


@frozen
class StatusSet:
    value: bytes | None


@frozen
class EventRejected:
    """An external event did not fit the type that the code waits for; it went to dead-letters."""

    name: str
    payload: bytes | None
    reason: str


@frozen
class RecordPublished:
    """``workflow.publish``: a record for a topic of the user's, exactly once."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = NO_HEADERS


@frozen
class MessageSent:
    """A message to another instance that nobody waits for: an "event", or a "cancel"."""

    to: Address
    kind: str
    name: str
    reason: str
    payload: bytes | None
    headers: Headers = NO_HEADERS


CallOperation: TypeAlias = StartRun | RaiseEvent | CancelRun


@frozen
class CallSent:
    """Something that the code asked of another instance; ``CallAnswered`` follows, once."""

    id: int
    to: Address
    operation: CallOperation
    timeout_ms: int | None = None


@frozen
class WorkflowCompleted:
    result: bytes | None
    headers: Headers = NO_HEADERS
    successor: Successor | None = None


@frozen
class WorkflowFailed:
    failure: Failure
    headers: Headers = NO_HEADERS
    successor: Successor | None = None


@frozen
class WorkflowCancelled:
    reason: str
    successor: Successor | None = None


# --- ends and stops that are no decision of the code ----------------------------------------


@frozen
class WorkflowTerminated:
    reason: str
    successor: Successor | None = None


@frozen
class WorkflowTimedOut:
    timeout_ms: int
    successor: Successor | None = None


@frozen
class RunParked:
    """The code met a bug or a mismatch. Facts are kept; the code is run again by newer code.

    ``kind``: "bug", "nondeterminism", "never_ends", "not_registered", or "not_activated" (it asks
    for what the namespace's level does not have yet). ``where``: file, line and source.
    """

    kind: str
    error: str
    where: str
    traceback: str


Event: TypeAlias = (
    ActivityCompleted
    | ActivityScheduled
    | TimerStarted
    | TimerFired
    | WorkflowStarted
    | WorkflowCompleted
    | EventReceived
    | ActivityFailed
    | SideEffectRecorded
    | StatusSet
    | MessageSent
    | RecordPublished
    | TimerCancelled
    | ActivityCancelled
    | EventRejected
    | WorkflowCancelRequested
    | WorkflowFailed
    | WorkflowCancelled
    | WorkflowTerminated
    | WorkflowTimedOut
    | RunParked
    | RunUnparked
    | CallSent
    | CallAnswered
)

Decision: TypeAlias = (
    ActivityScheduled
    | ActivityCancelled
    | TimerStarted
    | TimerCancelled
    | SideEffectRecorded
    | StatusSet
    | EventRejected
    | RecordPublished
    | MessageSent
    | CallSent
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
)
"""What workflow code asks for while it runs; replay compares exactly these."""

DECISIONS: Final[tuple[type[Decision], ...]] = get_args(Decision)

CLOSING: Final = (
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowCancelled,
    WorkflowTerminated,
    WorkflowTimedOut,
)
"""Events that end a run; exactly one, and it is the last one."""
