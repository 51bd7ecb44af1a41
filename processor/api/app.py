"""The application: all routes of a namespace, over one client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from processor.api.calls import HttpCall
from processor.api.guard import Guard
from processor.api.limits import OverTime, TimeLimit
from processor.api.openapi import written
from processor.api.problems import HttpProblem, problem_of
from processor.api.requests import ApiRequest, Bodies
from processor.api.routes import ENDPOINTS
from processor.api.routes.instances import check_chain
from processor.api.routing import (
    JSON,
    RECORD,
    Addresses,
    Endpoint,
    HttpAnswer,
    body_of,
    encoded_answer,
    query_of,
)
from processor.api.serving import ServedNamespace
from processor.errors import NamespaceNotFound, SchemaMismatch

__all__ = ("NO_FIGURES", "Api")

_log = logging.getLogger("processor.api")

_PROBLEM: Final = "application/problem+json"
_KEEP_ALIVE_S: Final = 15.0
_GRACE_S: Final = 30.0
"""How much longer than a wait a request may take in all."""

_STOPS: Final = (
    "this server stopped before it had the answer: ask again. What was asked for may be done all "
    "the same; with its Idempotency-Key it counts once"
)

NO_FIGURES: Final[Mapping[str, Any]] = MappingProxyType({})
EVENTS: Final = "text/event-stream; charset=utf-8"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
DOCUMENT: Final = "/api/v1/openapi.json"


class Api:
    """The routes over what is served: an ASGI application.

    ``hindered`` says what keeps this process from serving; "": nothing does. ``figures`` are what
    ``/health/ready`` tells.
    """

    def __init__(
        self,
        serving: ServedNamespace,
        hindered: Callable[[], str] = lambda: "",
        figures: Mapping[str, Any] = NO_FIGURES,
        *,
        endpoints: Sequence[Endpoint] = ENDPOINTS,
    ) -> None:
        self._serving = serving
        self._hindered = hindered
        self._figures = figures
        self._guard = Guard(serving.options)
        self._bodies = Bodies(serving.options)
        self._limit = TimeLimit(serving.options.wait_max_s + _GRACE_S)
        self._addresses: Addresses[_Target] = Addresses()
        for each in endpoints:
            self._addresses.add(each.method, each.address, partial(self._answered, each))
        self._addresses.add("GET", "/health/live", self._live)
        self._addresses.add("GET", "/health/ready", self._ready)
        self._addresses.add("GET", DOCUMENT, self._described)

    # --- requests -----------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, as an ASGI application."""
        if scope["type"] != "http":
            return
        request = ApiRequest(scope, receive)
        try:
            response = await self._response(request)
        except Exception as error:  # whatever it is, the caller is told
            response = _failed(error)
        except asyncio.CancelledError:  # the server stops, and has waited for long enough
            cut = _failed(HttpProblem(503, _STOPS))
            await cut.send(self._guard.headers(request), receive, send)
            raise
        await response.send(self._guard.headers(request), receive, send)

    async def _response(self, request: ApiRequest) -> Response:
        self._guard.check(request)
        if self._guard.is_preflight(request):
            return Response(b"", 204, None)
        target, path = self._addresses.find(request.method, request.path)
        return await target(request, path)

    async def _answered(
        self, endpoint: Endpoint, request: ApiRequest, path: dict[str, str]
    ) -> Response:
        serving = self._serving
        caller = await serving.auth.caller(request, endpoint.needs, path.get("id"))
        namespace = path.pop("namespace", serving.namespace)
        if namespace != serving.namespace:
            raise NamespaceNotFound(
                f"this server has namespace {serving.namespace!r}, and not {namespace[:200]!r}"
            )
        query = query_of(endpoint.query, request.query)
        body = None
        if endpoint.body is not None:
            raw = await self._bodies.read(request)
            body = body_of(endpoint.body, request.headers.get("content-type", ""), raw)
        call = HttpCall(serving, request, caller, path, query, body)
        try:
            own = caller.first_run_id is not None
            work = self._of_chain(endpoint, call) if own else endpoint.handle(call)
            answer = await self._limit.keep(work)
        except OverTime as error:
            within_s = self._limit.seconds
            raise HttpProblem(504, f"there is no answer within {within_s:g} s") from error
        return self._told(answer, request.method)

    async def _of_chain(self, endpoint: Endpoint, call: HttpCall) -> HttpAnswer:
        """Answer whoever has a capability, which is for one chain of runs."""
        await check_chain(call, getattr(call.query, "run_id", None))
        return await endpoint.handle(call)

    def _told(self, answer: HttpAnswer, method: str) -> Response:
        if answer.stream is not None:
            if method == "HEAD":
                return Response(b"", 200, EVENTS)
            return EventStream(answer.stream, self._serving.options.watch_s)
        if isinstance(answer.body, bytes):
            return Response(answer.body, answer.status, RECORD)
        is_empty = answer.body is None and answer.status in (202, 304)
        content = b"" if is_empty else encoded_answer(answer.body)
        return Response(content, answer.status, JSON, answer.headers)

    # --- probes -------------------------------------------------------------------------------

    async def _live(self, request: ApiRequest, path: Mapping[str, str]) -> Response:
        return Response(b'{"status":"live"}')

    async def _described(self, request: ApiRequest, path: Mapping[str, str]) -> Response:
        return Response(written().encode())

    async def _ready(self, request: ApiRequest, path: Mapping[str, str]) -> Response:
        why = "it stops" if self._serving.is_stopping else self._hindered()
        if why:
            return _failed(HttpProblem(503, f"this process does not serve: {why}"))
        return Response(encoded_answer({"status": "ready", **self._figures}))


