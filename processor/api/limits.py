"""A bound on how long something takes, where very much of it is short: one timer for all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ("OverTime", "TimeLimit")

T = TypeVar("T")


class OverTime(TimeoutError):
    """The time of a ``TimeLimit`` is over."""


class TimeLimit:
    """Lets nothing take longer than ``seconds``, as ``asyncio.timeout`` does.

    All have the same time, so that the one that began first is over first: a single timer waits
    for that, and is not touched by what ends before.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._running: dict[asyncio.Task[Any], float] = {}
        self._over: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, work: Awaitable[T]) -> T:
        """Return what the work returns. Raises ``OverTime`` once it is cancelled for its time."""
        task = asyncio.current_task()
        assert task is not None and task not in self._running, "a task has one work at a time"
        loop, cancelling = task.get_loop(), task.cancelling()
        self._running[task] = due = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._look)
        try:
            return await work
        except asyncio.CancelledError as error:
            if task in self._over and task.uncancel() <= cancelling:
                raise OverTime(f"it took longer than {self.seconds:g} s") from error
            raise
        finally:
            self._running.pop(task, None)
            self._over.discard(task)

    def _look(self) -> None:
        """Cancel what is over, and wait for the next one."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for task, due in list(self._running.items()):
            if due > now:
                self._timer = loop.call_at(due, self._look)
                return
            del self._running[task]
            self._over.add(task)
            task.cancel()
