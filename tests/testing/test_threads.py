"""Plain activities run in threads, as in a worker: virtual time passes as real time does."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from processor import ActivityTimedOut, RetryPolicy, WorkflowCancelled, activity, workflow
from processor.testing import Environment

SAW: list[str] = []
"""What the threads of one test saw. Each test has a list of its own: threads outlive a test."""

ONCE = RetryPolicy(maximum_attempts=1)
LONG_S = 15.0
"""How long a function takes that nobody stops: longer than a busy machine takes for all else."""


@activity.define(start_to_close=60)
def works(seconds: float) -> str:
    saw = SAW
    for _ in range(int(seconds * 50)):
        if activity.is_cancelled():
            saw.append("cancelled")
            return "cancelled"
        time.sleep(0.02)
    return "ran to its end"


@activity.define(start_to_close=2, heartbeat=0.4)
def beats(seconds: float) -> str:
    for _ in range(int(seconds * 10)):
        activity.heartbeat()
        time.sleep(0.1)
    return "in time"


@activity.define
def quick(number: int) -> int:
    return number * 2


@activity.define
def where() -> str:
    return threading.current_thread().name


@activity.define
async def threads_itself(seconds: float) -> str:
    return await asyncio.to_thread(works.function, seconds)  # type: ignore[return-value]


@workflow.define
async def work(seconds: float) -> str:
    return await works(seconds)


@workflow.define
async def work_once(seconds: float) -> str:
    try:
        return await works.options(retry=ONCE, start_to_close=1)(seconds)
    except ActivityTimedOut as error:
        return error.kind


@workflow.define
async def silent_once() -> str:
    try:
        return await works.options(retry=ONCE, heartbeat=0.3)(LONG_S)
    except ActivityTimedOut as error:
        return error.kind


@workflow.define
async def beat(seconds: float) -> str:
    return await beats(seconds)


@workflow.define
async def doubles(count: int) -> list[int]:
    return list(await asyncio.gather(*(quick(number) for number in range(count))))


@workflow.define
async def asks_where() -> str:
    return await where()


@workflow.define
async def first_of() -> str:
    """An hour passes for a sleep, but not while a thread works."""
    started = asyncio.ensure_future(works(0.2))
    done, _ = await asyncio.wait(
        {started, asyncio.ensure_future(asyncio.sleep(3600))},
        return_when=asyncio.FIRST_COMPLETED,
    )
    return "the activity" if started in done else "the sleep"


@workflow.define
async def within_async(seconds: float) -> str:
    return await threads_itself(seconds)


WORKFLOWS = [work, work_once, silent_once, beat, doubles, asks_where, first_of, within_async]
ACTIVITIES = [works, beats, quick, where, threads_itself]


def in_environment(talk: Callable[[Environment], Awaitable[Any]]) -> Any:
    global SAW
    SAW = []

    async def main() -> Any:
        async with asyncio.timeout(40), Environment(WORKFLOWS, ACTIVITIES) as env:
            return await talk(env)

    return asyncio.run(main())


def test_a_cancellation_reaches_a_plain_function() -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(work, LONG_S)
        await env.sleep(0.5)
        await handle.cancel("stop")
        with pytest.raises(WorkflowCancelled):
            await handle.result()
        await env.sleep(3600)
        assert SAW == ["cancelled"]

    begun = time.monotonic()
    in_environment(talk)
    assert 0.5 <= time.monotonic() - begun < LONG_S


def test_a_time_out_in_virtual_time_ends_the_attempt_and_the_function_hears_of_it() -> None:
    async def talk(env: Environment) -> None:
        begun = env.now()
        assert await env.run(work_once, LONG_S) == "start_to_close"
        assert env.now() - begun < timedelta(seconds=LONG_S)
        assert await env.run(silent_once) == "heartbeat"
        while len(SAW) < 2:
            await asyncio.sleep(0.02)
        assert SAW == ["cancelled", "cancelled"]

    in_environment(talk)


def test_heartbeats_of_a_plain_function_keep_it_alive() -> None:
    assert in_environment(lambda env: env.run(beat, 1.0)) == "in time"


def test_what_is_quick_takes_no_virtual_time_and_is_the_same_each_time() -> None:
    async def talk(env: Environment) -> tuple[bool, str]:
        begun = env.now()
        assert await env.run(doubles, 5, id="d") == [0, 2, 4, 6, 8]
        return env.now() == begun, env.trace_hash

    quick: list[str] = []
    while len(quick) < 4:  # a busy machine lets a thread wait, which takes time
        is_quick, trace = in_environment(talk)
        quick += [trace] if is_quick else []
    assert len(set(quick)) == 1


def test_it_is_a_thread() -> None:
    name = in_environment(lambda env: env.run(asks_where))
    assert name.startswith("activity")


def test_time_does_not_jump_over_what_runs_in_a_thread() -> None:
    async def talk(env: Environment) -> None:
        begun = env.now()
        assert await env.run(first_of) == "the activity"
        assert timedelta(seconds=0.1) < env.now() - begun < timedelta(seconds=10)

    in_environment(talk)


def test_a_thread_that_an_activity_starts_itself_counts_too() -> None:
    async def talk(env: Environment) -> None:
        begun = env.now()
        with pytest.raises(TimeoutError):
            await env.run(within_async, 1.0, within=0.3)
        assert env.now() - begun == timedelta(seconds=0.3)

    in_environment(talk)


def test_a_test_that_ends_does_not_wait_for_a_thread() -> None:
    async def talk(env: Environment) -> None:
        await env.start(work, LONG_S)
        await env.sleep(0.1)

    begun = time.monotonic()
    in_environment(talk)
    assert time.monotonic() - begun < LONG_S
    while not SAW and time.monotonic() - begun < 2 * LONG_S:
        time.sleep(0.02)
    assert SAW == ["cancelled"]


def test_an_open_socket_lets_time_pass_and_not_stand() -> None:
    """A pool of connections that an activity leaves open must not stop the world."""
    here, there = socket.socketpair()

    @activity.define
    async def listens() -> str:
        asyncio.get_running_loop().add_reader(here, here.recv, 1)
        return "listens"

    @workflow.define
    async def then_sleeps() -> str:
        said = await listens()
        await asyncio.sleep(0.5)
        return said

    async def main() -> None:
        async with asyncio.timeout(20), Environment([then_sleeps], [listens]) as env:
            assert await env.run(then_sleeps) == "listens"

    begun = time.monotonic()
    with here, there:
        asyncio.run(main())
    assert 0.4 < time.monotonic() - begun < 20
