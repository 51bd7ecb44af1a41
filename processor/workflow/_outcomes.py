"""What an answer is to whoever waits for it, a client or workflow code: a value, or an error."""

from __future__ import annotations

from typing import Any

from processor.core.data.failure import Failure
from processor.core.data.payloads import Payloads
from processor.core.records.answers import Closed, QueryAnswered, Refused, UpdateEnded, ValueIs
from processor.errors import (
    CommandRejected,
    InvalidArgument,
    LockLost,
    PayloadCodecError,
    ProcessorError,
    QueryFailed,
    SchemaMismatch,
    UpdateFailed,
    UpdateRejected,
    WorkflowCancelled,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.failures import decoded, exception_of, refusal
from processor.policy import Status
from processor.readable import readable
from processor.workflow._engine.runtime import Decode

__all__ = ("answered", "outcome", "refused", "terminated", "updated", "valued")


def outcome(workflow_id: str, closed: Closed, payloads: Payloads, result_type: Any) -> Any:
    """Return the result of a run that has ended, or raise what it ended with."""
    if closed.status == Status.COMPLETED:
        try:
            return payloads.decoder(result_type)(closed.result)
        except (SchemaMismatch, PayloadCodecError) as error:
            run = f"run {closed.run_id} of {workflow_id!r}"
            raise type(error)(f"the result of {run}: {error}") from error
    which = {"workflow_id": workflow_id, "run_id": closed.run_id}
    run = f"run {closed.run_id} of {workflow_id!r}"
    match Status(closed.status):
        case Status.CANCELLED:
            raise WorkflowCancelled(
                f"{run} was cancelled{_why(closed)}", **which, reason=closed.reason or ""
            )
        case Status.TERMINATED:
            raise terminated(workflow_id, closed, payloads)
        case Status.CONTINUED:
            raise WorkflowContinued(
                f"{run} went on as run {closed.reason}: a handle without run_id waits for the end "
                "of the whole chain",
                **which,
                next_run_id=closed.reason or "",
            )
        case Status.TIMED_OUT:
            raise WorkflowTimedOut(f"{run} passed its execution time-out", **which)
        case _:
            assert closed.failure is not None, "a failed run has a failure"
            try:
                cause = exception_of(closed.failure, payloads)
            except PayloadCodecError as error:
                told = f"{closed.failure.type}: {closed.failure.message}"
                raise PayloadCodecError(
                    f"{run} failed: {readable(told)}. The details of that error are not read: "
                    f"{error}"
                ) from error
            told = _said(closed.failure, cause)
            raise WorkflowFailed(f"{run} failed: {told}", **which) from cause


def terminated(workflow_id: str, closed: Closed, payloads: Payloads) -> WorkflowTerminated:
    """Return the error of a run that was terminated, with the output that it got."""
    text = f"run {closed.run_id} of {workflow_id!r} was terminated{_why(closed)}"
    try:
        output = decoded(closed.result, payloads)
    except PayloadCodecError as error:
        raise PayloadCodecError(f"{text}. Its output is not read: {error}") from error
    return WorkflowTerminated(
        text,
        workflow_id=workflow_id,
        run_id=closed.run_id,
        reason=closed.reason or "",
        output=output,
    )


def refused(told: Refused) -> ProcessorError:
    """Return the error that code hears of what was refused: none that parks the run it is in."""
    error = refusal(told)
    parks = isinstance(error, InvalidArgument | PayloadCodecError)
    return CommandRejected(told.message) if parks else error


def answered(
    workflow_id: str, query: str, answer: QueryAnswered, payloads: Payloads, type: Any
) -> Any:
    """Return what a handler answered, or raise what it failed with."""
    which = f"query {query!r} of {workflow_id!r}"
    if answer.failure is not None:
        cause = exception_of(answer.failure, payloads)
        raise QueryFailed(f"{which} failed: {_said(answer.failure, cause)}") from cause
    try:
        return payloads.decoder(type)(answer.result)
    except SchemaMismatch as error:
        raise SchemaMismatch(f"the answer of {which}: {error}") from error


def updated(workflow_id: str, id: str, ended: UpdateEnded, payloads: Payloads, type: Any) -> Any:
    """Return the result of an update, or raise what it failed with."""
    which = f"update {id!r} of {workflow_id!r}"
    failure = ended.failure
    if failure is not None:
        cause = exception_of(failure, payloads)
        if failure.type == LockLost.__name__:
            raise LockLost(readable(str(cause)))
        if failure.type == UpdateRejected.__name__:
            raise UpdateRejected(f"{which}: {readable(str(cause))}") from cause.__cause__
        raise UpdateFailed(f"{which} failed: {_said(failure, cause)}") from cause
    try:
        return payloads.decoder(type)(ended.result)
    except SchemaMismatch as error:
        raise SchemaMismatch(f"the result of {which}: {error}") from error


def valued(workflow_id: str, name: str, told: ValueIs, decode: Decode) -> Any:
    """Return a value that a run has set."""
    try:
        return decode(told.value)
    except SchemaMismatch as error:
        raise SchemaMismatch(f"value {name!r} of {workflow_id!r}: {error}") from error


def _said(failure: Failure, cause: BaseException) -> str:
    """Return the text of an error, with its type where the text alone may not say what it is."""
    text = readable(str(cause))
    if text and failure.kind != "exception":
        return text
    return f"{readable(failure.type)}: {text}" if text else readable(failure.type)


def _why(closed: Closed) -> str:
    return f": {readable(closed.reason)}" if closed.reason else ""
