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
from typing import Any, get_args

from processor.core.failure import Failure, writable
from processor.core.payloads import Payloads
from processor.errors import (
    ActivityCancelled,
    ActivityFailed,
    ActivityTimedOut,
    ApplicationError,
    PayloadTooLarge,
    SchemaMismatch,
    TimeoutKind,
)
from processor.policy import milliseconds
from processor.workflow._frames import frames_of

__all__ = ("exception_of", "failure_of", "traceback_of")

CAUSES_MAX = 10
MESSAGE_CHARS_MAX = 10_000
TRACEBACK_CHARS_MAX = 20_000
DETAILS_BYTES_MAX = 1_000_000

_TIMEOUT_KINDS: tuple[TimeoutKind, ...] = get_args(TimeoutKind)


def failure_of(
    exception: BaseException, payloads: Payloads, details_bytes_max: int = DETAILS_BYTES_MAX
) -> Failure:
    """Return an exception as data, with its causes, and with tracebacks as text.

    Details that cannot be encoded or are too large are left out, and the message says so: the
    failure itself has to get through.
    """
    chain = _chain(exception)
    failure: Failure | None = None
    for each in reversed(chain):
        failure = replace(_one(each, payloads, details_bytes_max), cause=failure)
    assert failure is not None, "a chain holds the exception itself"
    return failure


def exception_of(failure: Failure, payloads: Payloads) -> BaseException:
    """Return the exception that a failure stands for; its causes hang on ``__cause__``."""
    error = _made(failure, payloads)
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
        lines += [traceback_of(each) for each in getattr(exception, "exceptions", ())]
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
    while each is not None and len(chain) < CAUSES_MAX and each not in chain:
        chain.append(each)
        if each.__cause__ is not None:
            each = each.__cause__
        elif isinstance(each, BaseExceptionGroup):
            each = each.exceptions[0]
        else:
            each = None if each.__suppress_context__ else each.__context__
    return chain


def _one(error: BaseException, payloads: Payloads, details_bytes_max: int) -> Failure:
    message, kind, type_name = writable(_message(error)), "exception", type(error).__name__
    details, text = None, writable(traceback_of(error))
    match error:
        case ApplicationError():
            details, note = _details(error.details, payloads, details_bytes_max)
            return Failure(
                "application",
                writable(error.type),
                message + note,
                details,
                error.retryable,
                None if error.next_delay is None else milliseconds(error.next_delay),
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
                error.type if isinstance(error, ActivityFailed) else type_name,
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


def _message(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        inner = "; ".join(f"{type(each).__name__}: {_message(each)}" for each in error.exceptions)
        text = f"{error.message}: {inner}"
    else:
        try:
            text = str(error)
        except Exception as broken:
            text = f"(its message cannot be made: {broken!r})"
    if len(text) > MESSAGE_CHARS_MAX:
        text = f"{text[:MESSAGE_CHARS_MAX]} ... ({len(text):,} characters)"
    return text


def _details(value: Any, payloads: Payloads, bytes_max: int) -> tuple[bytes | None, str]:
    """Return encoded details, or None and a note for the message."""
    if value is None:
        return None, ""
    try:
        details = payloads.encode(value)
    except SchemaMismatch as error:
        return None, f" (details left out: {error})"
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
            return PayloadTooLarge(failure.message)
        case "schema_mismatch":
            return SchemaMismatch(failure.message)
        case "cancelled" if not activity:
            return asyncio.CancelledError(failure.message)
        case "cancelled":
            return ActivityCancelled(failure.message, activity=activity, attempts=attempts)
        case _ if activity:
            message = f"{failure.type}: {failure.message}" if failure.message else failure.type
            return ActivityFailed(message, activity=activity, attempts=attempts, type=failure.type)
        case _:
            return _application(failure, payloads)


def _timeout_kind(failure: Failure) -> TimeoutKind:
    for kind in _TIMEOUT_KINDS:
        if kind == failure.timeout_kind:
            return kind
    return "start_to_close"


def _application(failure: Failure, payloads: Payloads) -> ApplicationError:
    delay_ms = failure.next_delay_ms
    return ApplicationError(
        failure.message,
        type=failure.type,
        details=_decoded(failure.details, payloads),
        retryable=failure.retryable,
        next_delay=None if delay_ms is None else timedelta(milliseconds=delay_ms),
    )


def _decoded(details: bytes | None, payloads: Payloads) -> Any:
    return None if details is None else payloads.decoder(Any)(details)
