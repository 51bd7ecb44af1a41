"""What ends an attempt before its function does: its time-outs, and who gives it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from processor.activities.attempt import Attempt
from processor.activities.left import CLEAN_UP_S
from processor.activities.reports import report_of
from processor.shard.ports import Clock

__all__ = ("Timeouts",)

_ANNOUNCE_S: Final = 0.05
"""An attempt without time-outs that is over by then is not announced: its outcome says it all."""


class Timeouts:
    """The time-outs of all attempts. ``leave`` hears of one whose function does not end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        identity: str,
        leave: Callable[[Attempt], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._identity = identity
        self._leave = leave

    def begin(self, attempt: Attempt) -> None:
        """Note that an attempt's function begins; may be called from its thread."""
        attempt.begins(self._clock.now_ms())

    def function_began(self, attempt: Attempt) -> None:
        """Let what begins with an activity's function begin, and not before: it waits for a thread.

        Its start-to-close and heartbeat time-outs do, here and in its shard, which is told.
        """
        if attempt.running is None:
            return
        task = attempt.task
        self.set_limit(attempt)
        if task.heartbeat_ms is not None:
            self._watch(attempt)
        if attempt.announces:
            started = report_of(task, "started", worker=self._identity)
            if task.start_to_close_ms is task.heartbeat_ms is None:
                self._set(attempt, "announcing", _ANNOUNCE_S, lambda: attempt.report(started))
            else:
                attempt.report(started)

    def set_limit(self, attempt: Attempt) -> None:
        """Let the time-out that passes first end the attempt."""
        task = attempt.task
        limits: list[tuple[float, str]] = []
        if task.start_to_close_ms is not None and attempt.began_ms is not None:
            limits.append((task.start_to_close_ms / 1000, "start_to_close"))
        if task.deadline_ms is not None:
            left_s = max((task.deadline_ms - self._clock.now_ms()) / 1000, 0.0)
            limits.append((left_s, "schedule_to_close"))
        if limits:
            left_s, kind = min(limits)
            self._set(attempt, "limit", left_s, self.end, attempt, kind)

    def end(self, attempt: Attempt, why: str) -> None:
        """End an attempt; its function is told, and has a short time to clean up.

        A function in a thread is interrupted, unless it asks itself whether it should stop. One
        whose workflow gave it up has the same time to clean up; after a time-out nobody waits.
        """
        running = attempt.running
        if attempt.ended_by or running is None:
            return
        attempt.ended_by = why
        if attempt.entered:
            self._set(attempt, "overdue", CLEAN_UP_S, self._leave, attempt)
            if attempt.call is not None:
                attempt.call.interrupt()
            if attempt.call is None or why != "cancelled":
                running.cancel(f"the attempt is over: {why}")

    def stop(self, attempt: Attempt) -> None:
        """Ask an attempt to stop, whose run waits for what comes of it: its time-outs go on."""
        running = attempt.running
        if attempt.ended_by or attempt.stops or running is None:
            return
        if not attempt.entered:
            self.end(attempt, "stopped")
            return
        attempt.stops = True
        if attempt.call is None:
            running.cancel("the run waits until the attempt has stopped")
        else:
            attempt.call.interrupt()

    def over(self, attempt: Attempt) -> None:
        """Forget the time-outs of an attempt that is over."""
        for timer in attempt.timers.values():
            timer.cancel()
        attempt.timers.clear()

    def _watch(self, attempt: Attempt) -> None:
        """End an attempt that promised heartbeats and is silent for too long."""
        heartbeat_ms = attempt.task.heartbeat_ms
        if heartbeat_ms is None or attempt.running is None:
            return
        left_s = heartbeat_ms / 1000 - attempt.silent_s()
        if left_s > 0:
            self._set(attempt, "watchdog", left_s, self._watch, attempt)
        else:
            self.end(attempt, "heartbeat")

    def _set(
        self, attempt: Attempt, name: str, delay_s: float, call: Callable[..., Any], *args: Any
    ) -> None:
        """Set a timer of an attempt, instead of the one of that name."""
        if (before := attempt.timers.get(name)) is not None:
            before.cancel()
        attempt.timers[name] = self._loop.call_later(delay_s, call, *args)
