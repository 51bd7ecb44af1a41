"""The bytes of a connection within their bounds: what uvicorn's protocol lets run without end.

That is a client that connects and says nothing, one that sends its headers or its body bit by bit,
headers without end, requests that do not wait for answers, and a client that does not read. What
stands behind a body, or behind a request for another protocol, is neither a header nor a request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, ClassVar, Final, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from processor.api.options import HttpOptions
from processor.seldom import Seldom

__all__ = ("BoundedProtocol", "Waiting")

_log = logging.getLogger("processor.api")

HEAD_BYTES_MAX: Final = 64_000
"""The first line and the headers of a request."""

PIPELINED_MAX: Final = 16
_BODIES: Final = 8
"""So many times the largest body is read of a request that was refused, then it is cut."""

_GRACE_S: Final = 5.0
"""The API itself says first that a body takes too long."""

_MOMENT_S: Final = 1.0
"""A connection is not cut for another one before it was without a request for so long."""

_SAY_EVERY_S: Final = 10.0
_ODD: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may have."""

_OF_CONNECTION: Final = (b"connection", b"transfer-encoding")
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-type: text/plain\r\ncontent-length: %d\r\n\r\n%s"
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A server makes a subclass with its ``options``, and what stands below them.

    ``connections_max`` are those that the process has files for.
    """

    options: ClassVar[HttpOptions]
    connections_max: ClassVar[int]
    _is_time: ClassVar[Seldom] = Seldom(_SAY_EVERY_S)

    waiting: ClassVar[Waiting]
    _in_head = True
    _is_whole = False
    """Whether nothing has come since the end of a request."""

    _why = ""
    _raw = 0
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that each write that waits is told
        if len(self.connections) > self.connections_max and not self._made_room():
            self._cut("there are as many connections as may be")
        else:
            self._limit(self.options.head_s)
            self.waiting.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.discard(self)
        self._unlimited()
        self._written()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._is_whole = False
        self._raw += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._raw > HEAD_BYTES_MAX:
            text = b"a request has at most %d bytes of headers" % HEAD_BYTES_MAX
            self.transport.write(_TOO_LARGE % (len(text), text))
            self.transport.close()
        elif self._raw > HEAD_BYTES_MAX + _BODIES * self.options.body_bytes_max:
            self._cut("the body of a request goes on and on")
        elif not self._is_whole and self._late is None:  # most requests come at once, and need none
            self._limit(self.options.head_s if self._in_head else self.options.body_s + _GRACE_S)

    def on_message_begin(self) -> None:
        self._is_whole = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a trailer is none: proxies take headers off, and may let trailers pass
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= PIPELINED_MAX:
            self._refuse("too many requests at once on one connection")
        is_upgrade = self.parser.should_upgrade()
        if is_upgrade and any(_has_body(*each) for each in self.headers):
            self._refuse("this server changes to no other protocol: send a body without Upgrade")
        url = httptools.parse_url(self.url)
        if url.path is None:
            self._refuse("the first line of a request has the path of what is asked for")
        self._in_head = False
        self._unlimited()
        version = self.parser.get_http_version()
        self.scope["http_version"] = version
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["raw_path"] = url.path
        self.scope["query_string"] = url.query or b""
        running = self.cycle
        self.cycle = _Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            # of a request for another protocol, the parser leaves what follows to that
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not is_upgrade,
            on_response=self.on_response_complete,
        )
        if running is None or running.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_message_complete(self) -> None:
        self._unlimited()
        self._in_head, self._is_whole, self._raw = True, True, 0
        if not self.cycle.response_complete:
            self.waiting.discard(self)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(self._why or msg)

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.waiting.add(self)

    def leave(self) -> None:
        """Close the connection, if no request has begun on it."""
        if self._late is None and not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        if self._unread is None:
            why = "it does not read its answer"
            self._unread = self.loop.call_later(self.options.send_s, self._cut, why)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._written()
        super().resume_writing()

    def _refuse(self, why: str) -> NoReturn:
        """Let the parser stop, so that the client is told and the connection is closed."""
        self._why = why
        raise ValueError(why)

    def _made_room(self) -> bool:
        """Cut the connection that has been without a whole request for the longest time.

        Each has a moment to send one, however many others come: else nobody would be served where
        thousands come again and again.
        """
        oldest = self.waiting.longest(_MOMENT_S)
        if oldest is None:
            return False
        self.waiting.discard(oldest)
        oldest._cut("there are as many connections as may be, and it waits longest for a request")
        return True

    def _limit(self, seconds: float) -> None:
        self._unlimited()
        self._late = self.loop.call_later(seconds, self._cut, "its request takes too long")

    def _unlimited(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _written(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _cut(self, why: str) -> None:
        if self._is_time(why):
            _log.warning("a connection from %s is cut: %s", self.client and self.client[0], why)
        self.transport.abort()


class _Cycle(RequestResponseCycle):
    """One request and its answer, which is written at once where it is whole.

    Its head waits for the first part of its body, as ASGI has it.
    """

    _head: Any = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and not self.response_started:
            self._head = message
            return
        head, self._head = self._head, None
        if head is not None:
            if self._is_sent(head, message):
                return
            await super().send(head)
        await super().send(message)

    def _is_sent(self, head: Any, message: Any) -> bool:
        """Send an answer that has nothing odd about it; return whether it is sent."""
        is_plain = self.keep_alive and self.scope["method"] != "HEAD" and head["status"] >= 200
        if not is_plain or message.get("more_body") or self.flow.write_paused or self.disconnected:
            return False
        length, body = -1, message["body"]
        content = [STATUS_LINE[head["status"]]]
        for name, value in (*self.default_headers, *head["headers"]):
            if name in _OF_CONNECTION or _ODD.search(value):
                return False
            if name == b"content-length":
                length = int(value)
            content += (name, b": ", value, b"\r\n")
        if length != len(body):
            return False
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        content += (b"\r\n", body)
        self.transport.write(b"".join(content))
        self.message_event.set()
        self.on_response()
        return True


class Waiting:
    """Connections of which no whole request is being answered, the one that waits longest first.

    Those that wait for a request for ``idle_s`` are closed, a second later at the most.
    """

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._since: dict[BoundedProtocol, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: BoundedProtocol) -> None:
        """Let a connection wait from now on."""
        self.discard(connection)
        self._since[connection] = now = connection.loop.time()
        if self._timer is None:
            self._timer = connection.loop.call_at(now + self._idle_s, self._look, connection.loop)

    def discard(self, connection: BoundedProtocol) -> None:
        self._since.pop(connection, None)

    def longest(self, least_s: float) -> BoundedProtocol | None:
        """Return the one that waits longest, if it does so for a time at least."""
        for connection, since in self._since.items():
            return connection if connection.loop.time() - since >= least_s else None
        return None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection, since in list(self._since.items()):
            if since + self._idle_s > now:
                break
            connection.leave()
        first = next(iter(self._since.values()), None)
        again = None if first is None else max(first + self._idle_s, now + _MOMENT_S)
        self._timer = None if again is None else loop.call_at(again, self._look, loop)


def _has_body(name: bytes, value: bytes) -> bool:
    """Whether a header says that a body follows."""
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ") != b"")
