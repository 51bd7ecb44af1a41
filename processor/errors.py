"""Every error that the library raises, in one tree.

    ProcessorError
    ├── ApplicationError          raised by workflow and activity code to fail on purpose
    ├── ActivityError             in workflow code, from an awaited activity
    │   ├── ActivityFailed            its code raised something that is not an ApplicationError
    │   ├── ActivityTimedOut          a time-out passed, or its process died again and again
    │   └── ActivityCancelled         it ended because it was asked to
    ├── ChildFailed               in workflow code, from an awaited child: it has no result
    ├── WorkflowError             from ``Handle.result()``: there is no result
    │   ├── WorkflowFailed            ``__cause__`` is the error that the code raised
    │   ├── WorkflowCancelled
    │   ├── WorkflowTerminated
    │   ├── WorkflowTimedOut
    │   ├── WorkflowContinued     another run goes on; a handle that names no run waits for that
    │   └── WorkflowParked        it is open, and waits for fixed code
    ├── RequestError              a client's request was refused; nothing changed
    │   ├── WorkflowAlreadyStarted
    │   ├── WorkflowNotFound
    │   ├── WorkflowNotRegistered
    │   ├── CommandRejected
    │   ├── ActivityNotOpen       nobody waits for this attempt of an activity any more
    │   ├── KeyReused             an idempotency key, or an update's id, was used for something else
    │   ├── PromiseNotOpen        somebody has settled it before, or its run has ended
    │   ├── NamespaceNotFound     Kafka has no such namespace, or none can be reached from here
    │   ├── NamespaceForbidden    the workers may not write to that namespace
    │   ├── QueryFailed           ``__cause__`` is the error that the handler raised, if it did
    │   ├── RequestExpired        it came too late to know whether it had counted already
    │   └── UpgradeNeeded         the namespace's level does not have what it asks for
    ├── CorrelationTaken          in workflow code: another run holds the business key
    ├── LockLost                  in workflow code: the lock of an entity was freed meanwhile
    ├── ValueNotSet               the run has ended, and has not set the value
    ├── UpdateError               an update has no result
    │   ├── UpdateRejected            its validator refused it, or no handler has its name
    │   ├── UpdateFailed              ``__cause__`` is the error that its handler raised
    │   ├── UpdateUnfinished          the run ended before its handler did
    │   └── UpdateNotFound            the run knows no update of that id
    ├── InvalidArgument           a call got a value that it cannot take (a ValueError, too)
    ├── PayloadCodecError         a codec of ``payloads=`` is not here, or could not do its work
    ├── PayloadTooLarge           a value does not fit into a record
    ├── SchemaMismatch            a value does not fit the type that was asked for
    │   └── TooNew                a later release wrote this record
    ├── NonDeterminismError       workflow code did what replay cannot repeat
    ├── ShardUnavailable          no shard answered in time
    ├── TableStopped              a table of your own cannot go on
    ├── TopicsNotReady            topics are missing or wrong
    ├── LogTruncated              the log or an input no longer holds what the shard still needs
    ├── ReleaseTooOld             the log holds what only a later release can read
    ├── StoreCorrupt              a state directory cannot be read or is too old: rebuild it
    └── StateDirectoryInUse       another process holds the state directory

An error is classed by the reaction that it demands. What workflow code may catch and act on is a
``ProcessorError``; one that escapes workflow code fails the run, and so does an exception that
``@workflow.define(failure_exception_types=...)`` names. Every other exception that escapes is a
bug, and so are an ``InvalidArgument`` and a ``PayloadCodecError``: the run is parked with its
traceback and goes on when fixed code is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

__all__ = (
    "ActivityCancelled",
    "ActivityError",
    "ActivityFailed",
    "ActivityNotOpen",
    "ActivityTimedOut",
    "ApplicationError",
    "ChildEnd",
    "ChildFailed",
    "CommandRejected",
    "CorrelationTaken",
    "InvalidArgument",
    "KeyReused",
    "LockLost",
    "LogTruncated",
    "NamespaceForbidden",
    "NamespaceNotFound",
    "NonDeterminismError",
    "PayloadCodecError",
    "PayloadTooLarge",
    "ProcessorError",
    "PromiseNotOpen",
    "QueryFailed",
    "ReleaseTooOld",
    "RequestError",
    "RequestExpired",
    "SchemaMismatch",
    "ShardUnavailable",
    "StateDirectoryInUse",
    "StoreCorrupt",
    "TableStopped",
    "TimeoutKind",
    "TooNew",
    "TopicsNotReady",
    "UpdateError",
    "UpdateFailed",
    "UpdateNotFound",
    "UpdateRejected",
    "UpdateUnfinished",
    "UpgradeNeeded",
    "ValueNotSet",
    "WorkflowAlreadyStarted",
    "WorkflowCancelled",
    "WorkflowContinued",
    "WorkflowError",
    "WorkflowFailed",
    "WorkflowNotFound",
    "WorkflowNotRegistered",
    "WorkflowParked",
    "WorkflowTerminated",
    "WorkflowTimedOut",
)

TimeoutKind = Literal[
    "schedule_to_start", "start_to_close", "schedule_to_close", "heartbeat", "lost"
]
ChildEnd = Literal["failed", "cancelled", "terminated", "timed_out"]


class ProcessorError(Exception):
    """The root of the tree."""


class InvalidArgument(ProcessorError, ValueError, TypeError):
    """A call got a value that it cannot take; the message names the argument and what to give."""


class ApplicationError(ProcessorError):
    """Raised by user code to fail an activity or a workflow on purpose.

    ``type`` names the kind of error for retry policies and for callers (default: the class name).
    ``details`` is any value that can be encoded. ``retryable=False`` ends an activity's retries.
    ``next_delay`` (a ``timedelta`` or seconds) replaces the retry policy's delay before the next
    attempt. ``benign``: it is expected (a poll that found nothing yet), so that an attempt of an
    activity that raises it is retried as any other, and neither logged nor counted as a failure.
    """

    def __init__(
        self,
        message: str = "",
        *,
        type: str | None = None,
        details: Any = None,
        retryable: bool = True,
        next_delay: timedelta | float | None = None,
        benign: bool = False,
    ) -> None:
        if type is not None and not isinstance(type, str):
            raise InvalidArgument(
                f"ApplicationError: type: give the name of a kind of error as text, not {type!a}"
            )
        if next_delay is not None:
            next_delay = _delay(next_delay)
        super().__init__(message)
        self.message = message
        self.type = type or self.__class__.__name__
        self.details = details
        self.retryable = retryable
        self.next_delay: timedelta | None = next_delay
        self.benign = benign


def _delay(value: timedelta | float) -> timedelta:
    try:
        delay = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (TypeError, ValueError, OverflowError):
        delay = timedelta(-1)
    if not timedelta(0) <= delay <= timedelta(days=4_000 * 366):
        raise InvalidArgument(
            "ApplicationError: next_delay: give a timedelta or seconds, 0 to 4,000 years, not "
            f"{value!a}"
        )
    return delay


class ActivityError(ProcessorError):
    """An awaited activity did not complete. ``activity`` is its name, ``attempts`` how many ran.

    ``except ActivityError`` catches whatever an activity raised: an ``ApplicationError`` of an
    activity is both, and so are ``PayloadTooLarge`` and ``SchemaMismatch``.
    """

    def __init__(self, message: str, *, activity: str = "", attempts: int = 0) -> None:
        super().__init__(message)
        self.activity = activity
        self.attempts = attempts


class ActivityFailed(ActivityError):
    """The activity raised an error of its own; ``type`` is that error's class name."""

    def __init__(
        self, message: str, *, activity: str = "", attempts: int = 0, type: str = "Exception"
    ) -> None:
        super().__init__(message, activity=activity, attempts=attempts)
        self.type = type


