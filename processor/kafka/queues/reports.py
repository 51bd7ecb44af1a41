"""Reports of attempts as bytes that ``activity-results`` takes, whatever they say."""

from __future__ import annotations

from dataclasses import replace

from processor.codec.records import encode
from processor.core.data.failure import Failure
from processor.core.inputs import ActivityReport
from processor.kafka.clients.connection import COMMAND_BYTES_MAX

__all__ = ("encoded",)


def encoded(report: ActivityReport) -> bytes:
    """Return a report as bytes; one that cannot be written says so, as a failure of its attempt.

    Without it the attempt would have no end, and its run would wait for ever.
    """
    try:
        value = encode(report)
    except Exception as error:  # of a codec of the user's, that returns anything
        return encode(_unwritable(report, f"{type(error).__name__}: {error}"))
    if len(value) <= COMMAND_BYTES_MAX:
        return value
    size = f"it has {len(value):,} bytes, and activity-results takes {COMMAND_BYTES_MAX:,}"
    return encode(_unwritable(report, size))


def _unwritable(report: ActivityReport, why: str) -> ActivityReport:
    failure = Failure(
        "payload_too_large",
        "PayloadTooLarge",
        f"the outcome of attempt {report.attempt} ({report.kind}) cannot be written down: {why}. "
        "Keep the value elsewhere and return where it is",
        retryable=False,
        attempts=report.attempt,
    )
    return replace(report, kind="failed", payload=None, failure=failure)