_Target: TypeAlias = Callable[[ApiRequest, dict[str, str]], Awaitable["Response"]]


def _failed(error: Exception) -> Response:
    status, headers, body = problem_of(error)
    if status == 500:
        _log.error("a request failed: %s", error, exc_info=error)
    try:
        content = encoded_answer(body)
    except SchemaMismatch:  # half of a surrogate pair in a text
        content = encoded_answer({**body, "detail": ascii(body["detail"]), "cause": None})
    return Response(content, status, _PROBLEM, headers)


class Response:
    """What is sent: a status, the type of the content (None: there is none), and further headers.

    A type that is among the headers goes before.
    """

    def __init__(
        self,
        content: bytes,
        status: int = 200,
        type: str | None = JSON,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self._content = content
        self._status = status
        self._headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()]
        if type is not None and "content-type" not in headers:
            self._headers.append((b"content-type", type.encode()))

    async def send(self, always: Iterable[tuple[bytes, bytes]], receive: Any, send: Any) -> None:
        """Send it as ASGI says, with the headers that all answers have."""
        if self._status not in (204, 304):
            self._headers.append((b"content-length", b"%d" % len(self._content)))
        await send(self._start(always))
        await send({"type": "http.response.body", "body": self._content})

    def _start(self, always: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
        headers = [*self._headers, *always]
        return {"type": "http.response.start", "status": self._status, "headers": headers}


class EventStream(Response):
    """Server-sent events: a comment while nothing happens, and an end, so that none is for ever."""

    def __init__(self, events: AsyncIterator[bytes], lasts_s: float) -> None:
        super().__init__(b"", 200, EVENTS, {"x-accel-buffering": "no"})
        self._events = events
        self._lasts_s = lasts_s

    async def send(self, always: Iterable[tuple[bytes, bytes]], receive: Any, send: Any) -> None:
        await send(self._start(always))
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (sending, leaving):
                each.cancel()
            await asyncio.wait((sending, leaving))
        if not sending.cancelled() and (error := sending.exception()) is not None:
            _log.warning("a stream of events ended: %s", error)
        await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Callable[[Any], Awaitable[None]]) -> None:
        """Send events until there are none, or the time is up."""
        coming = None
        try:
            async with asyncio.timeout(self._lasts_s):
                while True:
                    coming = coming or asyncio.ensure_future(anext(self._events))
                    done, _ = await asyncio.wait((coming,), timeout=_KEEP_ALIVE_S)
                    try:
                        data = coming.result() if done else b": still here\n\n"
                    except StopAsyncIteration:
                        return
                    coming = None if done else coming
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            return
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait((coming,))


async def _left(receive: Callable[[], Awaitable[Any]]) -> None:
    """Return once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
