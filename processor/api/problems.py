"""Errors as HTTP tells them: one table from our exceptions to statuses, and problem+json."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from processor import errors
from processor.errors import ProcessorError

__all__ = ("STATUSES", "HttpProblem", "NotThereYet", "problem_of", "status_of")

STATUSES: Final[Mapping[type[BaseException], int]] = {
    errors.InvalidArgument: 400,
    errors.NamespaceForbidden: 403,
    errors.WorkflowNotFound: 404,
    errors.WorkflowNotRegistered: 404,
    errors.NamespaceNotFound: 404,
    errors.UpdateNotFound: 404,
    errors.ValueNotSet: 404,
    errors.WorkflowAlreadyStarted: 409,
    errors.CommandRejected: 409,
    errors.RequestExpired: 409,
    errors.TableStopped: 409,
    errors.UpgradeNeeded: 409,
    errors.WorkflowParked: 409,
    errors.ActivityNotOpen: 410,
    errors.PromiseNotOpen: 410,
    errors.PayloadTooLarge: 413,
    errors.KeyReused: 422,
    errors.SchemaMismatch: 422,
    errors.UpdateRejected: 422,
    errors.QueryFailed: 424,
    errors.UpdateFailed: 424,
    errors.UpdateUnfinished: 424,
    errors.WorkflowError: 424,
    errors.ShardUnavailable: 503,
    errors.TopicsNotReady: 503,
    TimeoutError: 504,
    ProcessorError: 500,
}
"""The status of each error; of one that is not here, that of the class it is derived from."""

_RETRYABLE: Final = frozenset((408, 429, 503, 504))
_RETRY_AFTER_S: Final = 1


class HttpProblem(ProcessorError):
    """A request that HTTP itself refuses: its ``status``, and ``headers`` for the answer."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class NotThereYet(HttpProblem):
    """The address is known, and this release cannot do what it asks for."""

    def __init__(self, verb: str) -> None:
        super().__init__(501, f"this release has no {verb!r}: docs/http-api.md lists what there is")


def status_of(error: BaseException) -> int:
    """Return the status that tells an error."""
    if isinstance(error, HttpProblem):
        return error.status
    return next((STATUSES[each] for each in type(error).__mro__ if each in STATUSES), 500)


def problem_of(
    error: BaseException, status: int | None = None
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return the status, the headers and the body that tell an error (RFC 9457).

    ``type`` is the name of its class, as Python's client raises it, and ``retryable`` says whether
    the same request may succeed later. What is no error of ours is told without its text.
    """
    status = status_of(error) if status is None else status
    known = isinstance(error, ProcessorError | TimeoutError)
    phrase = HTTPStatus(status).phrase
    if isinstance(error, HttpProblem):
        name = type(error).__name__ if type(error) is not HttpProblem else phrase.replace(" ", "")
    else:
        name = type(error).__name__ if known else "InternalServerError"
    detail = str(error) if known else "the server met an error of its own: its log has it"
    body: dict[str, Any] = {
        "type": name,
        "title": phrase,
        "status": status,
        "detail": detail,
        "retryable": status in _RETRYABLE,
    }
    cause = error.__cause__
    if (
        isinstance(error, errors.WorkflowFailed | errors.UpdateFailed | errors.QueryFailed)
        and cause
    ):
        body["cause"] = {
            "type": getattr(cause, "type", None) or type(cause).__name__,
            "message": str(cause),
        }
    headers = dict(error.headers) if isinstance(error, HttpProblem) else {}
    if status in (429, 503):
        headers.setdefault("retry-after", str(_RETRY_AFTER_S))
    return status, headers, body