class ActivityTimedOut(ActivityError):
    """A time-out of the activity passed, or its process died five times in a row (``lost``).

    ``kind`` says which. ``details`` are those of the last heartbeat.
    """

    def __init__(
        self,
        message: str,
        *,
        activity: str = "",
        attempts: int = 0,
        kind: TimeoutKind = "start_to_close",
        details: Any = None,
    ) -> None:
        super().__init__(message, activity=activity, attempts=attempts)
        self.kind = kind
        self.details = details


class ActivityCancelled(ActivityError):
    """The activity ended because it was asked to."""


class ChildFailed(ProcessorError):
    """A child ended without a result; ``kind`` says how. ``__cause__`` is the error that it raised,
    or where it was terminated with an output, a ``WorkflowTerminated`` that has it.

    ``workflow`` is its name, ``id`` its workflow id, and ``run_id`` the run that ended, the last
    one where a retry policy made several.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ChildEnd = "failed",
        workflow: str = "",
        id: str = "",
        run_id: str = "",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.workflow = workflow
        self.id = id
        self.run_id = run_id


class WorkflowError(ProcessorError):
    """A run ended without a result. ``workflow_id`` and ``run_id`` say which."""

    def __init__(self, message: str, *, workflow_id: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id


class WorkflowFailed(WorkflowError):
    """The workflow raised an error that fails a run; ``__cause__`` is that error.

    An error of a class that is not ours is an ``ApplicationError`` there; its ``type`` is the name
    of that class. The message is one line, for logs; the cause has the text as it was raised.
    """


class WorkflowCancelled(WorkflowError):
    """The workflow was cancelled and let the cancellation through; ``reason`` is the request's."""

    def __init__(
        self, message: str, *, workflow_id: str = "", run_id: str = "", reason: str = ""
    ) -> None:
        super().__init__(message, workflow_id=workflow_id, run_id=run_id)
        self.reason = reason


