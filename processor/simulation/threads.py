"""Real threads beside a virtual loop: what they bring waits until the world takes it, in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import count
from typing import Any

__all__ = ("Threads",)

_here = threading.local()


class Threads:
    """Calls of one virtual loop that run in threads, or wait for one.

    ``ahead_s`` is how far time has come for them, while the scheduler's still stands.
    """

    def __init__(self) -> None:
        self.ahead_s: Callable[[], float] = lambda: 0.0
        self._notify: Callable[[], None] = lambda: None
        self._owner = threading.get_ident()
        self._default: ThreadPoolExecutor | None = None
        self._numbers = count(1)
        self._calls: set[asyncio.Future[Any]] = set()
        self._lock = threading.Lock()
        self._arrived: list[tuple[int, asyncio.Handle]] = []
        self._ended = 0
        self._closed = False

    def begin(self, notify: Callable[[], None], ahead_s: Callable[[], float]) -> None:
        """Belong to the thread that calls this; ``notify`` it when something has arrived."""
        self._owner = threading.get_ident()
        self._notify = notify
        self.ahead_s = ahead_s

    @property
    def is_inside(self) -> bool:
        """Whether this is called from one of the threads, not from that of the world."""
        return threading.get_ident() != self._owner

    @property
    def busy(self) -> bool:
        """Whether somebody waits for what runs in a thread."""
        return bool(self._calls)

    @property
    def complete(self) -> bool:
        """Whether every call that somebody waits for has ended."""
        return self._ended >= len(self._calls)

    def call(
        self,
        loop: asyncio.AbstractEventLoop,
        executor: Executor | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> asyncio.Future[Any]:
        """Run a function in an executor's thread; the future is done when the loop takes it."""
        if executor is None:
            executor = self._default = self._default or ThreadPoolExecutor()
        number = next(self._numbers)
        future: asyncio.Future[Any] = loop.create_future()
        self._calls.add(future)
        if isinstance(executor, ThreadPoolExecutor):
            called = executor.submit(_numbered, number, function, args)
        else:
            called = executor.submit(function, *args)

        def over(done: asyncio.Future[Any]) -> None:
            self._calls.discard(done)
            if done.cancelled():
                called.cancel()

        future.add_done_callback(over)
        called.add_done_callback(lambda ended: self._end(loop, number, future, ended))
        return future

    def put(self, handle: asyncio.Handle) -> None:
        """Keep a callback for the loop until it is taken. Called from a thread."""
        self._put(getattr(_here, "number", 0), handle, 0)

    def take(self) -> list[asyncio.Handle]:
        """Return what has arrived: by the order in which the calls began, not in which they ran."""
        with self._lock:
            arrived, self._arrived, self._ended = self._arrived, [], 0
        return [handle for _, handle in sorted(arrived, key=lambda each: each[0])]

    def close(self) -> None:
        """Take nothing any more. What runs goes on, and nobody hears of it."""
        self._closed = True
        self._arrived.clear()
        if self._default is not None:
            self._default.shutdown(wait=False, cancel_futures=True)

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        number: int,
        future: asyncio.Future[Any],
        ended: Future[Any],
    ) -> None:
        self._put(number, asyncio.Handle(_resolve, (future, ended), loop), int(not future.done()))

    def _put(self, number: int, handle: asyncio.Handle, ends: int) -> None:
        if self._closed:
            return
        with self._lock:
            self._arrived.append((number, handle))
            self._ended += ends
        self._notify()


def _numbered(number: int, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    _here.number = number
    try:
        return function(*args)
    finally:
        _here.number = 0


def _resolve(future: asyncio.Future[Any], ended: Future[Any]) -> None:
    if future.done():
        return
    if ended.cancelled():
        future.cancel()
    elif (error := ended.exception()) is None:
        future.set_result(ended.result())
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError("the function raised StopIteration"))
    else:
        future.set_exception(error)
