"""External events: kept by name in the order of arrival until the code waits for them.

An event is handed to the first waiter of its name at once. A waiter that is cancelled before it
runs again puts the event back in front, so that none is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar, overload

from processor import checks
from processor.core.nouns.external import EventReceived, EventRejected
from processor.errors import SchemaMismatch
from processor.workflow._context import current
from processor.workflow._engine.runtime import Decode, Runtime, settles
from processor.workflow._frames import line_here, waits_for_event
from processor.workflow._nouns.timer import expire_after, timeout_ms
from processor.workflow._options import TypeForm

__all__ = ("ExternalEvents", "wait_for_event")

T = TypeVar("T")


@overload
def wait_for_event(
    name: str, type: type[T], timeout: timedelta | float | None = None
) -> Coroutine[object, None, T]: ...


@overload
def wait_for_event(
    name: str, type: TypeForm = ..., timeout: timedelta | float | None = None
) -> Coroutine[object, None, Any]: ...


def wait_for_event(
    name: str, type: Any = Any, timeout: timedelta | float | None = None
) -> Coroutine[object, None, Any]:
    """Wait for the next external event of a name, and return its value.

    Events are kept from the start of the run, in the order in which they arrived. Each event is
    given to one wait. An event that does not fit ``type`` goes to the dead letters, and the wait
    goes on. ``timeout`` is a ``timedelta`` or seconds (default: none). Raises ``TimeoutError`` when
    no event came in time.
    """
    runtime = current("wait_for_event")
    name = checks.name(name, "workflow.wait_for_event: name")
    lasts_ms = timeout_ms(timeout, "workflow.wait_for_event: timeout")
    events = runtime.part(ExternalEvents)
    return events.wait(name, runtime.decoder(type), lasts_ms, line_here())


@settles(EventReceived)
def _received(runtime: Runtime, fact: EventReceived) -> None:
    runtime.part(ExternalEvents).receive(fact)


_Numbered: TypeAlias = tuple[int, EventReceived]
"""An event, and which one it was to arrive."""


class _Waiter:
    """``event`` is what it was handed, with its number."""

    __slots__ = ("decode", "event", "future", "line")

    def __init__(self, future: asyncio.Future[Any], decode: Decode, line: str) -> None:
        self.future = future
        self.decode = decode
        self.line = line
        self.event: _Numbered | None = None


class ExternalEvents:
    """The events of one run that its code has not taken, and who waits for which name.

    ``unread`` counts them, and ``unread_bytes`` their bytes. ``_handed`` are waiters that have been
    given an event and have not run since: the code has not seen it yet. ``_handed_over`` are events
    of handlers that have not begun.
    """

    __slots__ = (
        "_handed",
        "_handed_over",
        "_number",
        "_runtime",
        "_unread",
        "_waiters",
        "unread",
        "unread_bytes",
    )

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._number = 0
        self.unread = self.unread_bytes = 0
        self._unread: dict[str, deque[_Numbered]] = {}
        self._waiters: dict[str, deque[_Waiter]] = {}
        self._handed: set[_Waiter] = set()
        self._handed_over: dict[int, EventReceived] = {}

    def receive(self, event: EventReceived) -> None:
        self._number += 1
        self._unread.setdefault(event.name, deque()).append((self._number, event))
        self._count(event, 1)
        if self._runtime.code.takes(event.name):
            self.handle(event.name)
        else:
            self._deliver(event.name)

    def handle(self, name: str | None) -> None:
        """Give the unread events of a name, or all, to the handlers.

        They stay unread until the handler begins.
        """
        runtime, code = self._runtime, self._runtime.code
        names = [each for each in list(self._unread) if name in (None, each) and code.takes(each)]
        events = [each for one in names for each in self._unread.pop(one)]
        for number, event in sorted(events, key=itemgetter(0)):
            self._handed_over[number] = event
            if not code.receive(runtime, event, partial(self._taken, number)):
                self._taken(number)

    def _taken(self, number: int) -> None:
        self._count(self._handed_over.pop(number), -1)

    def left(self) -> list[EventReceived]:
        """Return the events that the code has not taken, in the order of their arrival."""
        found = [each for events in self._unread.values() for each in events]
        found += self._handed_over.items()
        found += [waiter.event for waiter in self._handed if waiter.event is not None]
        return [event for _, event in sorted(found, key=itemgetter(0))]

    def _count(self, event: EventReceived, more: int) -> None:
        self.unread += more
        self.unread_bytes += more * event.size

    @waits_for_event
    async def wait(self, name: str, decode: Decode, timeout_ms: int | None, line: str) -> Any:
        """Return the next event of a name that fits; ``TimeoutError`` when none came in time."""
        loop = self._runtime.loop
        future: asyncio.Future[Any] = asyncio.Future(loop=loop)
        waiter = _Waiter(future, decode, line)
        self._waiters.setdefault(name, deque()).append(waiter)
        self._deliver(name)
        timer = None
        try:
            if timeout_ms is not None and not future.done():
                timer = expire_after(loop, future, timeout_ms, f"no event {name!r}", line)
            return await future
        except asyncio.CancelledError:
            event = waiter.event
            if event is not None and not future.cancelled() and future.exception() is None:
                self._unread.setdefault(name, deque()).appendleft(event)
                self._count(event[1], 1)
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
                value = self._runtime.decoded(waiter.decode, payload)
            except SchemaMismatch as error:
                rejected = EventRejected(name, payload, str(error))
                size, what = len(payload or b""), f"the rejection of event {name!r}"
                self._runtime.decisions.add(rejected, waiter.line, size, what)
                unread.popleft()
                self._count(event, -1)
                continue
            unread.popleft()
            self._count(event, -1)
            waiters.popleft()
            waiter.event = numbered
            self._handed.add(waiter)
            waiter.future.set_result(value)
        if unread is not None and not unread:
            del self._unread[name]
        if waiters is not None and not waiters:
            del self._waiters[name]
