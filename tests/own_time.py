"""An event loop with a time of its own: what is proven of times holds on a slow machine, too."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ("OwnTime", "in_own_time")

T = TypeVar("T")
_STEPS = 10


class _Selector(selectors.DefaultSelector):
    """Keeps the time, because a loop that has nothing to do waits here for its next timer."""

    def __init__(self, jumps: bool) -> None:
        super().__init__()
        self.jumps = jumps
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if timeout is None or not self.jumps:
            return super().select()
        self.now_s += timeout
        return []


class OwnTime(asyncio.SelectorEventLoop):
    """A loop whose time stands while code runs, and goes on to the next timer when all code waits.

    Without ``jumps`` only ``pass_s`` moves its time: for tests with threads, of which a loop cannot
    know whether they wait.
    """

    def __init__(self, *, jumps: bool = True) -> None:
        self._time = _Selector(jumps)
        super().__init__(self._time)

    def time(self) -> float:
        return self._time.now_s

    def pass_s(self, seconds: float) -> None:
        """Let time pass; called in a thread. What the thread told the loop before comes first.

        It passes in steps, so that what others told the loop comes to its end meanwhile.
        """
        for _ in range(_STEPS):
            done = threading.Event()
            self.call_soon_threadsafe(self._pass, seconds / _STEPS, done)
            assert done.wait(60), "the loop stands still"

    def _pass(self, seconds: float, done: threading.Event) -> None:
        self._time.now_s += seconds
        done.set()


def in_own_time(main: Coroutine[Any, Any, T], loop: OwnTime | None = None) -> T:
    """Run a coroutine on a loop with a time of its own."""
    with asyncio.Runner(loop_factory=lambda: loop or OwnTime()) as runner:
        return runner.run(main)
