"""External events: kept by name in the order of arrival until the code waits for them.

An event is handed to the first waiter of its name at once. A waiter that is cancelled before it
runs again puts the event back in front, so that none is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from processor.core.nouns.external import EventRejected
from processor.errors import SchemaMismatch
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._engine.requests import Requests
from processor.workflow._frames import waits_for_event

__all__ = ("Inbox", "expire_after")


class _Waiter:
    __slots__ = ("decode", "future", "line", "payload")

    def __init__(
        self, future: asyncio.Future[Any], decode: Callable[[bytes | None], Any], line: str
    ) -> None:
        self.future = future
        self.decode = decode
        self.line = line
        self.payload: bytes | None = None


Decode = Callable[[Callable[[bytes | None], Any], bytes | None], Any]
"""Decodes a payload for a run."""


class Inbox:
    """The events of one run that its code has not taken, and who waits for which name.

    ``unread`` counts them.
    """

    __slots__ = ("_decode", "_loop", "_requests", "_unread", "_waiters", "unread")

    def __init__(self, loop: WorkflowLoop, requests: Requests, decode: Decode) -> None:
        self._loop = loop
        self._decode = decode
        self._requests = requests
        self.unread = 0
        self._unread: dict[str, deque[bytes | None]] = {}
        self._waiters: dict[str, deque[_Waiter]] = {}

    def receive(self, name: str, payload: bytes | None) -> None:
        self._unread.setdefault(name, deque()).append(payload)
        self.unread += 1
        self._deliver(name)

    @waits_for_event
    async def wait(
        self, name: str, decode: Callable[[bytes | None], Any], timeout_ms: int | None, line: str
    ) -> Any:
        """Return the next event of a name that fits; ``TimeoutError`` when none came in time."""
        future: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        waiter = _Waiter(future, decode, line)
        self._waiters.setdefault(name, deque()).append(waiter)
        self._deliver(name)
        timer = None
        try:
            if timeout_ms is not None and not future.done():
                timer = expire_after(self._loop, future, timeout_ms, f"no event {name!r}", line)
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._unread.setdefault(name, deque()).appendleft(waiter.payload)
                self.unread += 1
                self._deliver(name)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._forget(name, waiter)

    def _forget(self, name: str, waiter: _Waiter) -> None:
        waiters = self._waiters.get(name)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[name]

    def _deliver(self, name: str) -> None:
        unread, waiters = self._unread.get(name), self._waiters.get(name)
        while unread and waiters:
            waiter = waiters[0]
            if waiter.future.done():
                waiters.popleft()
                continue
            payload = unread[0]
            try:
                value = self._decode(waiter.decode, payload)
            except SchemaMismatch as error:
                rejected = EventRejected(name, payload, str(error))
                size, what = len(payload or b""), f"the rejection of event {name!r}"
                self._requests.add(rejected, waiter.line, size, what)
                unread.popleft()
                self.unread -= 1
                continue
            unread.popleft()
            self.unread -= 1
            waiters.popleft()
            waiter.payload = payload
            waiter.future.set_result(value)
        if unread is not None and not unread:
            del self._unread[name]
        if waiters is not None and not waiters:
            del self._waiters[name]


def expire_after(
    loop: WorkflowLoop, future: asyncio.Future[Any], timeout_ms: int, what: str, line: str
) -> asyncio.Handle:
    """Make a future raise ``TimeoutError`` after a while; asyncio's way when that is over now."""
    error = TimeoutError(f"{what} within {timeout_ms / 1000:g} s")
    return loop.start_timer(loop.now_ms + timeout_ms, _expire, (future, error), line)


def _expire(future: asyncio.Future[Any], error: TimeoutError) -> None:
    if not future.done():
        future.set_exception(error)
