"""A simulated world inside a real asyncio loop: for tests that are coroutines themselves.

Steps run in plain callbacks, between whatever the test's own tasks do. Virtual time moves only
when nothing is left to do at this moment, the test's tasks had their turn, and somebody waits
for a result or sleeps. Before it moves, whoever waits may look whether that can come at all.

While something real runs (a function in a thread, an open socket), virtual time does not jump: it
passes as real time does. What is over in a moment takes no virtual time, so that it is the same
each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from processor.simulation.hosts.host import Host
from processor.simulation.threads import Threads
from processor.simulation.virtual_loop import VirtualLoop
from processor.simulation.world import World

__all__ = ("Driver",)

_BURST_STEPS: Final = 200
_POLITE_TURNS: Final = 3
"""How often the test's own tasks get the loop before time is skipped."""

_POLL_MS: Final = 2
_MOMENT_MS: Final = 50
"""What is real and over by then took no time."""

_PATIENCE_S: Final = 1.0

Lookout: TypeAlias = Callable[[bool], None]
"""Told whether nothing is left that could happen, at this moment and at any later one."""


@dataclass(eq=False, slots=True)
class _Limit:
    """A moment at which a wait ends; None once that was told."""

    due_ms: int
    overdue: Callable[[], None] | None


class Driver:
    def __init__(self, world: World, host: Host, threads: Threads) -> None:
        self._world = world
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._callback: asyncio.Handle | None = None
        self._polite = 0
        self._waiters = 0
        self._lookouts: list[Lookout] = []
        self._limits: list[_Limit] = []
        self._nothing_since: float | None = None
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []
        self._failed: list[asyncio.Future[None]] = []
        self._error: BaseException | None = None
        self._real_since: float | None = None
        threads.begin(self._notified, self._real_s)

    def wake(self) -> None:
        """Let the world go on: something was sent to it."""
        self._polite = 0
        self._nothing_since = None
        self._again(0)

    @contextmanager
    def looking(self, lookout: Lookout) -> Iterator[None]:
        """Ask ``lookout`` each time that nothing is left to do at this moment, and now and then."""
        self._lookouts.append(lookout)
        try:
            yield
        finally:
            self._lookouts.remove(lookout)

    @contextmanager
    def watched(self) -> Iterator[asyncio.Future[None]]:
        """Yield a future that gets the error which stops the world, should there be one."""
        failed: asyncio.Future[None] = self._loop.create_future()
        self._failed.append(failed)
        if self._error is not None:
            failed.set_exception(self._error)
        try:
            yield failed
        finally:
            self._failed.remove(failed)
            failed.cancel()

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Let virtual time run as far as it takes, as long as this lasts."""
        self._waiters += 1
        self.wake()
        try:
            yield
        finally:
            self._waiters -= 1

    @contextmanager
    def until(self, due_ms: int, overdue: Callable[[], None]) -> Iterator[None]:
        """Call ``overdue`` once all that is due by then is done, if this lasts so long.

        Virtual time does not move on before this is over.
        """
        limit = _Limit(due_ms, overdue)
        step = self._world.scheduler.at(due_ms, "a wait is over", lambda: None)
        self._limits.append(limit)
        try:
            yield
        finally:
            step.cancel()
            self._limits.remove(limit)
            self.wake()

    async def sleep_until(self, due_ms: int) -> None:
        """Return at a virtual time, after all that is due by then."""
        slept: asyncio.Future[None] = self._loop.create_future()
        self._sleepers.append((due_ms, slept))
        self._world.scheduler.at(due_ms, "a sleep is over", lambda: None)
        self.wake()
        with self.watched() as failed:
            await asyncio.wait((slept, failed), return_when=asyncio.FIRST_COMPLETED)
            if not slept.done():
                failed.result()

    def close(self) -> None:
        if self._callback is not None:
            self._callback.cancel()
        self._error = RuntimeError("the environment is closed")
        for failed in self._failed:
            if not failed.done():
                failed.set_exception(self._error)

    def _again(self, delay_s: float) -> None:
        if self._error is not None:
            return
        if self._callback is not None:
            self._callback.cancel()
        if delay_s:
            self._callback = self._loop.call_later(delay_s, self._run)
        else:
            self._callback = self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._callback = None
        try:
            self._burst()
        except BaseException as error:  # a bug, of ours or of a fake clock: whoever waits gets it
            self._error = error
            for failed in self._failed:
                if not failed.done():
                    failed.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def _burst(self) -> None:
        scheduler = self._world.scheduler
        for _ in range(_BURST_STEPS):
            if not scheduler.step(scheduler.now_ms):
                break
        else:
            self._look(nothing_left=False)
            self._again(0)
            return
        self._end_sleeps(scheduler.now_ms)
        loop = self._host.activities.loop
        if loop.waits_for_threads or loop.waits_for_io:
            self._keep_real_time(loop)
            return
        self._real_since = None
        if loop.take_from_threads(unfinished=True):
            self._polite = 0
            self._again(0)
        elif self._may_skip():
            overdue = self._overdue()
            self._look(nothing_left=scheduler.next_ms is None)
            if scheduler.next_ms is None and not overdue:
                return
            self._polite += 1
            if self._polite > _POLITE_TURNS:
                self._polite = 0
                if overdue:
                    self._end_waits(overdue)
                else:
                    scheduler.step(self._limit_ms())
            self._again(0)

    def _keep_real_time(self, loop: VirtualLoop) -> None:
        """Let as much virtual time pass as real time did, if anybody waits.

        What threads bring together in a moment is taken together, after the test's own tasks.
        """
        self._polite += 1
        if self._polite <= _POLITE_TURNS:
            self._again(0)
            return
        scheduler, now = self._world.scheduler, self._loop.time()
        if self._real_since is None:
            self._real_since = now
        passed_ms = int((now - self._real_since) * 1000)
        self._look(nothing_left=False)
        if overdue := self._overdue():
            self._end_waits(overdue)
        elif loop.take_from_threads(unfinished=False):
            self._polite = 0
        elif passed_ms >= _MOMENT_MS:
            if self._may_skip():
                self._pass(passed_ms)
            else:
                self._real_since = now
            self._polite = passed_ms = 0
            loop.take_from_threads(unfinished=True)
        if loop.waits_for_io:
            self._polite = 0
            loop.turn()
        left_ms = _POLL_MS if loop.waits_for_io else _MOMENT_MS - passed_ms
        if (next_ms := scheduler.next_ms) is not None and self._may_skip():
            left_ms = min(left_ms, next_ms - scheduler.now_ms - passed_ms)
        self._again(max(left_ms, 0) / 1000)

    def _pass(self, passed_ms: int) -> None:
        """Let so much virtual time pass, but nothing that is due meanwhile be passed by."""
        scheduler, begin_ms = self._world.scheduler, self._world.scheduler.now_ms
        next_ms = scheduler.next_ms
        end_ms = begin_ms + passed_ms
        scheduler.skip_to(end_ms if next_ms is None else min(next_ms, end_ms))
        assert self._real_since is not None, "it began"
        self._real_since += (scheduler.now_ms - begin_ms) / 1000

    def _real_s(self) -> float:
        """Return how much real time virtual time is behind. Called from any thread."""
        since = self._real_since
        return 0.0 if since is None or not self._may_skip() else self._loop.time() - since

    def _notified(self) -> None:
        """Go on: a thread has brought something. Called from that thread."""
        try:
            self._loop.call_soon_threadsafe(self._again, 0)
        except RuntimeError:  # the test is over, and its loop closed
            return

    def _overdue(self) -> list[_Limit]:
        now_ms = self._world.scheduler.now_ms
        return [each for each in self._limits if each.due_ms <= now_ms]

    def _end_waits(self, overdue: list[_Limit]) -> None:
        for limit in overdue:
            tell, limit.overdue = limit.overdue, None
            if tell is not None:
                tell()

    def _look(self, *, nothing_left: bool) -> None:
        """Let whoever waits know where that is for nothing.

        A test's own tasks may still send something: they have ``_PATIENCE_S`` of real time.
        """
        now = self._loop.time()
        if not nothing_left:
            self._nothing_since = None
        elif self._nothing_since is None:
            self._nothing_since = now
        silent_s = 0.0 if self._nothing_since is None else now - self._nothing_since
        for lookout in list(self._lookouts):
            lookout(silent_s >= _PATIENCE_S)
        if nothing_left and self._lookouts:
            self._again(max(_PATIENCE_S - silent_s, 0) or _PATIENCE_S)

    def _may_skip(self) -> bool:
        return bool(self._waiters or self._sleepers)

    def _limit_ms(self) -> int | None:
        if self._sleepers and not self._waiters:
            return max(due_ms for due_ms, _ in self._sleepers)
        return None

    def _end_sleeps(self, now_ms: int) -> None:
        for due_ms, slept in self._sleepers:
            if due_ms <= now_ms and not slept.done():
                slept.set_result(None)
        self._sleepers = [each for each in self._sleepers if not each[1].done()]
