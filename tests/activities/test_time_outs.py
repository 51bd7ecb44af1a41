"""Time-outs of plain activities: they begin with the function, which may wait for a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from processor import activity
from processor.activities.executor import Executor
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.inputs import ActivityReport
from processor.injection.interceptors import Injected
from processor.registry import Registry
from tests.own_time import OwnTime, in_own_time

from .test_executor import StoppedClock, task


def run_many(
    function: Any,
    count: int,
    loop: OwnTime,
    reports: list[ActivityReport] | None = None,
    **changes: Any,
) -> list[ActivityReport]:
    """Run queued attempts of one activity, in one thread; return all reports.

    It returns when the function has ended as well.
    """
    reports = [] if reports is None else reports
    open: list[int] = []

    def counted() -> None:
        open.append(1)
        try:
            function()
        finally:
            open.pop()

    async def main() -> None:
        over = asyncio.Event()

        def take(report: ActivityReport) -> None:
            reports.append(report)
            if sum(report.kind in ("completed", "failed") for report in reports) == count:
                over.set()

        payloads = JsonPayloads()
        registry = Registry([], [activity.define(name="wait")(counted)], Injected(payloads))
        settings = Settings(activity_threads_max=1)
        executor = Executor(registry, settings, "a test", StoppedClock())
        for id in range(count):
            executor.enqueue(replace(task(1, id=id, eager=False), **changes), take)
        await over.wait()
        while open:
            await asyncio.sleep(0)

    in_own_time(main(), loop)
    return reports


@pytest.mark.parametrize(
    "limits", [{"start_to_close_ms": 400}, {"heartbeat_ms": 400}], ids=["start-to-close", "silence"]
)
def test_the_wait_for_a_thread_is_no_part_of_a_time_out(limits: dict[str, int]) -> None:
    loop = OwnTime(jumps=False)
    reports = run_many(lambda: loop.pass_s(0.1), 12, loop, **limits)
    assert [r.kind for r in reports if r.kind == "failed"] == []
    assert sum(r.kind == "completed" for r in reports) == 12


def test_a_start_is_said_when_the_function_begins() -> None:
    """The shard's own start-to-close begins with that, and its schedule-to-start ends."""
    loop = OwnTime(jumps=False)
    reports = run_many(lambda: loop.pass_s(0.1), 3, loop, start_to_close_ms=60_000)
    kinds = [report.kind for report in reports]
    assert sorted(kinds) == ["completed"] * 3 + ["started"] * 3
    assert kinds.index("completed") <= 2, "the last one waits for its thread"


def until(condition: Callable[[], bool]) -> None:
    """Wait in a thread."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_passed_its_deadline_while_it_waited_does_not_run() -> None:
    loop, ran = OwnTime(jumps=False), list[int]()
    reports: list[ActivityReport] = []

    def takes_long() -> None:
        assert not activity.is_cancelled()  # who has asked once is not interrupted
        ran.append(activity.info().id)
        loop.pass_s(0.3)
        until(lambda: sum(report.kind == "failed" for report in reports) == 2)

    run_many(takes_long, 2, loop, reports, deadline_ms=150)
    kinds = [r.failure.timeout_kind for r in reports if r.failure]
    assert kinds == ["schedule_to_close"] * 2
    assert len(ran) == 1


def test_a_plain_function_hears_that_its_attempt_is_over() -> None:
    loop, heard = OwnTime(jumps=False), list[bool]()

    def takes_long() -> None:
        heard.append(activity.is_cancelled())
        loop.pass_s(0.3)
        until(activity.is_cancelled)
        heard.append(activity.is_cancelled())

    run_many(takes_long, 1, loop, start_to_close_ms=100)
    assert heard == [False, True]
