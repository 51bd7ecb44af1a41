"""Exceptions as data and back: what crosses the log when an activity or a workflow fails.

``failure_of`` and ``exception_of`` are used by the worker (an activity failed), the runner (its
code gets the error, or fails with one) and the client (``__cause__`` of ``WorkflowFailed``). An
exception of a class that is not ours cannot be made again: it becomes ``ActivityFailed`` where an
activity raised it, and an ``ApplicationError`` of the same ``type`` elsewhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar, get_args

from processor import errors
from processor.core.data.failure import BENIGN, Failure, shortened
from processor.core.data.headers import BASES, Headers
from processor.core.data.payloads import Payloads
from processor.core.data.shown import (
    CAUSES_MAX,
    NAME_CHARS_MAX,
    cause_of,
    context_of,
    members_of,
    shown,
    text_of,
)
from processor.core.records.answers import Refused
from processor.core.runner import NeverEnds
from processor.errors import (
    ActivityCancelled,
    ActivityError,
    ActivityFailed,
    ActivityTimedOut,
    ApplicationError,
    ChildEnd,
    ChildFailed,
    CommandRejected,
    PayloadCodecError,
    PayloadTooLarge,
    ProcessorError,
    SchemaMismatch,
    TimeoutKind,
    WorkflowAlreadyStarted,
    WorkflowTerminated,
)
from processor.policy import milliseconds
from processor.readable import readable
from processor.workflow._frames import is_ours

__all__ = (
    "HIDDEN",
    "bases_of",
    "chain_of",
    "decoded",
    "exception_of",
    "failure_of",
    "refusal",
    "trace_of",
)

E = TypeVar("E", bound=ProcessorError)

HIDDEN: Final = "(encoded)"
"""The message of a failure whose own one, traceback and details are encoded as its details."""

_SAID: Final = tuple[str, str | None, bytes | None]

BASES_MAX = 50
DETAILS_BYTES_MAX = 1_000_000
DELAY_MS_MAX = 100 * 365 * 24 * 3600 * 1000

_NAME = type.__dict__["__name__"]
_MRO = type.__dict__["__mro__"]

_TAKEN_OPEN: Final = (
    '. To get that run: conflict="use-existing" (--conflict use-existing on the command line); to '
    'end it and begin anew: conflict="terminate" (--conflict terminate)'
)
_TAKEN_CLOSED: Final = (
    '. To get that run: reuse="use-existing" (--reuse use-existing on the command line); to begin '
    'anew: reuse="allow" (--reuse allow)'
)

_CHILD_ENDS: Final = get_args(ChildEnd)
_TIMEOUT_KINDS: tuple[TimeoutKind, ...] = get_args(TimeoutKind)


def failure_of(
    exception: BaseException, payloads: Payloads, details_bytes_max: int = DETAILS_BYTES_MAX
) -> Failure:
    """Return an exception as data, with its causes, and with tracebacks as text.

    Details that cannot be encoded or are too large are left out, and the message says so; so is
    whatever else of an exception raises an error itself. The failure has to get through, so this
    raises nothing but ``NeverEnds``, where that is sent meanwhile. ``details_bytes_max`` is for all
    causes together.
    """
    failure: Failure | None = None
    left = details_bytes_max
    for each in reversed(chain_of(exception)):
        try:
            one = _one(each, payloads, left)
        except NeverEnds:
            raise
        except BaseException as broken:  # of the user's class: a property, an __init__ not called
            one = _in_short(each, broken)
        left -= len(one.details or b"")
        if payloads.hides_errors:
            one = _hidden(one, payloads)
        failure = replace(one, cause=failure)
    assert failure is not None, "a chain holds the exception itself"
    return failure


def bases_of(exception: BaseException) -> Headers:
    """Return the header that names the class of an error and what that is derived from."""
    bases = _MRO.__get__(type(exception))[:-2][:BASES_MAX]
    return ((BASES, ",".join(_word(_NAME.__get__(each)) for each in bases).encode()),)


def exception_of(failure: Failure, payloads: Payloads) -> BaseException:
    """Return the exception that a failure stands for; its causes hang on ``__cause__``."""
    if failure.message == HIDDEN:
        failure = _unhidden(failure, payloads)
    error = _made(failure, payloads)
    if isinstance(error, ActivityError):
        error.activity, error.attempts = failure.activity or "", failure.attempts
    if failure.cause is not None:
        error.__cause__ = exception_of(failure.cause, payloads)
    if failure.traceback:
        place = f"activity {failure.activity!r}" if failure.activity else "the workflow"
        error.add_note(f"Raised in {place}:\n{failure.traceback}")
    elif failure.activity and isinstance(error, ApplicationError):
        error.add_note(f"Raised in activity {failure.activity!r}, attempt {failure.attempts}")
    return error


def chain_of(exception: BaseException) -> list[BaseException]:
    """Return an exception and what caused it, as Python would show it."""
    chain: list[BaseException] = []
    each: BaseException | None = exception
    while each is not None and len(chain) < CAUSES_MAX and not any(each is one for one in chain):
        chain.append(each)
        members = members_of(each)
        cause = cause_of(each)
        if cause is None:
            cause = members[0] if members else context_of(each)
        each = cause
    return chain


def _one(error: BaseException, payloads: Payloads, details_bytes_max: int) -> Failure:
    type_name, message, _, text = shown(error, is_ours)
    match error:
        case ApplicationError():
            details, note = _details(error.details, payloads, details_bytes_max)
            return Failure(
                BENIGN if error.benign is True else "application",
                _word(error.type) if isinstance(error.type, str) else type_name,
                message + note,
                details,
                bool(error.retryable),
                _delay_ms(error.next_delay),
                traceback=text,
            )
        case ActivityTimedOut():
            details, note = _details(error.details, payloads, details_bytes_max)
            return Failure(
                "activity_timed_out",
                type_name,
                message + note,
                details,
                timeout_kind=error.kind,
                activity=error.activity or None,
                attempts=error.attempts,
                traceback=text,
            )
        case ActivityFailed() | ActivityCancelled():
            failed = isinstance(error, ActivityFailed)
            return Failure(
                "activity_failed" if failed else "activity_cancelled",
                _word(error.type) if isinstance(error, ActivityFailed) else type_name,
                message,
                activity=error.activity or None,
                attempts=error.attempts,
                traceback=text,
            )
        case ChildFailed():
            said = [error.kind, error.workflow, error.id, error.run_id]
            details, note = _details(said, payloads, details_bytes_max)
            return Failure("child_failed", type_name, message + note, details, traceback=text)
        case WorkflowTerminated():
            said = [error.workflow_id, error.run_id, error.reason, error.output]
            details, note = _details(said, payloads, details_bytes_max)
            return Failure("terminated", type_name, message + note, details, traceback=text)
        case PayloadTooLarge():
            kind = "payload_too_large"
        case SchemaMismatch():
            kind = "schema_mismatch"
        case asyncio.CancelledError():
            kind = "cancelled"
        case _:
            kind = "exception"
    return Failure(kind, type_name, message, traceback=text)


def _in_short(error: BaseException, broken: BaseException) -> Failure:
    """Return what can be said of an exception of which something raises an error itself."""
    told, why = shown(error, is_ours), shown(broken)
    message = f"{told.message} (the rest of this error cannot be told: {why.type}: {why.message})"
    return Failure("exception", told.type, message, traceback=told.traceback)


def _hidden(failure: Failure, payloads: Payloads) -> Failure:
    """Return a failure with what it says encoded in the place of its details."""
    try:
        said = payloads.encode([failure.message, failure.traceback, failure.details])
    except NeverEnds:
        raise
    except BaseException as error:  # of the user's codec
        message = f"(what it says is left out: {shown(error).message})"
        return replace(failure, message=message, traceback=None, details=None)
    return replace(failure, message=HIDDEN, traceback=None, details=said)


def _unhidden(failure: Failure, payloads: Payloads) -> Failure:
    """Return a failure with what it says; itself where its message only happens to be the same."""
    try:
        message, traceback, details = payloads.decoder(_SAID)(failure.details)
    except SchemaMismatch:
        return failure
    return replace(failure, message=message, traceback=traceback, details=details)


def _word(name: object) -> str:
    return shortened(text_of(name), NAME_CHARS_MAX)


def _delay_ms(delay: timedelta | None) -> int | None:
    """Return the delay before the next attempt, within what a record can hold."""
    return None if delay is None else min(max(milliseconds(delay), 0), DELAY_MS_MAX)


def _details(value: Any, payloads: Payloads, bytes_max: int) -> tuple[bytes | None, str]:
    """Return encoded details, or None and a note for the message."""
    if value is None:
        return None, ""
    try:
        details = payloads.encode(value)
    except NeverEnds:
        raise
    except BaseException as error:  # of the user's value, or of the user's codec
        return None, f" (details left out: {shown(error).message})"
    if details is not None and len(details) > bytes_max:
        return None, f" (details left out: {len(details):,} bytes; the limit is {bytes_max:,})"
    return details, ""


def _made(failure: Failure, payloads: Payloads) -> BaseException:
    activity, attempts = failure.activity or "", failure.attempts
    match failure.kind:
        case "application" | "benign":
            return _application(failure, payloads)
        case "activity_timed_out":
            kind = _timeout_kind(failure)
            details = decoded(failure.details, payloads)
            return ActivityTimedOut(
                failure.message, activity=activity, attempts=attempts, kind=kind, details=details
            )
        case "activity_cancelled":
            return ActivityCancelled(failure.message, activity=activity, attempts=attempts)
        case "activity_failed":
            return ActivityFailed(
                failure.message, activity=activity, attempts=attempts, type=failure.type
            )
        case "child_failed" if not activity:
            return _child_failed(failure, payloads)
        case "terminated" if not activity:
            return _terminated(failure, payloads)
        case "payload_too_large":
            return _class(PayloadTooLarge, failure)(failure.message)
        case "schema_mismatch":
            return _class(SchemaMismatch, failure)(failure.message)
        case "cancelled" if not activity:
            return asyncio.CancelledError(failure.message)
        case "cancelled":
            return ActivityCancelled(failure.message, activity=activity, attempts=attempts)
        case _ if activity:
            message = f"{failure.type}: {failure.message}" if failure.message else failure.type
            return ActivityFailed(message, activity=activity, attempts=attempts, type=failure.type)
        case _:
            return _application(failure, payloads)


def _child_failed(failure: Failure, payloads: Payloads) -> ChildFailed:
    match decoded(failure.details, payloads):
        case [kind, str(workflow), str(id), str(run_id)] if kind in _CHILD_ENDS:
            told = {"kind": kind, "workflow": workflow, "id": id, "run_id": run_id}
            return ChildFailed(failure.message, **told)
        case _:
            return ChildFailed(failure.message)


def _terminated(failure: Failure, payloads: Payloads) -> WorkflowTerminated:
    match decoded(failure.details, payloads):
        case [str(workflow_id), str(run_id), str(reason), output]:
            which = {"workflow_id": workflow_id, "run_id": run_id}
            return WorkflowTerminated(failure.message, **which, reason=reason, output=output)
        case _:
            return WorkflowTerminated(failure.message)


def _class(kind: type[E], failure: Failure) -> type[E]:
    """Return the class to make an error of: an activity's is an ``ActivityError`` as well."""
    made: type[E] = _OF_ACTIVITIES[kind] if failure.activity else kind
    return made


