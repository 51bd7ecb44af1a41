"""The activity behind ``workflow.call_http``, for workers that have ``processor[http]``.

Each worker with httpx has it as ``processor.http``. ``calls(headers=...)`` makes one that adds
headers in the worker, where secrets belong: what workflow code passes is recorded.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from processor import activity
from processor.activity import Activity
from processor.core.data.failure import shortened, writable
from processor.errors import ApplicationError, InvalidArgument, PayloadTooLarge
from processor.http.bodies import ACCEPTED, BODY_BYTES_MAX, BodyTooLarge, read, unpacked
from processor.workflow._nouns.http import (
    HTTP,
    POLL_S,
    HttpRequest,
    HttpResponse,
    headers_of,
    joined,
    origin_of,
)

__all__ = (
    "MISSING",
    "calls",
    "default",
    "is_installed",
)

_SHOWN_MAX: Final = 1_000
_WAIT_S_MAX: Final = 86_400.0
_POLL_S_MIN: Final = 1.0
"""A server that says 0 would be asked without a pause."""

MISSING: Final = (
    "workflow.call_http needs httpx in the worker that runs it, and it is not installed there. In "
    "a clone of processor's repository, run: pip install '.[http]'. Then start the worker again"
)
_NOT_IDEMPOTENT: Final = ("POST", "PATCH")

WorkerHeaders: TypeAlias = Callable[[str], Mapping[str, str] | Awaitable[Mapping[str, str]]]


def calls(*, headers: WorkerHeaders | None = None) -> Activity[[HttpRequest], HttpResponse]:
    """Return the activity for ``Worker(activities=[...])``, in place of the one that it has.

    ``headers`` is called with the URL of each request, in the worker, and returns headers to add;
    they are recorded nowhere. It may be async. Look at the whole host before you add a secret: the
    URL may come from an answer. Raises ``InvalidArgument`` where httpx is not installed.
    """
    if not is_installed():
        raise InvalidArgument(MISSING)
    if headers is not None and not callable(headers):
        raise InvalidArgument("http.calls: headers: give a function that takes a URL")

    @activity.define(name=HTTP)
    async def http(request: HttpRequest) -> HttpResponse:
        return await _answer(request, headers)

    return http


def is_installed() -> bool:
    return find_spec("httpx") is not None


@cache
def default() -> Activity[[HttpRequest], HttpResponse] | None:
    """Return what each worker has, None where httpx is not installed."""
    return calls() if is_installed() else None


async def _answer(request: HttpRequest, more: WorkerHeaders | None) -> HttpResponse:
    url = request.url
    if request.polls:
        url = activity.heartbeat_details(str) or url
    what = _named(request, url)
    sent = {"accept-encoding": ACCEPTED, **request.headers_for(url)}
    if request.method in _NOT_IDEMPOTENT:
        sent.setdefault("idempotency-key", activity.info().idempotency_key)
    if more is not None:
        added = more(url)
        sent.update(_checked(await added if inspect.isawaitable(added) else added, what))
    answer = await _sent(request, url, sent, what)
    what = f"{what} answered {answer.status}"
    if request.polls and answer.status == 202 and (location := answer.headers.get("location")):
        if (following := joined(url, location)) != url:
            activity.heartbeat(following)
        delay_s = POLL_S if answer.retry_after is None else max(answer.retry_after, _POLL_S_MIN)
        raise ApplicationError(what, type="HttpPolling", next_delay=delay_s, benign=True)
    if answer.status in request.retry_on:
        details = {"status": answer.status, "body": answer.text[:1_000]}
        # A server that says 0 asks for no time: the policy has one, and it grows.
        delay = answer.retry_after or None
        raise ApplicationError(what, type="HttpStatus", details=details, next_delay=delay)
    return answer


def _named(request: HttpRequest, url: str) -> str:
    """Return how errors name a request. Raises for a URL that nothing can be sent to."""
    try:
        _ = urlsplit(url).port, url.encode()
        return f"{request.method} {_shown(url)}"
    except ValueError:  # whose text may have all of the URL
        whose = " (an answer 202 has it as its Location)" if request.polls else ""
        raise _never(
            f"{request.method}: the URL{whose} is none that can be asked: look at its host, its "
            "port, and for half of a surrogate pair in it",
            "InvalidURL",
        ) from None


def _checked(headers: object, what: str) -> dict[str, str]:
    """Return the headers that a worker adds, with their names in lower case."""
    try:
        return headers_of(headers, "http.calls")
    except InvalidArgument as error:
        raise _never(f"{what}: a header cannot be sent: {error}", "InvalidArgument") from None


def _never(told: str, type: str) -> ApplicationError:
    """Return the error of a request that would fail each time."""
    return ApplicationError(told, type=type, retryable=False)


async def _sent(request: HttpRequest, url: str, headers: dict[str, str], what: str) -> HttpResponse:
    """Send a request and return its answer; errors name neither headers nor query."""
    import httpx

    try:
        async with (
            httpx.AsyncClient(verify=_certificates(), timeout=None) as client,
            client.stream(request.method, url, headers=headers, content=request.body) as answer,
        ):
            body = await read(answer.aiter_raw())
        body = unpacked(body, answer.headers.get("content-encoding", ""))
    except BodyTooLarge:
        raise PayloadTooLarge(
            f"the answer to {what} has more than {BODY_BYTES_MAX:,} bytes. Fetch it in an activity "
            "of your own that keeps it elsewhere and returns where it is"
        ) from None
    except httpx.LocalProtocolError:  # whose text may have the value of a header
        raise _never(
            f"{what}: a header cannot be sent: look for a line break or another control character "
            "in its value, and for a Content-Length that is not that of the body",
            "LocalProtocolError",
        ) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise _never(f"{what}: {_told(error)}", type(error).__name__) from None
    except (httpx.HTTPError, ValueError) as error:
        named = type(error).__name__ if isinstance(error, httpx.HTTPError) else "DecodingError"
        told = f"{what}: {named}" + (f": {error}" if str(error) else "")
        raise ApplicationError(told, type=named) from None
    values = {name.lower(): value for name, value in answer.headers.items()}
    wait_s = _wait_s(values.get("retry-after"))
    return HttpResponse(answer.status_code, values, body, wait_s)


def _told(error: Exception) -> str:
    return writable(f"{type(error).__name__}: {error}")


@cache
def _certificates() -> Any:
    """Return what certificates are checked by; to read them takes long."""
    import httpx

    return httpx.create_ssl_context()


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    return shortened("://".join(origin_of(url)) + urlsplit(url).path, _SHOWN_MAX)


def _wait_s(value: str | None) -> float | None:
    """Return what a Retry-After header asks for, None where it says nothing that can be read."""
    if value is None:
        return None
    try:
        wait_s = float(value) if value.isdigit() else _left_s(value)
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), _WAIT_S_MAX)


def _left_s(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
