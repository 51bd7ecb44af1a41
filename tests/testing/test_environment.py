"""The test environment never hangs where it can know that nothing comes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from processor import RetryPolicy, WorkflowNotRegistered, WorkflowParked, activity, workflow
from processor.testing import Environment, NothingLeft


@activity.define(retry=RetryPolicy(maximum_attempts=3))
async def double(number: int) -> int:
    return number * 2


@workflow.define
async def waits(name: str) -> str:
    return await workflow.wait_for_event(name, str)


@workflow.define
async def bug_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise RuntimeError("a bug")


@workflow.define
async def sleeps(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return await double(21)


@workflow.define
async def asks_nobody() -> None:
    await workflow.call_activity("nobody_knows")


WORKFLOWS = [waits, bug_after, sleeps, asks_nobody]


def in_environment(talk: Any, **how: Any) -> float:
    """Run a test of an environment; return how many real seconds it took."""

    async def main() -> float:
        begun = time.monotonic()
        async with (
            asyncio.timeout(20),
            Environment(WORKFLOWS, how.pop("activities", [double]), **how) as env,
        ):
            await talk(env)
        return time.monotonic() - begun

    return asyncio.run(main())


@pytest.mark.parametrize("cached", [None, 0], ids=["live", "replayed"])
def test_a_park_raises_at_once(cached: int | None) -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(WorkflowParked, match="RuntimeError: a bug") as raised:
            await env.run(bug_after, 3600.0, id="a")
        assert "bug_after" in str(raised.value), "the traceback is there"
        with pytest.raises(WorkflowParked):
            await env.handle("a").result()
        handle = await env.start(bug_after, 0.0)
        with pytest.raises(WorkflowParked):
            await handle.result(10)

    assert in_environment(talk, max_cached_runs=cached) < 15


def test_a_park_can_be_waited_out() -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(TimeoutError) as ended:
            await env.run(bug_after, 0.0, timeout=0.2, parked="warn")
        assert not isinstance(ended.value, NothingLeft)

    in_environment(talk)


def test_nothing_left_is_an_error_that_names_the_line() -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(NothingLeft, match=r"test_environment\.py:\d+ waits"):
            await env.run(waits, "go")

    assert 0.9 < in_environment(talk) < 15


def test_who_sends_it_meanwhile_is_waited_for() -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(waits, "go")
        waiting = asyncio.ensure_future(handle.result())
        for _ in range(3):
            await asyncio.sleep(0.5)
            await handle.raise_event("another", "x")
        await handle.raise_event("go", "on")
        assert await waiting == "on"

    in_environment(talk)


def test_timers_and_retries_are_something_that_is_left() -> None:
    async def talk(env: Environment) -> None:
        assert await env.run(sleeps, timedelta(days=3650).total_seconds()) == 42

    assert in_environment(talk) < 15


def test_two_waits_end_each_for_its_own_reason() -> None:
    async def talk(env: Environment) -> None:
        found = await asyncio.gather(
            env.run(bug_after, 1.0), env.run(waits, "go"), env.run(sleeps, 1.0),
            return_exceptions=True,
        )  # fmt: skip
        assert [type(each) for each in found] == [WorkflowParked, NothingLeft, int]

    in_environment(talk)


def test_what_is_not_registered_raises() -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(WorkflowNotRegistered):
            await env.run("nobody")

    in_environment(talk)
