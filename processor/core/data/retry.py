"""When a failed attempt is tried again."""

from __future__ import annotations

from typing import Protocol

from processor.core.data.failure import Failure
from processor.core.data.headers import BASES, NO_HEADERS, Headers

__all__ = ("Retrying", "retry_at")

_NEVER_RETRIED = ("payload_too_large", "schema_mismatch")


class Retrying(Protocol):
    """A retry policy. Durations are in milliseconds."""

    @property
    def initial_interval_ms(self) -> int: ...

    @property
    def coefficient(self) -> float: ...

    @property
    def maximum_interval_ms(self) -> int: ...

    @property
    def maximum_attempts(self) -> int | None: ...

    @property
    def non_retryable(self) -> tuple[str, ...]: ...


def retry_at(
    options: Retrying,
    attempt: int,
    failure: Failure,
    now_ms: int,
    end_ms: int | None,
    headers: Headers = NO_HEADERS,
) -> int | None:
    """Return when the attempt after ``attempt`` is due (ms since the epoch); None: there is none.

    There is none when the failure says so, its type or one that it is derived from (``headers`` of
    the report have those) is non-retryable, the attempts are used up, or the next one would not
    begin before ``end_ms``.
    """
    assert attempt >= 1, "attempts are counted from 1 on"
    if not failure.retryable or failure.kind in _NEVER_RETRIED:
        return None
    if failure.type in options.non_retryable:
        return None
    if options.non_retryable and headers:
        bases = dict(headers).get(BASES, b"").decode(errors="replace").split(",")
        if any(each in options.non_retryable for each in bases):
            return None
    if options.maximum_attempts is not None and attempt >= options.maximum_attempts:
        return None
    if failure.next_delay_ms is not None:
        delay_ms = failure.next_delay_ms
    else:
        delay_ms = _backoff_ms(options, attempt)
    due_ms = now_ms + delay_ms
    return None if end_ms is not None and due_ms >= end_ms else due_ms


def _backoff_ms(options: Retrying, attempt: int) -> int:
    try:
        factor = options.coefficient ** (attempt - 1)
    except OverflowError:
        return options.maximum_interval_ms
    return int(min(options.initial_interval_ms * factor, options.maximum_interval_ms))
