"""Calls of HTTP services: each is an activity of ours, and one that is answered later two."""

from __future__ import annotations

import asyncio
import json as _json
import re
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from processor import checks
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.errors import InvalidArgument
from processor.policy import RetryPolicy
from processor.workflow._context import current
from processor.workflow._engine.runtime import Runtime
from processor.workflow._frames import line_here
from processor.workflow._nouns.activity import call
from processor.workflow._options import Options, options_with

__all__ = (
    "HTTP",
    "POLL_S",
    "HttpRequest",
    "HttpResponse",
    "call_http",
    "headers_of",
    "joined",
    "origin_of",
)

HTTP: Final = "processor.http"
"""The name of the activity."""

POLL_S: Final = 30.0
"""How long to wait where a 202 does not say it."""

_METHOD: Final = re.compile(r"[A-Za-z]{1,20}")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OF_CALLER: Final = ("authorization", "cookie", "proxy-authorization", "host")
"""Headers that no other host is sent than the one that they are for."""

_OF_BODY: Final = ("content-type", "content-length", "content-encoding", "idempotency-key")


@dataclass(frozen=True)
class HttpRequest:
    """What the activity is asked for. ``polls``: it asks until the answer is no 202 any more.

    ``retry_on`` are statuses that fail an attempt.
    """

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    retry_on: tuple[int, ...] = ()
    polls: bool = False

    def headers_for(self, url: str) -> dict[str, str]:
        """Return the headers that a URL is sent: another host gets no credentials."""
        left_out = () if origin_of(url) == origin_of(self.url) else _OF_CALLER
        return {name: each for name, each in self.headers.items() if name not in left_out}


@dataclass(frozen=True)
class HttpResponse:
    """The answer of a service. Names of headers are in lower case; several values are one text.

    ``retry_after`` is what a Retry-After header asks for, in seconds.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    retry_after: float | None = None

    @property
    def text(self) -> str:
        """The body as text: in UTF-8, whatever it says of itself."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as JSON. Raises ``ValueError`` where it is none, or none that is sane."""
        try:
            return _json.loads(self.body)
        except RecursionError:
            raise ValueError("this JSON is nested too deeply to be read") from None

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 200 to 299."""
        return 200 <= self.status < 300


def call_http(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | str | None = None,
    json: Any = None,
    timeout: timedelta | float = 30,
    retry: RetryPolicy | None = None,
    retry_on: Collection[int] = (),
    poll: bool = True,
    queue: str = DEFAULTS.queue,
) -> Coroutine[object, None, HttpResponse]:
    """Call an HTTP service and return its answer, whatever its status is.

    It is an activity of a worker that has ``processor[http]``, so it may be sent more than once;
    a POST or PATCH has an ``Idempotency-Key``, the same each time. ``timeout`` (seconds or
    ``timedelta``) is for one request with its answer. What does not answer is tried again as
    ``retry`` says (default: for ever), and so are the statuses of ``retry_on``, after the time of
    their Retry-After. An answer 202 with a Location is followed: that URL is asked, each
    Retry-After or 30 s, until it answers otherwise; ``poll=False`` leaves it. ``json`` is sent
    as such, and in place of a ``body``. Everything is recorded as it was passed, headers too;
    secrets belong into ``processor.http.calls(headers=...)`` of the worker. Raises
    ``InvalidArgument`` at the call, and an ``ActivityError`` where it is awaited; an answer of more
    than 500,000 bytes is a ``PayloadTooLarge``.
    """
    runtime = current("call_http", awaited=True)
    where = "workflow.call_http"
    request = HttpRequest(
        _method(method, where),
        _url(url, where),
        sent := headers_of(headers, where),
        _body(body, json, sent, where),
        tuple(checks.whole(each, f"{where}: retry_on", 100) for each in _listed(retry_on, where)),
    )
    limit_ms = checks.duration_ms(timeout, f"{where}: timeout")
    options: Options = {"queue": queue}
    if retry is not None:
        options["retry"] = retry
    wire = replace(options_with(DEFAULTS, options, where), start_to_close_ms=limit_ms)
    polls = checks.yes_or_no(poll, f"{where}: poll")
    return _called(runtime, request, wire, polls, line_here())


async def _called(
    runtime: Runtime, request: HttpRequest, options: ActivityOptions, polls: bool, line: str
) -> HttpResponse:
    answer: HttpResponse = await call(runtime, HTTP, (request,), options, HttpResponse, line)
    location = answer.headers.get("location")
    if not polls or answer.status != 202 or not location:
        return answer
    await asyncio.sleep(POLL_S if answer.retry_after is None else answer.retry_after)
    url = joined(request.url, location)
    sent = request.headers_for(url)
    headers = {name: each for name, each in sent.items() if name not in _OF_BODY}
    polling = replace(request, method="GET", url=url, headers=headers, body=None, polls=True)
    # Each question is an attempt: the policy's limit is for those that find nobody.
    unbounded = replace(options, maximum_attempts=None)
    found: HttpResponse = await call(runtime, HTTP, (polling,), unbounded, HttpResponse, line)
    return found


def joined(url: str, location: str) -> str:
    """Return where a Location leads. What is no URL is returned as it is: nobody can be asked."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def origin_of(url: str) -> tuple[str, str]:
    """Return what names a server: scheme, and host with port. What is no URL is of no server."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", url
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _method(method: Any, where: str) -> str:
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise InvalidArgument(f'{where}: method: give "GET" or another, not {checks.shown(method)}')
    return method.upper()


def _url(url: Any, where: str) -> str:
    if not isinstance(url, str) or not re.match(r"https?://[^/?#\s]+[^\s]*\Z", url):
        raise InvalidArgument(
            f"{where}: url: give a URL that begins with http:// or https://, not "
            f"{checks.shown(url)}"
        )
    return url


def headers_of(headers: Any, where: str) -> dict[str, str]:
    """Return headers, their names in lower case. No value stands in an error: it may be secret."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidArgument(f"{where}: headers: give a dictionary, not a {_kind(headers)}")
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgument(f"{where}: headers: {checks.shown(name)} is no name of a header")
        if not isinstance(value, str) or not value.isascii() or not (value + "x").isprintable():
            raise InvalidArgument(
                f"{where}: headers: the value of {name!r} has to be ASCII text in one line"
            )
    return {name.lower(): value for name, value in headers.items()}


def _body(body: Any, json: Any, headers: dict[str, str], where: str) -> bytes | None:
    """Return what is sent, and say in the headers what it is."""
    if json is None:
        if body is not None and not isinstance(body, bytes | str):
            raise InvalidArgument(f"{where}: body: give bytes or text, not a {_kind(body)}")
        return _encoded(body, where) if isinstance(body, str) else body
    if body is not None:
        raise InvalidArgument(f"{where}: give a body or json, not both")
    headers.setdefault("content-type", "application/json")
    try:
        text = _json.dumps(json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{where}: json: {error}: give plain values, or a body") from None


def _encoded(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(
            f"{where}: body: the text holds half of a surrogate pair, which is no text; decode "
            "bytes with errors='replace'"
        ) from None


def _listed(retry_on: Any, where: str) -> list[Any]:
    return sorted(set(checks.listed(retry_on, f"{where}: retry_on", "[429, 503]")), key=str)


def _kind(value: object) -> str:
    return type(value).__name__
