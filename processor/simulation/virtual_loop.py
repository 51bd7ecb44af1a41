"""An asyncio loop in virtual time, on which the activities of one simulated host run.

It is asyncio's own loop, turned one iteration at a time by the scheduler: its clock is the
virtual one, so that a sleep costs nothing, and whatever it is about to do is a step among others.
Sockets work too (a test may talk to a real server); threads do not run beside it: what would go
to an executor is called at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import selectors
from asyncio import _get_running_loop, _set_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from processor.simulation.scheduler import Scheduler

__all__ = ("VirtualLoop",)

_AHEAD_S = 1e-6
"""What the loop's clock is ahead of the scheduler's, so that no rounding makes a timer late."""


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler = scheduler
        self._name = name
        self._begin_ms = scheduler.now_ms
        self._turn_scheduled = False
        self._held = False
        self._dead = False
        self._files = selectors.DefaultSelector()
        super().__init__(self._files)

    @property
    def waits_for_io(self) -> bool:
        """Whether something real is open, so that time must not be skipped yet."""
        return not self._dead and len(self._files.get_map()) > 1  # its own pipe is one

    def turn(self) -> None:
        """Do what is due now, once."""
        self._turn_scheduled = False
        if self._dead or self._held:
            return
        outer = _get_running_loop()
        _set_running_loop(None)
        try:
            self.stop()
            self.run_forever()
        finally:
            _set_running_loop(outer)

    def hold(self) -> None:
        """Stand still until ``release``."""
        self._held = True

    def release(self) -> None:
        self._held = False
        self._wake()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let code that asks for the running loop find this one."""
        outer = _get_running_loop()
        _set_running_loop(self)
        try:
            yield
        finally:
            _set_running_loop(outer)

    def kill(self) -> None:
        """End everything on it, without any of it running on."""
        self._dead = True
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with self.entered():
                _close(task.get_coro())
        self.close()

    def time(self) -> float:
        return (self._scheduler.now_ms - self._begin_ms) / 1000 + _AHEAD_S

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
        self, executor: object, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
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