def _of_activities(kind: type[ProcessorError]) -> Any:
    # Named like the error itself: a traceback reads the same wherever it was raised.
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, ActivityError), names)


_OF_ACTIVITIES: Final[dict[type[ProcessorError], Any]] = {
    kind: _of_activities(kind) for kind in (ApplicationError, PayloadTooLarge, SchemaMismatch)
}


def _timeout_kind(failure: Failure) -> TimeoutKind:
    for kind in _TIMEOUT_KINDS:
        if kind == failure.timeout_kind:
            return kind
    return "start_to_close"


def _application(failure: Failure, payloads: Payloads) -> ApplicationError:
    delay_ms = failure.next_delay_ms
    return _class(ApplicationError, failure)(
        failure.message,
        type=failure.type,
        details=decoded(failure.details, payloads),
        retryable=failure.retryable,
        next_delay=None if delay_ms is None else timedelta(milliseconds=delay_ms),
        benign=failure.kind == BENIGN,
    )


def decoded(details: bytes | None, payloads: Payloads) -> Any:
    """Return a value of any type, as the bytes that it is where it cannot be decoded."""
    if details is None:
        return None
    try:
        return payloads.decoder(Any)(details)
    except PayloadCodecError:
        raise
    except Exception:  # what was accepted once never stops whoever reads it
        return details


def trace_of(error: BaseException) -> str:
    """Return an error with its traceback and causes for the log: what it says is not trusted."""
    return readable(shown(error, causes=True).traceback, lines=True)


def refusal(refused: Refused) -> ProcessorError:
    """Return the error of a request that was refused; a start's says what to pass instead."""
    named = getattr(errors, refused.error, CommandRejected) if refused.error else CommandRejected
    known = isinstance(named, type) and issubclass(named, ProcessorError)
    error, message = named if known else CommandRejected, refused.message
    if error is WorkflowAlreadyStarted:
        message += _TAKEN_OPEN if message.endswith("conflict policy is 'fail'") else _TAKEN_CLOSED
    try:
        raised: ProcessorError = error(message)
    except TypeError:  # an error that no shard refuses with
        raised = CommandRejected(message)
    return raised