class WorkflowTerminated(WorkflowError):
    """The workflow was ended from outside, without running its code again; ``reason`` says why.

    Where a start of the same id replaced the run, the reason names the run that follows. ``output``
    is what whoever terminated it gave (``terminate(output=...)``) as a JSON value, else None.
    """

    def __init__(
        self,
        message: str,
        *,
        workflow_id: str = "",
        run_id: str = "",
        reason: str = "",
        output: Any = None,
    ) -> None:
        super().__init__(message, workflow_id=workflow_id, run_id=run_id)
        self.reason = reason
        self.output = output


class WorkflowParked(WorkflowError):
    """The run waits for fixed code; ``parked`` has its kind, error, place and traceback.

    Raised where ``parked="raise"`` was asked for, and in the test environment. The run is open, and
    goes on when a worker has code that fits.
    """

    def __init__(
        self,
        message: str,
        *,
        workflow_id: str = "",
        run_id: str = "",
        parked: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, workflow_id=workflow_id, run_id=run_id)
        self.parked = dict(parked or {})


class WorkflowTimedOut(WorkflowError):
    """The execution time-out passed before the workflow ended."""


class WorkflowContinued(WorkflowError):
    """The run went on as another one: ``next_run_id``. Raised where the handle names the run."""

    def __init__(
        self, message: str, *, workflow_id: str = "", run_id: str = "", next_run_id: str = ""
    ) -> None:
        super().__init__(message, workflow_id=workflow_id, run_id=run_id)
        self.next_run_id = next_run_id


class RequestError(ProcessorError):
    """A request was refused and changed nothing."""


class WorkflowAlreadyStarted(RequestError):
    """The workflow id is taken, by an open run or under the id reuse policy."""


class WorkflowNotFound(RequestError):
    """No run has this workflow id (and run id, where one was given)."""


class WorkflowNotRegistered(RequestError):
    """The worker that owns the shard does not know the workflow."""


class CommandRejected(RequestError):
    """The command could not be understood, or does not fit the run that it is for."""


class ActivityNotOpen(RequestError):
    """An activity, or the attempt of it that was meant, is over, or there never was one."""


class KeyReused(RequestError):
    """An idempotency key, or the id of an update, was used before to ask for something else."""


class PromiseNotOpen(RequestError):
    """Nobody waits for this promise any more: it is settled, or its run has ended."""


class NamespaceNotFound(RequestError):
    """Kafka has no such namespace, or the runtime can reach none but its own."""


class NamespaceForbidden(RequestError):
    """The workers may not write to another namespace: the broker has a rule against it."""


class QueryFailed(RequestError):
    """A query has no answer: no handler has its name, or its handler failed or did more."""


class CorrelationTaken(ProcessorError):
    """Another run holds the business key: ``workflow_id`` and ``run_id`` say which."""

    def __init__(self, message: str, *, workflow_id: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id


class LockLost(ProcessorError):
    """The lock of an entity under which a call was made had been freed: the call was not taken."""


class ValueNotSet(ProcessorError):
    """The run has ended, and has not set the value that somebody waits for."""


class UpdateError(ProcessorError):
    """An update has no result."""


class UpdateRejected(UpdateError):
    """Its validator refused the update, or no handler has its name; nothing changed."""


class UpdateFailed(UpdateError):
    """Its handler raised an error, which is the cause."""


class UpdateUnfinished(UpdateError):
    """The run ended before the handler of the update did."""


class UpdateNotFound(UpdateError):
    """The run knows no update of this id: none was accepted, or it was forgotten since."""


class RequestExpired(RequestError):
    """The shard no longer knows whether this request counted; it does not count now."""


class UpgradeNeeded(RequestError):
    """The request needs a later level of the namespace: run ``processor upgrade``."""


class PayloadCodecError(ProcessorError):
    """A codec of ``payloads=`` is not given here, has not the key, or raised. The value is kept.

    In a client it is raised. A run whose code needs the value is parked, whatever its code catches,
    and goes on when a worker with that codec starts. An attempt of an activity fails, and is tried
    again as its retry policy says.
    """


class PayloadTooLarge(ProcessorError):
    """A value, or the sum of what one turn asks for, is larger than a record may be."""


class SchemaMismatch(ProcessorError):
    """A value does not fit the type that was asked for."""


class TooNew(SchemaMismatch):
    """A later release wrote this record: this one cannot read it."""


class NonDeterminismError(ProcessorError):
    """Workflow code did something that cannot be repeated at replay, or replay went another way."""


class ShardUnavailable(ProcessorError):
    """No shard answered in time: no worker runs, or it is still taking over."""


class TableStopped(ProcessorError):
    """A table of ``@views.table`` cannot go on: its function failed, or is not there any more."""


class TopicsNotReady(ProcessorError):
    """The namespace's topics are missing or wrong; the message has the command that helps."""


class LogTruncated(ProcessorError):
    """The log or an input lost records that the shard still needs (retention, deletion)."""


class ReleaseTooOld(ProcessorError):
    """The log of a shard holds what only a later release can read: this process has to leave."""


class StoreCorrupt(ProcessorError):
    """A state directory cannot be read, or is too old. It is a cache, and rebuilt from the log."""


class StateDirectoryInUse(ProcessorError):
    """Another process holds the state directory, or something else in this one."""
