"""Exceptions as data and back: what crosses the log when an activity or a workflow fails.

``failure_of`` and ``exception_of`` are used by the worker (an activity failed), the runner (its
code gets the error, or fails with one) and the client (``__cause__`` of ``WorkflowFailed``). An
exception of a class that is not ours cannot be made again: it becomes ``ActivityFailed`` where an
activity raised it, and an ``ApplicationError`` of the same ``type`` elsewhere.
"""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar, get_args

from processor import errors
from processor.core.answers import Refused
from processor.core.failure import Failure, shortened, writable
from processor.core.headers import BASES, Headers
from processor.core.payloads import Payloads
from processor.errors import (
    ActivityCancelled,
    ActivityError,
    ActivityFailed,
    ActivityTimedOut,
    ApplicationError,
    CommandRejected,
    PayloadTooLarge,
    ProcessorError,
    SchemaMismatch,
    TimeoutKind,
    WorkflowAlreadyStarted,
)
from processor.policy import milliseconds
from processor.workflow._frames import frames_of

__all__ = ("bases_of", "exception_of", "failure_of", "refusal", "traceback_of")

E = TypeVar("E", bound=ProcessorError)

BASES_MAX = 50
CAUSES_MAX = 10
MESSAGE_CHARS_MAX = 10_000
TRACEBACK_CHARS_MAX = 20_000
DETAILS_BYTES_MAX = 1_000_000
NAME_CHARS_MAX = 500
GROUP_MAX = 20
DELAY_MS_MAX = 100 * 365 * 24 * 3600 * 1000

_NAME = type.__dict__["__name__"]

_TAKEN_OPEN: Final = (
    '. To get that run: conflict="use-existing" (--conflict use-existing on the command line); to '
    'end it and begin anew: conflict="terminate" (--conflict terminate)'
)
_TAKEN_CLOSED: Final = (
    '. To get that run: reuse="use-existing" (--reuse use-existing on the command line); to begin '
    'anew: reuse="allow" (--reuse allow)'
)

_TIMEOUT_KINDS: tuple[TimeoutKind, ...] = get_args(TimeoutKind)


def failure_of(
    exception: BaseException, payloads: Payloads, details_bytes_max: int = DETAILS_BYTES_MAX
) -> Failure:
    """Return an exception as data, with its causes, and with tracebacks as text.

    Details that cannot be encoded or are too large are left out, and the message says so; so is
    whatever else of an exception raises an error itself. The failure has to get through, so this
    never raises. ``details_bytes_max`` is for all causes together.
    """
    failure: Failure | None = None
    left = details_bytes_max
    for each in reversed(_chain(exception)):
        try:
            one = _one(each, payloads, left)
        except BaseException as broken:  # of the user's class: a property, an __init__ not called
            one = _in_short(each, broken)
        left -= len(one.details or b"")
        failure = replace(one, cause=failure)
    assert failure is not None, "a chain holds the exception itself"
    return failure


def bases_of(exception: BaseException) -> Headers:
    """Return the header that names the class of an error and what that is derived from."""
    bases = type.mro(type(exception))[:-2][:BASES_MAX]
    return ((BASES, ",".join(_word(_NAME.__get__(each)) for each in bases).encode()),)


def exception_of(failure: Failure, payloads: Payloads) -> BaseException:
    """Return the exception that a failure stands for; its causes hang on ``__cause__``."""
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


def traceback_of(exception: BaseException) -> str:
    """Return the traceback of one exception as text, without the library's frames."""
    frames = list(frames_of(exception.__traceback__))
    lines = []
    if frames:
        summary = traceback.StackSummary.extract(iter(frames), lookup_lines=True)
        lines = ["Traceback (most recent call last):\n", *summary.format()]
    if isinstance(exception, SyntaxError | BaseExceptionGroup):
        lines += traceback.format_exception_only(exception)
        lines += [traceback_of(each) for each in getattr(exception, "exceptions", ())[:GROUP_MAX]]
    else:
        lines += traceback.format_exception_only(exception)
    text = "".join(lines).rstrip()
    if len(text) > TRACEBACK_CHARS_MAX:
        half = TRACEBACK_CHARS_MAX // 2
        text = f"{text[:half]}\n  ... left out ...\n{text[-half:]}"
    return text


def _chain(exception: BaseException) -> list[BaseException]:
    """Return an exception and what caused it, as Python would show it."""
    chain: list[BaseException] = []
    each: BaseException | None = exception
    seen: set[int] = set()
    while each is not None and len(chain) < CAUSES_MAX and id(each) not in seen:
        chain.append(each)
        seen.add(id(each))
        if each.__cause__ is not None:
            each = each.__cause__
        elif isinstance(each, BaseExceptionGroup):
            each = each.exceptions[0]
        else:
            each = None if each.__suppress_context__ else each.__context__
    return chain


