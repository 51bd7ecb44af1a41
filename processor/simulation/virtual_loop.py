"""An asyncio loop in virtual time, on which the activities of one simulated host run.

It is asyncio's own loop, turned one iteration at a time by the scheduler: its clock is the
virtual one, so that a sleep costs nothing, and whatever it is about to do is a step among others.
Sockets work too (a test may talk to a real server). What would go to an executor is called at
once, unless ``threads`` are given: then it runs in one of those, beside the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import selectors
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from processor.simulation.scheduler import Scheduler
from processor.simulation.threads import Threads
from processor.workflow._asyncio import (
    drop_silently,
    run_handle,
    running_loop,
    set_running_loop,
)

__all__ = ("VirtualLoop",)

_AHEAD_S = 1e-6
"""What the loop's clock is ahead of the scheduler's, so that no rounding makes a timer late."""


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, scheduler: Scheduler, name: str, threads: Threads | None = None) -> None:
        self._scheduler = scheduler
        self._name = name
        self._begin_ms = scheduler.now_ms
        self._turn_scheduled = False
        self._held = False
        self._dead = False
        self._threads = threads
        self._files = selectors.DefaultSelector()
        super().__init__(self._files)

    @property
    def waits_for_threads(self) -> bool:
        """Whether something runs in a thread, so that time must not be skipped yet."""
        return not self._dead and self._threads is not None and self._threads.busy

    @property
    def waits_for_io(self) -> bool:
        """Whether something real is open, so that time must not be skipped yet."""
        return not self._dead and len(self._files.get_map()) > 1  # its own pipe is one

    def turn(self) -> None:
        """Do what is due now, once."""
        self._turn_scheduled = False
        if self._dead or self._held:
            return
        outer = running_loop()
        set_running_loop(None)
        try:
            self.stop()
            self.run_forever()
        finally:
            set_running_loop(outer)

    def take_from_threads(self, *, unfinished: bool) -> bool:
        """Take what threads have brought; with ``unfinished``, although others still run."""
        if self._threads is None or not (unfinished or self._threads.complete):
            return False
        taken = self._threads.take()
        for handle in taken:
            self.call_soon(run_handle, handle)
        return bool(taken)

    def hold(self) -> None:
        """Stand still until ``release``."""
        self._held = True

    def release(self) -> None:
        self._held = False
        self._wake()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let code that asks for the running loop find this one."""
        outer = running_loop()
        set_running_loop(self)
        try:
            yield
        finally:
            set_running_loop(outer)

    def kill(self) -> None:
        """End everything on it, without any of it running on."""
        self._dead = True
        if self._threads is not None:
            self._threads.close()
        for task in asyncio.all_tasks(self):
            drop_silently(task)
            with self.entered():
                _close(task.get_coro())
        self.close()

    def time(self) -> float:
        now_s = (self._scheduler.now_ms - self._begin_ms) / 1000 + _AHEAD_S
        if self._threads is not None and self._threads.is_inside:
            return now_s + self._threads.ahead_s()
        return now_s

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        self._wake()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        if self._threads is not None and self._threads.is_inside:
            handle = asyncio.Handle(callback, args, self, context)
            self._threads.put(handle)
            return handle
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        self._wake()
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        due_ms = self._begin_ms + math.ceil(round(when * 1000, 2))
        if when >= self.time():  # however little: whoever asks again and again must see time pass
            due_ms = max(due_ms, self._scheduler.now_ms + 1)
        self._scheduler.at(due_ms, f"{self._name} timer", self._wake)
        return handle

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        if self._threads is not None:
            return self._threads.call(self, executor, function, args)
        future = self.create_future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # handed on, as an executor does
            future.set_exception(error)
        return future

    def _wake(self) -> None:
        if not self._turn_scheduled and not self._dead:
            self._turn_scheduled = True
            self._scheduler.soon(f"{self._name} turn", self.turn)


def _close(coroutine: Any) -> None:
    try:
        coroutine.close()
    except (Exception, asyncio.CancelledError):  # its clean-up code failed; it is gone anyway
        return
