"""Inputs: what a shard reads, each from one topic (or from an eager activity in its process).

``ClientCommand`` comes from ``commands``, ``ActivityReport`` from ``activity-results`` or from an
eager attempt, ``TimerDue`` from the shard itself or ``timers``. All of them are addressed by
workflow id.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from processor.core.failure import Failure
from processor.core.frozen import frozen

__all__ = (
    "ActivityReport",
    "AwaitResult",
    "CancelRun",
    "ClientCommand",
    "CommandBody",
    "DescribeRun",
    "Input",
    "ListRuns",
    "Origin",
    "RaiseEvent",
    "ReadHistory",
    "ReplyTo",
    "ReportKind",
    "StartRun",
    "TerminateRun",
    "TimerDue",
    "TimerKind",
)

ReportKind = Literal["started", "completed", "failed", "heartbeat"]
TimerKind = Literal[
    "timer",
    "retry",
    "execution",
    "schedule_to_start",
    "start_to_close",
    "schedule_to_close",
    "heartbeat",
]


@frozen
class ReplyTo:
    """Where the sender reads its replies: a partition of ``replies`` and its own client id."""

    partition: int
    client: str


@frozen
class Origin:
    """The turn of another shard that sent a command, and which of its effects it is."""

    shard: int
    offset: int
    index: int


@frozen
class StartRun:
    """Start a workflow under the command's workflow id. ``reuse`` and ``conflict``: see policy.

    With ``result_within_ms``, who starts a run hears of its end and not of its start, if it ends
    within so long. Whoever asks again meanwhile hears that it has started.
    """

    workflow: str
    arguments: bytes = b"[]"
    reuse: str = "allow"
    conflict: str = "fail"
    execution_timeout_ms: int | None = None
    memo: bytes | None = None
    result_within_ms: int | None = None


@frozen
class RaiseEvent:
    name: str
    payload: bytes = b"null"
    run_id: str | None = None


@frozen
class CancelRun:
    reason: str = ""
    run_id: str | None = None


@frozen
class TerminateRun:
    reason: str = ""
    run_id: str | None = None


@frozen
class AwaitResult:
    """Reply when the run is closed; the shard forgets the waiter after ``timeout_ms``."""

    run_id: str | None = None
    timeout_ms: int = 30_000


@frozen
class DescribeRun:
    run_id: str | None = None


@frozen
class ReadHistory:
    """One page of a run's turns, from event number ``first`` on."""

    run_id: str | None = None
    first: int = 0


@frozen
class ListRuns:
    """One page of this shard's latest runs, in the order of workflow ids after ``after``."""

    status: str | None = None
    workflow: str | None = None
    after: str = ""
    limit: int = 100


CommandBody: TypeAlias = (
    StartRun
    | RaiseEvent
    | CancelRun
    | TerminateRun
    | AwaitResult
    | DescribeRun
    | ReadHistory
    | ListRuns
)


@frozen
class ClientCommand:
    """A request to an instance, from a client or from another shard."""

    workflow_id: str
    body: CommandBody
    request_id: str = ""
    reply_to: ReplyTo | None = None
    origin: Origin | None = None

    def asked(self, request_id: str, reply_to: ReplyTo) -> ClientCommand:
        """Return it as a request that is to be answered there."""
        return ClientCommand(self.workflow_id, self.body, request_id, reply_to, self.origin)


@frozen
class ActivityReport:
    """What a worker says about one attempt.

    kind: "started" (``worker``), "completed" (``payload`` is the result), "failed" (``failure``),
    "heartbeat" (``payload`` are its details). With ``reply_to``, the shard says whether to stop.
    """

    workflow_id: str
    run_id: str
    id: int
    attempt: int
    kind: ReportKind
    payload: bytes | None = None
    failure: Failure | None = None
    worker: str = ""
    reply_to: ReplyTo | None = None


@frozen
class TimerDue:
    """A timer of the state came due. ``attempt`` is 0 for a timer of the workflow code."""

    workflow_id: str
    run_id: str
    kind: TimerKind
    id: int
    attempt: int
    due_ms: int


Input: TypeAlias = ClientCommand | ActivityReport | TimerDue