def _one(error: BaseException, payloads: Payloads, details_bytes_max: int) -> Failure:
    message, kind, type_name = _message(error), "exception", _type_name(error)
    details, text = None, _traceback(error)
    match error:
        case ApplicationError():
            details, note = _details(error.details, payloads, details_bytes_max)
            return Failure(
                "application",
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
        case PayloadTooLarge():
            kind = "payload_too_large"
        case SchemaMismatch():
            kind = "schema_mismatch"
        case asyncio.CancelledError():
            kind = "cancelled"
    return Failure(kind, type_name, message, traceback=text)


def _in_short(error: BaseException, broken: BaseException) -> Failure:
    """Return what can be said of an exception of which something raises an error itself."""
    why = f"(the rest of this error cannot be told: {_type_name(broken)}: {_message(broken)})"
    return Failure(
        "exception", _type_name(error), f"{_message(error)} {why}", traceback=_traceback(error)
    )


def _type_name(error: BaseException) -> str:
    """Return the name of its class, whatever the class of that class says."""
    return _word(_NAME.__get__(type(error)))


def _word(name: str) -> str:
    return shortened(writable(str(name)), NAME_CHARS_MAX)


def _delay_ms(delay: timedelta | None) -> int | None:
    """Return the delay before the next attempt, within what a record can hold."""
    return None if delay is None else min(max(milliseconds(delay), 0), DELAY_MS_MAX)


def _traceback(error: BaseException) -> str | None:
    try:
        return writable(traceback_of(error))
    except BaseException:  # of the user's class, or of a source file that cannot be read
        return None


def _message(error: BaseException) -> str:
    try:
        text = writable(str(_text(error)))
    except BaseException as broken:  # whatever the user's own __str__ raises
        text = f"(its message cannot be made: __str__ raises {_type_name(broken)})"
    if len(text) > MESSAGE_CHARS_MAX:
        text = f"{text[:MESSAGE_CHARS_MAX]} ... ({len(text):,} characters)"
    return text


def _text(error: BaseException) -> str:
    if not isinstance(error, BaseExceptionGroup):
        return str(error)
    members = [f"{_type_name(each)}: {_message(each)}" for each in error.exceptions[:GROUP_MAX]]
    more = len(error.exceptions) - GROUP_MAX
    return f"{error.message}: {'; '.join(members)}" + (f"; and {more} more" if more > 0 else "")


def _details(value: Any, payloads: Payloads, bytes_max: int) -> tuple[bytes | None, str]:
    """Return encoded details, or None and a note for the message."""
    if value is None:
        return None, ""
    try:
        details = payloads.encode(value)
    except BaseException as error:  # of the user's value, or of the user's codec
        return None, f" (details left out: {_message(error)})"
    if details is not None and len(details) > bytes_max:
        return None, f" (details left out: {len(details):,} bytes; the limit is {bytes_max:,})"
    return details, ""


def _made(failure: Failure, payloads: Payloads) -> BaseException:
    activity, attempts = failure.activity or "", failure.attempts
    match failure.kind:
        case "application":
            return _application(failure, payloads)
        case "activity_timed_out":
            kind = _timeout_kind(failure)
            details = _decoded(failure.details, payloads)
            return ActivityTimedOut(
                failure.message, activity=activity, attempts=attempts, kind=kind, details=details
            )
        case "activity_cancelled":
            return ActivityCancelled(failure.message, activity=activity, attempts=attempts)
        case "activity_failed":
            return ActivityFailed(
                failure.message, activity=activity, attempts=attempts, type=failure.type
            )
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
        details=_decoded(failure.details, payloads),
        retryable=failure.retryable,
        next_delay=None if delay_ms is None else timedelta(milliseconds=delay_ms),
    )


def _decoded(details: bytes | None, payloads: Payloads) -> Any:
    """Return details, as the bytes that they are where they cannot be decoded."""
    if details is None:
        return None
    try:
        return payloads.decoder(Any)(details)
    except Exception:  # what was accepted once never stops whoever reads it
        return details


def refusal(refused: Refused) -> ProcessorError:
    """Return the error of a request that was refused; a start's says what to pass instead."""
    error = getattr(errors, refused.error, CommandRejected)
    message = refused.message
    if error is WorkflowAlreadyStarted:
        message += _TAKEN_OPEN if message.endswith("conflict policy is 'fail'") else _TAKEN_CLOSED
    raised: ProcessorError = error(message)
    return raised
