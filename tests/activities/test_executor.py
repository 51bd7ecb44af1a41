"""The activities of one process, where the same one may run twice for a while."""

from __future__ import annotations

import asyncio
from typing import Any

from processor import activity
from processor.activities.executor import Executor
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.effects import ActivityTask
from processor.registry import Registry


class StoppedClock:
    def now_ms(self) -> int:
        return 0


def task(attempt: int) -> ActivityTask:
    fields = ("w-1", "0-1", "flow", 1, attempt, "wait", b"[]", "default", True)
    return ActivityTask(*fields, 0, None, None, None, None)


def test_a_later_attempt_can_be_cancelled_though_the_one_before_ends_first() -> None:
    """A shard that is lost and claimed again counts an attempt as lost that still runs here."""
    gates: dict[int, asyncio.Event] = {1: asyncio.Event(), 2: asyncio.Event()}
    ends: list[Any] = []

    @activity.define(name="wait")
    async def wait() -> None:
        attempt = activity.info().attempt
        try:
            await gates[attempt].wait()
            ends.append((attempt, "done"))
        except asyncio.CancelledError:
            ends.append((attempt, "cancelled"))
            raise

    async def main() -> None:
        payloads = JsonPayloads()
        registry = Registry([], [wait], payloads)
        executor = Executor(registry, payloads, Settings(), "a test", StoppedClock())
        for attempt in (1, 2):
            assert executor.place("wait", activity_options)
            executor.start(task(attempt), lambda report: None)
        await asyncio.sleep(0.01)
        gates[1].set()
        await asyncio.sleep(0.01)
        assert executor.running == 1
        executor.cancel("0-1", 1)
        await asyncio.sleep(0.01)
        assert executor.running == 0

    activity_options = wait.wire_options
    asyncio.run(main())
    assert ends == [(1, "done"), (2, "cancelled")]
