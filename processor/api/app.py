"""The application: all routes of a namespace, over one client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from processor.api.calls import BASE, HttpCall
from processor.api.guard import Guard
from processor.api.openapi import written
from processor.api.problems import HttpProblem, problem_of
from processor.api.routes import ENDPOINTS
from processor.api.routing import (
    AZURE,
    RECORD,
    Endpoint,
    HttpAnswer,
    body_of,
    body_read,
    encoded_answer,
    query_of,
    segment,
)
from processor.api.serving import ServedNamespace
from processor.errors import NamespaceNotFound, SchemaMismatch

__all__ = ("NO_FIGURES", "Api")

_log = logging.getLogger("processor.api")

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_KEEP_ALIVE_S: Final = 15.0
_GRACE_S: Final = 30.0
"""How much longer than a wait a request may take in all."""

NO_FIGURES: Final[Mapping[str, Any]] = MappingProxyType({})
DOCUMENT: Final = "/api/v1/openapi.json"


class Api:
    """The routes over what is served. ``app`` is the ASGI application.

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
        routes = [self._routed(each) for each in endpoints]
        probes = [
            Route("/health/live", self._live),
            Route("/health/ready", self._ready),
            Route(DOCUMENT, self._described),
        ]
        self._router = Router([*routes, *probes], redirect_slashes=False)
        self.app = Guard(self._serve, serving.options, self._refuse)

    # --- requests -----------------------------------------------------------------------------

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = self  # so that the router raises where it finds no route
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            await self._missed(scope["method"], error)(scope, receive, send)

    def _routed(self, endpoint: Endpoint) -> Route:
        path = endpoint.path
        if not path.startswith(AZURE):
            path = f"{BASE}/{{namespace}}{path}"

        async def asked(request: Request) -> Response:
            try:
                answer = await self._answer(endpoint, request)
                return self._told(answer)
            except Exception as error:  # whatever it is, the caller is told
                return _failed(error)

        return Route(path, RoutedFunction(asked), methods=[endpoint.method])

    async def _answer(self, endpoint: Endpoint, request: Request) -> HttpAnswer:
        serving = self._serving
        path = {name: segment(each) for name, each in request.path_params.items()}
        caller = await serving.auth.caller(request, endpoint.needs, path.get("id"))
        namespace = path.pop("namespace", serving.namespace)
        if namespace != serving.namespace:
            raise NamespaceNotFound(
                f"this server has namespace {serving.namespace!r}, and not {namespace[:200]!r}"
            )
        query = query_of(endpoint.query, request.scope["query_string"])
        body = None
        if endpoint.body is not None:
            raw = await body_read(request, serving.options)
            body = body_of(endpoint.body, request.headers.get("content-type", ""), raw)
        base = serving.auth.base_url(request)
        call = HttpCall(serving, caller, path, query, body, request.headers, base)
        most_s = serving.options.wait_max_s + _GRACE_S
        try:
            async with asyncio.timeout(most_s) as limit:
                return await endpoint.handle(call)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise HttpProblem(504, f"there is no answer within {most_s:g} s") from error

    def _told(self, answer: HttpAnswer) -> Response:
        if answer.stream is not None:
            return EventStream(answer.stream, self._serving.options.watch_s)
        if isinstance(answer.body, bytes):
            return Response(answer.body, answer.status, media_type=RECORD)
        is_empty = answer.body is None and answer.status in (202, 304)
        content = b"" if is_empty else encoded_answer(answer.body)
        return Response(content, answer.status, dict(answer.headers), _JSON)

    async def _refuse(self, scope: Any, receive: Any, send: Any, problem: HttpProblem) -> None:
        await _failed(problem)(scope, receive, send)

    def _missed(self, method: str, error: HTTPException) -> Response:
        told = {
            404: "there is nothing at this address: docs/http-api.md lists what there is",
            405: f"this address is not for {method}",
        }
        text = told.get(error.status_code, error.detail)
        return _failed(HttpProblem(error.status_code, text, error.headers))

    # --- probes -------------------------------------------------------------------------------

    async def _live(self, request: Request) -> Response:
        return Response(b'{"status":"live"}', 200, media_type=_JSON)

    async def _described(self, request: Request) -> Response:
        return Response(written(), media_type=_JSON)

    async def _ready(self, request: Request) -> Response:
        why = "it stops" if self._serving.is_stopping else self._hindered()
        if why:
            return _failed(HttpProblem(503, f"this process does not serve: {why}"))
        return Response(encoded_answer({"status": "ready", **self._figures}), 200, media_type=_JSON)


def _failed(error: Exception) -> Response:
    status, headers, body = problem_of(error)
    if status == 500:
        _log.error("a request failed: %s", error, exc_info=error)
    try:
        content = encoded_answer(body)
    except SchemaMismatch:  # half of a surrogate pair in a text
        content = encoded_answer({**body, "detail": ascii(body["detail"]), "cause": None})
    return Response(content, status, headers, _PROBLEM)


class RoutedFunction:
    """A function of requests as an ASGI application.

    Starlette's own, and its middleware, look four times for exceptions that none of ours raises: a
    tenth of what a request costs.
    """

    def __init__(self, function: Callable[[Request], Awaitable[Response]]) -> None:
        self._function = function

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self._function(Request(scope, receive, send))
        await response(scope, receive, send)


class EventStream(Response):
    """Server-sent events: a comment while nothing happens, and an end, so that none is for ever."""

    def __init__(self, events: AsyncIterator[bytes], lasts_s: float) -> None:
        headers = {"x-accel-buffering": "no"}
        super().__init__(b"", 200, headers, "text/event-stream")
        del self.headers["content-length"]
        self._events = events
        self._lasts_s = lasts_s

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
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
