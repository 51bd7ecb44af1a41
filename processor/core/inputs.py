"""Inputs: what a shard reads, each from one topic (or from an eager activity in its process).

``ClientCommand`` comes from ``commands``, ``ActivityReport`` from ``activity-results`` or from an
eager attempt, ``TimerDue`` from the shard itself or ``timers``. All of them are addressed by
workflow id.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from processor.core.data.address import Caller, ReplyTo
from processor.core.data.cause import Call, Cause, Origin, RecordedCause
from processor.core.data.failure import Failure
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.operation import Request

__all__ = ("ActivityReport", "ClientCommand", "Input", "ReportKind", "TimerDue", "TimerKind")

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
class ClientCommand:
    """A request to an instance, from a client or from another shard.

    ``run_id`` names one run, ``first_run_id`` any run of its chain, and neither the latest run.
    ``cause`` says which request it is; without one its place in ``commands`` does. ``again``: a
    broker has acknowledged this request before, so that it is new to nobody.
    """

    workflow_id: str
    body: Request
    cause: Cause | None = None
    again: bool = False
    reply_to: ReplyTo | None = None
    caller: Caller | None = None

    @property
    def recorded_cause(self) -> RecordedCause | None:
        """The cause as a record of the log says it."""
        if self.caller is None or not isinstance(self.cause, Origin):
            return self.cause
        return Call(self.cause, self.caller)


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
