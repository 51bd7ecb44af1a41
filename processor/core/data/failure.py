"""A failure as data: what crosses the log when an exception ends an activity or a workflow."""

from __future__ import annotations

from typing import Final

from processor.core.data.fields import Int32
from processor.core.data.frozen import frozen

__all__ = ("BENIGN", "Failure", "shortened", "writable")

BENIGN: Final = "benign"
"""The kind of a failure that was expected: it is tried again, and no failure to people."""


@frozen
class Failure:
    """An exception as data: what crosses the log when it ends an activity or a workflow."""

    kind: str
    """Class of failure: application, benign (as application, and expected), activity_failed,
    activity_timed_out, activity_cancelled, child_failed, terminated, payload_too_large,
    schema_mismatch, exception, cancelled. A string, so that a new kind breaks no reader: treat an
    unknown one as exception.
    """
    type: str
    """Kind of error for retry policies and callers; the exception's class name unless it says
    otherwise.
    """
    message: str
    """Text of the exception."""
    details: bytes | None = None
    """Encoded value that the error carries."""
    retryable: bool = True
    """False ends an activity's retries."""
    next_delay_ms: int | None = None
    """Delay before the next attempt in milliseconds, instead of the retry policy's."""
    timeout_kind: str | None = None
    """Which time-out passed: schedule_to_start, start_to_close, schedule_to_close, heartbeat, lost.
    A string, so that a new one breaks no reader.
    """
    activity: str | None = None
    """Name of the activity that failed."""
    attempts: Int32 = 0
    """How many attempts of the activity ran."""
    traceback: str | None = None
    """Stack as text, for people."""
    cause: Failure | None = None
    """The failure behind this one. At most ten levels; repeats of an attempt add none."""


def shortened(text: str, limit: int) -> str:
    """Return at most so many characters of a text, and a sign that there were more."""
    return text if len(text) <= limit else f"{text[:limit]} ..."


def writable(text: str) -> str:
    """Return text as it can be written down: halves of surrogate pairs are spelled out."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
