"""The server: an ASGI application on a port, in the event loop that runs already."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import uvicorn

from processor.api.files import connections_held
from processor.api.options import HttpOptions
from processor.api.wire import BoundedProtocol
from processor.errors import InvalidArgument

__all__ = ("HttpServer",)

_LOOK_S: Final = 0.01
_SHUTDOWN_S: Final = 5
_BACKLOG: Final = 512


class _Unsignalled(uvicorn.Server):
    """A server that leaves signals to whoever runs the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves an application. ``async with`` it; ``url`` is where it is then.

    ``stopping`` is called as soon as it is to end: what waits and streams ends by itself then.
    """

    def __init__(
        self,
        app: Callable[[Any, Any, Any], Awaitable[None]],
        options: HttpOptions,
        stopping: Callable[[], None],
    ) -> None:
        self._app = app
        self._options = options
        self._stopping = stopping
        self._server: _Unsignalled | None = None
        self._serving: asyncio.Task[None] | None = None
        self.url = ""

    @property
    def requests_running(self) -> int:
        """How many requests have no answer yet."""
        return 0 if self._server is None else len(self._server.server_state.tasks)

    async def __aenter__(self) -> HttpServer:
        listening = _listening(self._options)
        host, port = listening.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        most = connections_held(self._options.connections_max)
        own = {"options": self._options, "connections_max": most, "waiting": {}}
        bounded = type("BoundedTo", (BoundedProtocol,), own)
        config = uvicorn.Config(
            self._app,
            http=bounded,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=max(int(self._options.idle_s), 1),
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        self._server = server = _Unsignalled(config)
        self._serving = asyncio.create_task(server.serve([listening]), name="processor.api")
        while not server.started and not self._serving.done():
            await asyncio.sleep(_LOOK_S)
        if self._serving.done():
            listening.close()
            self._serving.result()
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None and self._serving is not None, "entered before"
        self._stopping()
        self._server.should_exit = True
        await self._serving
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # each is told that it is lost


def _listening(options: HttpOptions) -> socket.socket:
    """Return a socket at the address. Raises ``InvalidArgument`` where it cannot be had."""
    host, port = options.host.strip("[]"), options.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, asyncio lets no answer wait for the one before to be acknowledged.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise InvalidArgument(
            f"http: nobody can listen on {host} port {port} here: {error.strerror or error}. Name "
            "another port, or 0 for one that is free"
        ) from error
    return listening
