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
from urllib.parse import urljoin, urlsplit

from processor import activity
from processor.activity import Activity
from processor.errors import ApplicationError, InvalidArgument, PayloadTooLarge
from processor.workflow._nouns.http import HTTP, POLL_S, HttpRequest, HttpResponse, origin_of

__all__ = (
    "BODY_BYTES_MAX",
    "MISSING",
    "calls",
    "default",
    "is_installed",
)

BODY_BYTES_MAX: Final = 500_000
"""An answer is a result, of at most 1 MB, in which bytes take a third more. Headers are bounded by
httpx: 100 kB."""

_WAIT_S_MAX: Final = 86_400.0
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
    sent = request.headers_for(url)
    if request.method in _NOT_IDEMPOTENT:
        sent.setdefault("idempotency-key", activity.info().idempotency_key)
    if more is not None:
        added = more(url)
        sent.update(await added if inspect.isawaitable(added) else added)
    answer = await _sent(request, url, sent)
    what = f"{request.method} {_shown(url)} answered {answer.status}"
    if request.polls and answer.status == 202 and (location := answer.headers.get("location")):
        if (following := urljoin(url, location)) != url:
            activity.heartbeat(following)
        delay_s = POLL_S if answer.retry_after is None else answer.retry_after
        raise ApplicationError(what, type="HttpPolling", next_delay=delay_s, benign=True)
    if answer.status in request.retry_on:
        details = {"status": answer.status, "body": answer.text[:1_000]}
        raise ApplicationError(
            what, type="HttpStatus", details=details, next_delay=answer.retry_after
        )
    return answer


async def _sent(request: HttpRequest, url: str, headers: dict[str, str]) -> HttpResponse:
    """Send a request and return its answer; errors name neither headers nor query."""
    import httpx

    body, what = bytearray(), f"{request.method} {_shown(url)}"
    try:
        async with (
            httpx.AsyncClient(verify=_certificates(), timeout=None) as client,
            client.stream(request.method, url, headers=headers, content=request.body) as answer,
        ):
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > BODY_BYTES_MAX:
                    raise PayloadTooLarge(
                        f"the answer to {what} has more than {BODY_BYTES_MAX:,} bytes. Fetch it in "
                        "an activity of your own that keeps it elsewhere and returns where it is"
                    )
    except httpx.LocalProtocolError:  # whose text may have the value of a header
        raise ApplicationError(
            f"{what}: a header cannot be sent: look for a line break or another control character "
            "in its value",
            type="LocalProtocolError",
            retryable=False,
        ) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        told = f"{what}: {type(error).__name__}: {error}"
        raise ApplicationError(told, type=type(error).__name__, retryable=False) from None
    except httpx.HTTPError as error:
        told = f"{what}: {type(error).__name__}" + (f": {error}" if str(error) else "")
        raise ApplicationError(told, type=type(error).__name__) from None
    values = {name.lower(): value for name, value in answer.headers.items()}
    wait_s = _wait_s(values.get("retry-after"))
    return HttpResponse(answer.status_code, values, bytes(body), wait_s)


@cache
def _certificates() -> Any:
    """Return what certificates are checked by; to read them takes long."""
    import httpx

    return httpx.create_ssl_context()


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    return "://".join(origin_of(url)) + urlsplit(url).path


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
