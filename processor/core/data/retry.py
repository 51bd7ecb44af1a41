"""When a failed attempt is tried again."""

from __future__ import annotations

from processor.core.data.failure import Failure
from processor.core.data.headers import BASES, NO_HEADERS, Headers
from processor.core.nouns.activity import OpenActivity

__all__ = ("retry_at",)

_NEVER_RETRIED = ("payload_too_large", "schema_mismatch")


def retry_at(
    activity: OpenActivity, failure: Failure, now_ms: int, headers: Headers = NO_HEADERS
) -> int | None:
    """Return when the next attempt is due (ms since the epoch), or None if there is none.

    There is none when the failure says so, its type or one that it is derived from (``headers`` of
    the report have those) is non-retryable, the attempts are used up, or the next one would begin
    after schedule-to-close.
    """
    options = activity.options
    assert activity.attempt >= 1, "attempts are counted from 1 on"
    if not failure.retryable or failure.kind in _NEVER_RETRIED:
        return None
    if failure.type in options.non_retryable:
        return None
    if options.non_retryable and headers:
        bases = dict(headers).get(BASES, b"").decode(errors="replace").split(",")
        if any(each in options.non_retryable for each in bases):
            return None
    if options.maximum_attempts is not None and activity.attempt >= options.maximum_attempts:
        return None
    if failure.next_delay_ms is not None:
        delay_ms = failure.next_delay_ms
    else:
        delay_ms = _backoff_ms(activity)
    due_ms = now_ms + delay_ms
    if options.schedule_to_close_ms is not None:
        if due_ms >= activity.scheduled_ms + options.schedule_to_close_ms:
            return None
    return due_ms


def _backoff_ms(activity: OpenActivity) -> int:
    options = activity.options
    try:
        factor = options.coefficient ** (activity.attempt - 1)
    except OverflowError:
        return options.maximum_interval_ms
    return int(min(options.initial_interval_ms * factor, options.maximum_interval_ms))
