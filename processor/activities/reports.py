"""What a worker reports of an attempt, and the failures that the worker itself tells of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from processor.core.data.address import ReplyTo
from processor.core.data.failure import Failure
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.data.payloads import Payloads
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask
from processor.failures import bases_of, failure_of

__all__ = ("ended", "not_begun", "raised", "report_of", "too_large")


def report_of(
    task: ActivityTask,
    kind: Any,
    *,
    payload: bytes | None = None,
    failure: Failure | None = None,
    worker: str = "",
    reply_to: ReplyTo | None = None,
    headers: Headers = NO_HEADERS,
) -> ActivityReport:
    return ActivityReport(
        task.workflow_id,
        task.run_id,
        task.id,
        task.attempt,
        kind,
        payload,
        failure,
        worker,
        reply_to,
        headers,
    )


def _timed_out(task: ActivityTask, kind: str, details: bytes | None) -> Failure:
    if kind == "lost":
        what = "was stopped with its worker"
    else:
        what = f"passed its {kind.replace('_', '-')} time-out"
    return Failure(
        "activity_timed_out",
        "ActivityTimedOut",
        f"activity {task.name!r}: attempt {task.attempt} {what}",
        details=details,
        retryable=kind != "schedule_to_close",
        timeout_kind=kind,
        activity=task.name,
        attempts=task.attempt,
    )


def not_begun(task: ActivityTask, type: str, message: str) -> Failure:
    """Return the failure of an attempt that this worker does not begin."""
    return Failure("application", type, message, activity=task.name, attempts=task.attempt)


def ended(task: ActivityTask, why: str, details: bytes | None) -> ActivityReport | None:
    """Return the report of an attempt that did not end by itself; ``why`` is empty if it is lost.

    The shard drops the report of one that it gave up. So there is none, but whoever brought the
    task of a queue has to hear that it is over, and so has a run that waits until it has stopped.
    """
    if why not in ("cancelled", "stopped"):
        return report_of(task, "failed", failure=_timed_out(task, why or "lost", details))
    if task.eager and why == "cancelled":
        return None
    message = f"activity {task.name!r}: attempt {task.attempt} was cancelled"
    failure = Failure("activity_cancelled", "ActivityCancelled", message, activity=task.name)
    return report_of(task, "failed", failure=failure)


def raised(task: ActivityTask, error: BaseException, payloads: Payloads) -> tuple[Failure, Headers]:
    """Return the failure for what an activity's function raised, with what its class derives from.

    A cancellation of its own making cancels nothing: nobody asked for it.
    """
    try:
        failure = failure_of(error, payloads)
        if failure.kind in ("activity_timed_out", "activity_cancelled"):
            return failure, NO_HEADERS
        if failure.kind == "cancelled":
            message = f"activity {task.name!r} was cancelled by its own code, and by nobody else"
            if failure.message and not payloads.hides_errors:
                message += f": {failure.message}"
            failure = replace(failure, kind="exception", message=message, details=None)
        return failure, bases_of(error)
    except BaseException:  # whatever reading the error raises: the attempt has to be over
        message = (
            f"activity {task.name!r} raised an error that cannot be told, since reading that error "
            "raises another one: look for properties and special methods of its class that raise"
        )
        return Failure("exception", "Exception", message), NO_HEADERS


def too_large(task: ActivityTask, size: int, limit: int) -> Failure:
    return Failure(
        "payload_too_large",
        "PayloadTooLarge",
        f"the result of activity {task.name!r} has {size:,} bytes; the limit is {limit:,}. "
        "Keep the value elsewhere and return where it is",
        retryable=False,
        activity=task.name,
        attempts=task.attempt,
    )
