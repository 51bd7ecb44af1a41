"""Where a run waits, and how it is dropped."""

from __future__ import annotations

import asyncio
import gc
import warnings
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from processor import activity, workflow
from processor.core.nouns.timer import TimerStarted
from tests.workflow.driver import World


@activity.define
async def step(value: Any = None) -> int:
    raise NotImplementedError


def test_waiting_names_the_line_of_each_task() -> None:
    @workflow.define
    async def waits() -> None:
        async def inner() -> None:
            await asyncio.sleep(5)

        task = asyncio.create_task(inner())
        call = asyncio.create_task(step())
        both = asyncio.create_task(workflow.wait_for_event("stop"))
        await workflow.wait_for_event("go")
        await task
        await call
        await both

    world = World(waits)
    world.start()
    first = waits.function.__code__.co_firstlineno
    assert world.runner.waiting() == [
        f"{__file__}:{first + 8} waits, event 'go'",
        f"{__file__}:{first + 3} inner",
        f"{__file__}:{first + 6} step",
        f"{__file__}:{first + 7}, event 'stop'",
    ]


def test_dropping_a_run_asks_for_nothing_and_says_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    reached: list[str] = []

    @workflow.define
    async def untidy() -> None:
        async def child(n: int) -> None:
            try:
                async with asyncio.timeout(100):
                    await step(n)
            finally:
                await asyncio.sleep(0)
                workflow.publish("topic", None, "child")
                reached.append("child")

        unused = [step(1), child(9)]
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(3):
                    group.create_task(child(n))
                await workflow.wait_for_event("never")
        except BaseException:
            await step("clean-up")
            reached.append("except")
        finally:
            workflow.set_status("gone")
            reached.append("finally")
        del unused

    async def host() -> None:
        loop = asyncio.get_running_loop()
        world = World(untidy)
        loop.call_soon(world.start)
        await asyncio.sleep(0.01)
        turns = list(world.turns)
        loop.call_soon(world.runner.close)
        await asyncio.sleep(0.01)
        assert world.turns == turns
        assert world.runner.waiting() == []
        del world
        gc.collect()
        assert len(asyncio.all_tasks()) == 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(host())
    assert reached == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_run_that_was_never_started_can_be_dropped() -> None:
    @workflow.define
    async def nothing() -> None: ...

    World(nothing).runner.close()


def test_a_stubborn_coroutine_can_be_dropped() -> None:
    @workflow.define
    async def stubborn() -> None:
        for _ in range(5):
            try:
                await asyncio.sleep(0)
                await asyncio.Future()
            except BaseException:
                await asyncio.sleep(0)

    world = World(stubborn)
    world.start()
    world.runner.close()
    gc.collect()


async def _sleeps() -> None:
    await workflow.sleep(5)


async def _gathers() -> None:
    await asyncio.gather(step(1), workflow.wait_for_event("go"), asyncio.sleep(5))


async def _gives_up() -> None:
    async with asyncio.timeout(5):
        await workflow.wait_until(lambda: False)


async def _groups() -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(asyncio.wait_for(step(n), 5))


@pytest.mark.parametrize("waits", [_sleeps, _gathers, _gives_up, _groups])
def test_a_dropped_run_leaves_nothing_to_the_garbage_collector(
    waits: Callable[[], Awaitable[None]],
) -> None:
    @workflow.define
    async def code() -> None:
        await waits()

    world = World(code)
    world.start()
    assert world.runner.waiting()
    loop = weakref.ref(world.runner._loop)
    gc.disable()
    try:
        world.runner.close()
        del world
        assert loop() is None
    finally:
        gc.enable()


async def _waits_in_vain() -> None:
    with suppress(TimeoutError):
        await workflow.wait_until(lambda: False, timeout=5)


async def _waits_in_vain_for_an_event() -> None:
    with suppress(TimeoutError):
        await workflow.wait_for_event("go", timeout=5)


async def _is_late() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await workflow.wait_until(lambda: False)


async def _is_late_in_a_task() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(workflow.sleep(50), 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "caught", [_waits_in_vain, _waits_in_vain_for_an_event, _is_late, _is_late_in_a_task]
)
def test_an_error_that_was_caught_leaves_nothing_to_the_garbage_collector(
    caught: Callable[[], Awaitable[None]],
) -> None:
    """Its traceback has the frames that it came through: none of them may have the error."""

    @workflow.define
    async def code() -> None:
        await caught()
        await workflow.wait_for_event("stop")

    gc.collect()
    gc.disable()
    try:
        world = World(code)
        timers = [each for each in world.start() if isinstance(each, TimerStarted)]
        world.fire(timers[-1].id)
        assert world.runner.waiting()[0].endswith("event 'stop'")
        loop = weakref.ref(world.runner._loop)
        world.runner.close()
        del world
        assert loop() is None
    finally:
        gc.enable()
