"""External events: kept by name in the order of arrival until the code waits for them.

An event is handed to the first waiter of its name at once. A waiter that is cancelled before it
runs again puts the event back in front, so that none is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar, overload

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

    Events are kept from the start of the run, in the order in which they arrived; each is given
    to one waiter. One that does not fit ``type`` goes to the dead letters, and the wait goes on.
    Raises ``TimeoutError`` when none came in time.
    """
    runtime = current("wait_for_event")
    name = checks.name(name, "workflow.wait_for_event: name")
    lasts_ms = timeout_ms(timeout, "workflow.wait_for_event: timeout")
    events = runtime.part(ExternalEvents)
    return events.wait(name, runtime.decoder(type), lasts_ms, line_here())


@settles(EventReceived)
def _received(runtime: Runtime, fact: EventReceived) -> None:
    runtime.part(ExternalEvents).receive(fact.name, fact.payload)


class _Waiter:
    __slots__ = ("decode", "future", "line", "payload")

    def __init__(self, future: asyncio.Future[Any], decode: Decode, line: str) -> None:
        self.future = future
        self.decode = decode
        self.line = line
        self.payload: bytes | None = None


class ExternalEvents:
    """The events of one run that its code has not taken, and who waits for which name.

    ``unread`` counts them.
    """

    __slots__ = ("_runtime", "_unread", "_waiters", "unread")

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.unread = 0
        self._unread: dict[str, deque[bytes | None]] = {}
        self._waiters: dict[str, deque[_Waiter]] = {}

    def receive(self, name: str, payload: bytes | None) -> None:
        self._unread.setdefault(name, deque()).append(payload)
        self.unread += 1
        self._deliver(name)

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
                value = self._runtime.decoded(waiter.decode, payload)
            except SchemaMismatch as error:
                rejected = EventRejected(name, payload, str(error))
                size, what = len(payload or b""), f"the rejection of event {name!r}"
                self._runtime.decisions.add(rejected, waiter.line, size, what)
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
