"""``within`` bounds a wait in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from processor import InvalidArgument, activity, workflow
from processor.testing import Environment


@activity.define
async def fails() -> None:
    raise ValueError("the bank is closed")


@workflow.define
async def sleeps(hours: float) -> str:
    await asyncio.sleep(hours * 3600)
    return "slept"


@workflow.define
async def tries() -> None:
    await fails()


@workflow.define
async def waits() -> str:
    return await workflow.wait_for_event("go", str)


HOUR = timedelta(hours=1)


def in_environment(talk: Callable[[Environment], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), Environment([sleeps, tries, waits], [fails]) as env:
            await talk(env)

    asyncio.run(main())


def test_a_wait_ends_at_its_time_and_not_later() -> None:
    async def talk(env: Environment) -> None:
        begun = env.now()
        with pytest.raises(TimeoutError) as ended:
            await env.run(sleeps, 2.0, id="a", within=HOUR)
        text = str(ended.value)
        assert "no result of 'a' within 1:00:00 of virtual time" in text
        assert "test_within.py:" in text, "where it waits"
        assert env.now() - begun == HOUR
        handle = env.handle("a", workflow=sleeps)
        assert await handle.result(within=HOUR) == "slept", "what is due by then counts"
        assert env.now() - begun < 2 * HOUR + timedelta(seconds=1)

    in_environment(talk)


def test_a_handle_from_start_takes_it_too_in_seconds() -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(sleeps, 2.0)
        with pytest.raises(TimeoutError, match="within 0:01:00"):
            await handle.result(within=60)
        assert await handle.result(within=2 * HOUR) == "slept"
        assert await env.run("sleeps", 1.0, within=timedelta(hours=1.1)) == "slept"

    in_environment(talk)


def test_it_says_what_holds_the_run_up() -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(
            TimeoutError, match=r"activity 'fails' .*ValueError: the bank is closed"
        ):
            await env.run(tries, within=HOUR)
        begun = env.now()
        with pytest.raises(TimeoutError, match=r"waits at .*test_within"):
            await env.run(waits, within=HOUR)
        assert env.now() - begun == HOUR

    in_environment(talk)


def test_two_waits_end_each_at_its_time() -> None:
    async def talk(env: Environment) -> None:
        begun = env.now()
        ends: list[timedelta] = []

        async def wait(hours: float) -> None:
            with pytest.raises(TimeoutError):
                await env.run(waits, within=timedelta(hours=hours))
            ends.append(env.now() - begun)

        await asyncio.gather(wait(2), wait(1), wait(3))
        assert ends == [HOUR, 2 * HOUR, 3 * HOUR]

    in_environment(talk)


@pytest.mark.parametrize("within", [0, -1, float("nan"), "1h"])
def test_what_is_no_duration_is_refused(within: object) -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(InvalidArgument, match="run: within"):
            await env.run(waits, within=within)  # type: ignore[arg-type]
        handle = await env.start(waits)
        with pytest.raises(InvalidArgument, match="result: within"):
            await handle.result(within=within)  # type: ignore[arg-type]

    in_environment(talk)
