"""Inputs: what a shard reads, each from one topic (or from an eager activity in its process).

``ClientCommand`` comes from ``commands``, ``ActivityReport`` from ``activity-results`` or from an
eager attempt, ``TimerDue`` from the shard itself or ``timers``. All of them are addressed by
workflow id.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from processor.core.data.address import Caller, ReplyAddress, ReplyTo
from processor.core.data.cause import CallRequest, Cause, Origin, RecordedCause, StartRequest
from processor.core.data.failure import Failure
from processor.core.data.fields import LAST, Attempt, Int32, RequestId, RunId, WorkflowId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.operation import Request

__all__ = ("ActivityReport", "ClientCommand", "Input", "ReportKind", "TimerDue", "TimerKind")

ReportKind: TypeAlias = Literal["started", "completed", "failed", "heartbeat"]
"""An enum: a shard cannot act on a report that it does not know."""

TimerKind: TypeAlias = Literal[
    "timer",
    "retry",
    "execution",
    "schedule_to_start",
    "start_to_close",
    "schedule_to_close",
    "heartbeat",
]
"""An enum: a shard cannot act on a timer that it does not know."""


@frozen
class ClientCommand:
    """A request to an instance, from a client or from another shard: one record of the commands
    topic, keyed by workflow id. All that is needed to answer it stands before its body, so that
    what a later release asks can be answered too.
    """

    workflow_id: str
    """The instance; the key of the record."""
    body: Annotated[Request, LAST]
    """What is asked."""
    cause: Cause | None = None
    """Which message or request it is, so that it counts once; None: only its place says."""
    again: bool = False
    """Whether a broker has acknowledged this request before: it is new to nobody."""
    reply_to: ReplyAddress | None = None
    """Where to answer; None: nowhere."""
    caller: Caller | None = None
    """The run that asks, where one does."""

    @property
    def recorded_cause(self) -> RecordedCause | None:
        """The cause as a record of the log says it."""
        if self.caller is None or not isinstance(self.cause, Origin):
            return self.cause
        kind = StartRequest if self.body.tells_start else CallRequest
        return kind(self.cause, self.caller)


@frozen
class ActivityReport:
    """What a worker says about one attempt: one record of the activity-results topic, keyed by
    workflow id.
    """

    workflow_id: WorkflowId
    run_id: RunId
    id: RequestId
    attempt: Attempt
    kind: ReportKind
    """What is said: started (worker; without one, the function has left the attempt open: somebody
    else says how it ends), completed (payload is the result), failed (failure; with worker it is
    the shard that says so of a process that is gone), heartbeat (payload are its details).
    """
    payload: bytes | None = None
    """Encoded result, or details of a heartbeat."""
    failure: Failure | None = None
    """Why the attempt failed."""
    worker: str = ""
    """Identity of the worker, for people."""
    reply_to: ReplyTo | None = None
    """Where the worker is told whether the attempt should stop; None: nowhere."""
    headers: Headers = NO_HEADERS

    @property
    def leaves_open(self) -> bool:
        """Whether the function has returned, and somebody else says how the attempt ends."""
        return self.kind == "started" and not self.worker

    @property
    def is_last(self) -> bool:
        """Whether it is the last one of the worker that ran the attempt."""
        return self.kind in ("completed", "failed") or self.leaves_open


@frozen
class TimerDue:
    """A timer of the state came due: one record of the timers topic, from the shard to itself."""

    workflow_id: WorkflowId
    run_id: RunId
    kind: TimerKind
    """A timer of the code, a retry, or a time-out."""
    id: RequestId
    attempt: Int32
    """Number of the attempt that it is about; 0 for none."""
    due_ms: int
    """When it was due, in milliseconds since the epoch."""


Input: TypeAlias = ClientCommand | ActivityReport | TimerDue
