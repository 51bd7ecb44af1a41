"""External events: kept by name in the order of arrival until the code waits for them.

An event is handed to the first waiter of its name at once. A waiter that is cancelled before it
runs again puts the event back in front, so that none is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar, overload

from processor import checks
from processor.core.event import Event
from processor.core.nouns.chain import external_events
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
    runtime = current("wait_for_event", awaited=True)
    name = checks.name(name, "workflow.wait_for_event: name")
    lasts_ms = timeout_ms(timeout, "workflow.wait_for_event: timeout")
    events = runtime.part(ExternalEvents)
    decode = runtime.decoder(type, "workflow.wait_for_event: type")
    return events.wait(name, decode, lasts_ms, line_here())


@settles(EventReceived)
def _received(runtime: Runtime, fact: EventReceived) -> None:
    runtime.part(ExternalEvents).receive(fact)


_Numbered: TypeAlias = tuple[int, EventReceived, int]
"""Which event it was to arrive, the event, and its size."""


class _Waiter:
    """``event`` is what it was handed; ``over``: it has run since, or waits no more."""

    __slots__ = ("decode", "event", "future", "line", "over")

    def __init__(self, future: asyncio.Future[Any], decode: Decode, line: str) -> None:
        self.future = future
        self.decode = decode
        self.line = line
        self.event: _Numbered | None = None
        self.over = False


class _Handed:
    """An event in the hands of a handler; ``over``: the handler has begun."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = False

    def begins(self) -> None:
        self.over = True


class ExternalEvents:
    """The events of one run that its code has not taken, and who waits for which name.

    ``unread`` counts them, and ``unread_bytes`` their bytes. ``_given`` are those that waiters and
    handlers were given in the turn ``_turn``, or that did not fit. Code sees what it is given
    within that turn, unless it ends before.
    """

    __slots__ = (
        "_given",
        "_number",
        "_runtime",
        "_turn",
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
        self._given: list[tuple[_Numbered, _Waiter | _Handed | None]] = []
        self._turn = 0

    def receive(self, event: EventReceived) -> None:
        self._number += 1
        size = event.size
        self._unread.setdefault(event.name, deque()).append((self._number, event, size))
        self.unread += 1
        self.unread_bytes += size
        self._hand_out(event.name)

    def _hand_out(self, name: str) -> None:
        """Give what is unread to the handler of the name, to waiters, or to the dynamic one."""
        code = self._runtime.code
        if not code.names(name):
            self._deliver(name)
        if code.takes(name):
            self.handle(name)

    def handle(self, name: str | None) -> None:
        """Give the unread events of a name, or all, to the handlers."""
        runtime, code = self._runtime, self._runtime.code
        names = [each for each in list(self._unread) if name in (None, each) and code.takes(each)]
        self._begin_turn()
        for numbered in sorted(each for one in names for each in self._unread.pop(one)):
            _, event, size = numbered
            self.unread -= 1
            self.unread_bytes -= size
            handed = _Handed()
            fits = code.receive(runtime, event, handed.begins)
            self._given.append((numbered, handed if fits else None))

    def left(self) -> list[EventReceived]:
        """Return the events that the code has not taken, in the order of their arrival."""
        waits = [each for each, waiter in self._given if waiter is not None and not waiter.over]
        return self._in_order(waits)

    def before(self, facts: Sequence[Event]) -> list[EventReceived]:
        """Return them as they were before the turn that was given these facts."""
        given = self._given if self._turn == self._runtime.turn else []
        came = {id(event) for event in external_events(facts)}
        found = self._in_order([each for each, _ in given])
        return [event for event in found if id(event) not in came]

    def _in_order(self, more: list[_Numbered]) -> list[EventReceived]:
        found = {each[0]: each[1] for events in self._unread.values() for each in events}
        found.update({each[0]: each[1] for each in more})
        return [found[number] for number in sorted(found)]

    @waits_for_event
    async def wait(self, name: str, decode: Decode, timeout_ms: int | None, line: str) -> Any:
        """Return the next event of a name that fits; ``TimeoutError`` when none came in time."""
        loop = self._runtime.loop
        future: asyncio.Future[Any] = asyncio.Future(loop=loop)
        waiter = _Waiter(future, decode, line)
        self._waiters.setdefault(name, deque()).append(waiter)
        if name in self._unread:
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
                self.unread += 1
                self.unread_bytes += event[2]
                self._hand_out(name)
            raise
        finally:
            waiter.over = True
            if timer is not None:
                timer.cancel()
            self._forget(name, waiter)
            del future, timer, waiter

    def _forget(self, name: str, waiter: _Waiter) -> None:
        waiters = self._waiters.get(name)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[name]

    def _begin_turn(self) -> None:
        turn = self._runtime.decisions.turn
        if self._turn != turn:
            self._turn, self._given = turn, []

    def _deliver(self, name: str) -> None:
        unread, waiters = self._unread.get(name), self._waiters.get(name)
        self._begin_turn()
        while unread and waiters:
            waiter = waiters[0]
            if waiter.future.done():
                waiters.popleft()
                continue
            numbered = unread[0]
            _, event, bytes = numbered
            payload = event.payload
            try:
                value = self._runtime.decoded(waiter.decode, payload)
            except SchemaMismatch as error:
                rejected = EventRejected(name, payload, str(error))
                size, what = len(payload or b""), f"the rejection of event {name!r}"
                self._runtime.decisions.add(rejected, waiter.line, size, what)
                unread.popleft()
                self.unread -= 1
                self.unread_bytes -= bytes
                self._given.append((numbered, None))
                continue
            unread.popleft()
            self.unread -= 1
            self.unread_bytes -= bytes
            waiters.popleft()
            waiter.event = numbered
            self._given.append((numbered, waiter))
            waiter.future.set_result(value)
        if unread is not None and not unread:
            del self._unread[name]
        if waiters is not None and not waiters:
            del self._waiters[name]
