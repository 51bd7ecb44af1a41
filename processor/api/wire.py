"""The bytes of a connection within their bounds: what uvicorn's protocol lets run without end.

That is a client that connects and says nothing, one that sends its headers or its body bit by bit,
headers without end, requests that do not wait for answers, and a client that does not read. What
stands behind a body, or behind a request for another protocol, is neither a header nor a request.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from processor.api.options import HttpOptions
from processor.api.problems import HttpProblem, problem_of
from processor.api.routing import encoded_answer
from processor.seldom import Seldom

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ("BoundedProtocol",)

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

_PART_BYTES: Final = 16_000
"""So much is read at once, so that no head goes far beyond its bound before it is looked at."""

_LAST: Final = (
    b"HTTP/1.1 %d %s\r\nconnection: close\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\n\r\n%s"
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A server makes a subclass with its ``options``, and what stands below them.

    ``connections_max`` are those that the process has files for.
    """

    options: ClassVar[HttpOptions]
    connections_max: ClassVar[int]
    _is_time: ClassVar[Seldom] = Seldom(_SAY_EVERY_S)

    waiting: ClassVar[dict[BoundedProtocol, float]]
    """Connections of which no whole request is being answered, the one that waits longest first,
    and since when by the clock of the loop.
    """

    _in_head = True
    _is_whole = False
    """Whether nothing has come since the end of a request."""

    _why = ""
    _last = b""
    """What the client is told when all that it asked before has its answer; no more is read."""

    _begun: RequestResponseCycle | None = None
    """The request that is being answered: the latest one, ``cycle``, may wait for it."""

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
            self.waiting[self] = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.pop(self, None)
        if self._begun is not None and self._begun is not self.cycle:
            self._begun.disconnected = True
            self._begun.message_event.set()
        self._unlimited()
        self._written()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if len(data) > _PART_BYTES:
            for begin in range(0, len(data), _PART_BYTES):
                self.data_received(data[begin : begin + _PART_BYTES])
            return
        if self._last or self.transport.is_closing():
            return
        self._is_whole = False
        self._raw += len(data)
        super().data_received(data)
        if self._last or self.transport.is_closing():
            return
        if self._in_head and self._raw > HEAD_BYTES_MAX:
            self._end(431, f"a request has at most {HEAD_BYTES_MAX} bytes of headers")
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
        self._in_head = False
        self._unlimited()
        super().on_headers_complete()
        if is_upgrade:  # the parser leaves what follows to another protocol
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._unlimited()
        self._in_head, self._is_whole, self._raw = True, True, 0
        if not self.cycle.response_complete:
            self.waiting.pop(self, None)
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._begun = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Tell what the parser does not take; called where its error is handled."""
        self._end(
            400,
            self._why
            or f"what came is no request of HTTP/1.1 ({sys.exception()}). What is not ASCII in an "
            "address is percent-encoded",
        )

    def on_response_complete(self) -> None:
        is_idle = not self.pipeline
        super().on_response_complete()
        if is_idle and not self.transport.is_closing():
            self.waiting[self] = self.loop.time()
            if self._last:
                self._tell_last()

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

    def _end(self, status: int, why: str) -> None:
        """Let a problem be the last answer of the connection, behind all that it owes.

        A client takes answers in the order of its requests.
        """
        status, _, body = problem_of(HttpProblem(status, why))
        content = encoded_answer(body)
        self._last = _LAST % (status, body["title"].encode(), len(content), content)
        self._unlimited()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body or cycle.response_started:
                return
            if self.pipeline:  # half of it has come, and it is not begun
                self.pipeline.popleft()
                return
        self._tell_last()

    def _tell_last(self) -> None:
        self.transport.write(self._last)
        self.transport.close()

    def _made_room(self) -> bool:
        """Cut the connection that has been without a whole request for the longest time.

        Each has a moment to send one, however many others come: else nobody would be served where
        thousands come again and again.
        """
        oldest = next(iter(self.waiting), None)
        if oldest is None or self.loop.time() - self.waiting[oldest] < _MOMENT_S:
            return False
        del self.waiting[oldest]
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


def _has_body(name: bytes, value: bytes) -> bool:
    """Whether a header says that a body follows."""
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ") != b"")
