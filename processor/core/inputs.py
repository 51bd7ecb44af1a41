"""Inputs: what a shard reads, each from one topic (or from an eager activity in its process).

``ClientCommand`` comes from ``commands``, ``ActivityReport`` from ``activity-results`` or from an
eager attempt, ``TimerDue`` from the shard itself or ``timers``. All of them are addressed by
workflow id.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from processor.core.address import Caller, ReplyTo
from processor.core.answers import CallOutcome
from processor.core.cause import Cause
from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.headers import NO_HEADERS, Headers

__all__ = (
    "ActivityReport",
    "AnswerCall",
    "AwaitResult",
    "CancelRun",
    "Change",
    "ClientCommand",
    "CommandBody",
    "DescribeRun",
    "Input",
    "ListRuns",
    "RaiseEvent",
    "ReadHistory",
    "ReadShard",
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
class StartRun:
    """Start a workflow under the command's workflow id. ``reuse`` and ``conflict``: see policy.

    With ``result_within_ms``, who starts a run hears of its end and not of its start, if it ends
    within so long. Whoever asks again meanwhile hears that it has started.
    """

    workflow: str
    arguments: bytes | None = None
    reuse: str = "allow"
    conflict: str = "fail"
    execution_timeout_ms: int | None = None
    memo: bytes | None = None
    headers: Headers = NO_HEADERS
    result_within_ms: int | None = None


@frozen
class RaiseEvent:
    name: str
    payload: bytes | None = None
    run_id: str | None = None
    first_run_id: str | None = None
    headers: Headers = NO_HEADERS


@frozen
class CancelRun:
    reason: str = ""
    run_id: str | None = None
    first_run_id: str | None = None


@frozen
class TerminateRun:
    reason: str = ""
    run_id: str | None = None
    first_run_id: str | None = None


@frozen
class AnswerCall:
    """The answer to call number ``call`` of a run of this instance."""

    run_id: str
    call: int
    outcome: CallOutcome


@frozen
class AwaitResult:
    """Reply when the run is closed; the shard forgets the waiter after ``timeout_ms``."""

    run_id: str | None = None
    first_run_id: str | None = None
    timeout_ms: int = 30_000


@frozen
class DescribeRun:
    run_id: str | None = None
    first_run_id: str | None = None


@frozen
class ReadHistory:
    """One page of a run's turns, from event number ``first`` on."""

    run_id: str | None = None
    first_run_id: str | None = None
    first: int = 0


@frozen
class ListRuns:
    """One page of this shard's latest runs, in the order of workflow ids after ``after``."""

    status: str | None = None
    workflow: str | None = None
    after: str = ""
    limit: int = 100


@frozen
class ReadShard:
    """What the shard says of itself, once it has made sure that it still owns its log."""


Change: TypeAlias = StartRun | RaiseEvent | CancelRun | TerminateRun | AnswerCall
"""Commands that may change something. Each of them counts once, and leaves a record."""

CommandBody: TypeAlias = (
    StartRun
    | RaiseEvent
    | CancelRun
    | TerminateRun
    | AwaitResult
    | DescribeRun
    | ReadHistory
    | ListRuns
    | ReadShard
    | AnswerCall
)


@frozen
class ClientCommand:
    """A request to an instance, from a client or from another shard.

    ``run_id`` names one run, ``first_run_id`` any run of its chain, and neither the latest run.
    ``cause`` says which request it is; without one its place in ``commands`` does. ``again``: a
    broker has acknowledged this request before, so that it is new to nobody.
    """

    workflow_id: str
    body: CommandBody
    cause: Cause | None = None
    again: bool = False
    reply_to: ReplyTo | None = None
    caller: Caller | None = None


@frozen
class ActivityReport:
    """What a worker says about one attempt.

    kind: "started" (``worker``), "completed" (``payload`` is the result, or None), "failed"
    (``failure``; with ``worker`` it is the shard that says so of a process that is gone),
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
    headers: Headers = NO_HEADERS


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
