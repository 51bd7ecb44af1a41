"""A failure as data: what crosses the log when an exception ends an activity or a workflow."""

from __future__ import annotations

from processor.core.data.frozen import frozen

__all__ = ("Failure", "shortened", "writable")


@frozen
class Failure:
    """One exception. ``kind`` says which class of our tree it was or becomes.

    kind: "application" (an ApplicationError), "activity_failed", "activity_timed_out",
    "activity_cancelled", "payload_too_large", "schema_mismatch", "exception" (anything else),
    "cancelled" (asyncio.CancelledError).
    ``details`` is an encoded payload. ``traceback`` is text for people. ``cause`` is the
    failure behind it, one level at a time.
    """

    kind: str
    type: str
    message: str
    details: bytes | None = None
    retryable: bool = True
    next_delay_ms: int | None = None
    timeout_kind: str | None = None
    activity: str | None = None
    attempts: int = 0
    traceback: str | None = None
    cause: Failure | None = None


def shortened(text: str, limit: int) -> str:
    """Return at most so many characters of a text, and a sign that there were more."""
    return text if len(text) <= limit else f"{text[:limit]} ..."


def writable(text: str) -> str:
    """Return text as it can be written down: halves of surrogate pairs are spelled out."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
