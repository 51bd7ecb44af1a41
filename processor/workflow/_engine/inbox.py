"""External events: kept by name in the order of arrival until the code waits for them.

An event is handed to the first waiter of its name at once. A waiter that is cancelled before it
runs again puts the event back in front, so that none is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Any, TypeAlias

from processor.core.nouns.external import EventReceived, EventRejected
from processor.errors import SchemaMismatch
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._engine.requests import Requests
from processor.workflow._frames import waits_for_event

__all__ = ("Inbox", "expire_after")


_Numbered: TypeAlias = tuple[int, EventReceived]
"""An event, and which one it was to arrive."""


class _Waiter:
    """``event`` is what it was handed, with its number."""

    __slots__ = ("decode", "event", "future", "line")

    def __init__(
        self, future: asyncio.Future[Any], decode: Callable[[bytes | None], Any], line: str
    ) -> None:
        self.future = future
        self.decode = decode
        self.line = line
        self.event: _Numbered | None = None


Decode = Callable[[Callable[[bytes | None], Any], bytes | None], Any]
"""Decodes a payload for a run."""


class Inbox:
    """The events of one run that its code has not taken, and who waits for which name.

    ``unread`` counts them, and ``unread_bytes`` their bytes. ``_handed`` are waiters that have been
    given an event and have not run since: the code has not seen it yet.
    """

    __slots__ = (
        "_decode",
        "_handed",
        "_loop",
        "_number",
        "_requests",
        "_unread",
        "_waiters",
        "unread",
        "unread_bytes",
    )

    def __init__(self, loop: WorkflowLoop, requests: Requests, decode: Decode) -> None:
        self._loop = loop
        self._decode = decode
        self._requests = requests
        self._number = 0
        self.unread = self.unread_bytes = 0
        self._unread: dict[str, deque[_Numbered]] = {}
        self._waiters: dict[str, deque[_Waiter]] = {}
        self._handed: set[_Waiter] = set()

    def receive(self, event: EventReceived) -> None:
        self._number += 1
        self._unread.setdefault(event.name, deque()).append((self._number, event))
        self._counted(event, 1)
        self._deliver(event.name)

    def left(self) -> list[EventReceived]:
        """Return the events that the code has not taken, in the order of their arrival."""
        found = [each for events in self._unread.values() for each in events]
        found += [waiter.event for waiter in self._handed if waiter.event is not None]
        return [event for _, event in sorted(found, key=itemgetter(0))]

    def _counted(self, event: EventReceived, count: int) -> None:
        self.unread += count
        self.unread_bytes += count * event.size

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
            event = waiter.event
            if event is not None and not future.cancelled() and future.exception() is None:
                self._unread.setdefault(name, deque()).appendleft(event)
                self._counted(event[1], 1)
                self._deliver(name)
            raise
        finally:
            self._handed.discard(waiter)
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
            numbered = unread[0]
            event = numbered[1]
            payload = event.payload
            try:
                value = self._decode(waiter.decode, payload)
            except SchemaMismatch as error:
                rejected = EventRejected(name, payload, str(error))
                size, what = len(payload or b""), f"the rejection of event {name!r}"
                self._requests.add(rejected, waiter.line, size, what)
                unread.popleft()
                self._counted(event, -1)
                continue
            unread.popleft()
            self._counted(event, -1)
            waiters.popleft()
            waiter.event = numbered
            self._handed.add(waiter)
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
