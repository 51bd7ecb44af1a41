"""A wait in the test environment that could go on for ever ends with an error that says why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from processor import (
    ApplicationError,
    RetryPolicy,
    WorkflowParked,
    WorkflowTerminated,
    activity,
    workflow,
)
from processor.testing import ActivityNotRegistered, Environment, NoEndInSight, NothingLeft


@activity.define
async def pay(amount: int) -> int:
    return amount


@activity.define
async def poll() -> bool:
    return False


@activity.define
async def fails() -> None:
    raise ValueError("the bank is closed")


@activity.define(start_to_close=5)
async def hangs() -> None:
    await asyncio.sleep(3600)


@workflow.define
async def shop(amount: int = 3) -> int:
    return await pay(amount)


@workflow.define
async def shop_once() -> int:
    return await pay.options(retry=RetryPolicy(maximum_attempts=1))(3)


@workflow.define
async def shop_elsewhere() -> int:
    return await pay.options(queue="gpu")(3)


@workflow.define
async def asks_nobody() -> None:
    await workflow.call_activity("nobody_knows")


@workflow.define
async def tries() -> None:
    await fails()


@workflow.define
async def tries_at_once() -> None:
    await fails.options(retry=RetryPolicy(timedelta(milliseconds=1), coefficient=1))()


@workflow.define(retry=RetryPolicy(timedelta(milliseconds=1), coefficient=1))
async def fails_again() -> None:
    raise ApplicationError("the bank is closed")


@workflow.define
async def times_out() -> None:
    await hangs()


@workflow.define
async def ticks() -> None:
    while True:
        await asyncio.sleep(60)


@workflow.define
async def polls() -> None:
    while not await poll():
        pass


@workflow.define
async def waits() -> str:
    return await workflow.wait_for_event("go", str)


WORKFLOWS = [
    *(shop, shop_once, shop_elsewhere, asks_nobody, tries, tries_at_once, times_out, ticks, polls),
    *(waits, fails_again),
]


def in_environment(
    talk: Callable[[Environment], Awaitable[None]], *activities: Any, **how: Any
) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Environment(WORKFLOWS, activities, **how) as env:
            await talk(env)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "name"), [(shop, "pay"), (shop_once, "pay"), (shop_elsewhere, "pay")]
)
def test_an_activity_that_is_not_registered_raises_at_once(
    code: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(env: Environment) -> None:
        begun = env.now()
        with pytest.raises(ActivityNotRegistered) as raised:
            await env.run(code, id="s")
        text = str(raised.value)
        assert f"activity {name!r}" in text and f"workflow {code.name!r}" in text
        assert "of 's'" in text
        assert f"Environment(activities=[{name}])" in text and f"mocks={{{name!r}: " in text
        assert "Registered are: poll" in text
        assert env.now() - begun < timedelta(seconds=1), "no retry was waited for"

    with caplog.at_level(logging.DEBUG):
        in_environment(talk, poll)
    assert len(caplog.records) < 10


def test_an_activity_that_is_known_by_name_only_raises_too() -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(ActivityNotRegistered, match="activity 'nobody_knows'"):
            await env.run(asks_nobody)

    in_environment(talk)


def test_it_raises_for_who_waits_later_and_not_for_who_waits_for_others() -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(shop, id="s")
        other = await env.start(waits)
        waiting = asyncio.ensure_future(other.result())
        await env.sleep(3)
        await other.raise_event("go", "on")
        assert await waiting == "on"
        with pytest.raises(ActivityNotRegistered):
            await handle.result()

    in_environment(talk)


@pytest.mark.parametrize(
    ("code", "how"), [(tries, {}), (tries_at_once, {"attempts_max": 100})], ids=["default", "fast"]
)
def test_retries_without_an_end_end_with_the_activity_and_its_last_error(
    code: Any, how: dict[str, int]
) -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(NoEndInSight) as raised:
            await env.run(code, id="t")
        text = str(raised.value)
        assert "activity 'fails' of run" in text and "of 't'" in text
        assert (
            f"{how.get('attempts_max', 1_000):,} attempts" in text
            and "ValueError: the bank is closed" in text
        )
        assert "maximum_attempts" in text and "attempts_max" in text

    in_environment(talk, fails, **how)


def test_time_outs_without_an_end_are_retries_too() -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(NoEndInSight, match=r"ActivityTimedOut: .*start-to-close"):
            await env.run(times_out)

    in_environment(talk, hangs, attempts_max=10)


def test_retries_of_another_run_end_a_wait_that_they_keep_from_ending() -> None:
    async def talk(env: Environment) -> None:
        await env.start(tries, id="t")
        with pytest.raises(NoEndInSight, match=r"activity 'fails' of run \w+ of 't'"):
            await env.run(waits)

    in_environment(talk, fails, attempts_max=20)


def test_runs_without_an_end_end_with_the_chain_and_its_last_error() -> None:
    async def talk(env: Environment) -> None:
        first = await env.start(fails_again, id="r")
        with pytest.raises(NoEndInSight) as raised:
            await first.result()
        text = str(raised.value)
        assert "workflow 'fails_again' of 'r' has failed in all of 50 runs in one wait" in text
        assert f"(its first run is {first.run_id}, the last of these is " in text
        assert "Its last error is ApplicationError: the bank is closed." in text
        assert "maximum_attempts" in text and "attempts_max" in text
        with pytest.raises(NoEndInSight, match="workflow 'fails_again' of 'r'"):
            await env.run(waits)

    in_environment(talk, attempts_max=50)


def test_retries_go_on_as_long_as_they_may() -> None:
    tried = 0

    async def late() -> None:
        nonlocal tried
        tried += 1
        if tried < 120:
            raise ValueError("not yet")

    async def talk(env: Environment) -> None:
        handle = await env.start(tries)
        with pytest.raises(NoEndInSight, match="all of 100 attempts"):
            await handle.result()
        await handle.result()

    in_environment(talk, fails, attempts_max=100, mocks={fails: late})
    assert tried == 120


@pytest.mark.parametrize("code", [ticks, polls], ids=["in time", "in no time"])
def test_code_that_loops_without_an_end_is_an_error_that_names_the_line(code: Any) -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(NoEndInSight) as raised:
            await env.run(code, id="l")
        text = str(raised.value)
        assert "of 'l' is still running" in text and "2,000 steps" in text
        assert "test_endless.py:" in text and "steps_max" in text and "within=" in text

    in_environment(talk, poll, steps_max=2_000)


def test_a_sleep_beside_code_that_loops_in_no_time_ends() -> None:
    async def talk(env: Environment) -> None:
        await env.start(polls, id="l")
        with pytest.raises(NoEndInSight, match=r"'l' run after 2,000 steps"):
            await env.sleep(1)

    in_environment(talk, poll, steps_max=2_000)


def test_a_queue_of_any_name_is_served() -> None:
    async def talk(env: Environment) -> None:
        assert await env.run(shop_elsewhere) == 3

    in_environment(talk, pay)


@pytest.mark.parametrize("ended", [True, False])
def test_a_parked_run_that_is_over_ends_no_later_wait(ended: bool) -> None:
    @workflow.define
    async def bug() -> None:
        raise KeyError("bug")

    async def main() -> None:
        async with Environment([bug, shop], [pay]) as env:
            parked = await env.start(bug, id="a")
            with pytest.raises(WorkflowParked):
                await parked.result()
            if ended:
                await parked.terminate()
                with pytest.raises(WorkflowTerminated):
                    await parked.result()
            assert await env.run(shop, id="a", conflict="terminate") == 3
            with pytest.raises(WorkflowTerminated):
                await parked.result()

    asyncio.run(main())


def test_nothing_left_still_says_so() -> None:
    async def talk(env: Environment) -> None:
        with pytest.raises(NothingLeft):
            await env.run(waits)

    in_environment(talk)


@workflow.define
async def never_sets(how: str) -> None:
    workflow.set_value("begun", how)
    await asyncio.sleep(1)
    if how == "fails":
        await fails()
    elif how == "parks":
        raise ValueError("a bug")
    elif how == "unknown":
        await workflow.call_activity("nobody has it")
    await workflow.wait_for_event("go")


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("fails", NoEndInSight),
        ("parks", WorkflowParked),
        ("unknown", ActivityNotRegistered),
        ("waits", NothingLeft),
    ],
)
def test_who_watches_a_value_that_cannot_come_is_told_so(how: str, error: type[Exception]) -> None:
    """A watch went on for ever, where a wait for a value had ended."""

    async def main() -> None:
        async with Environment([never_sets], [fails], attempts_max=20) as env:
            handle = await env.start(never_sets, how)
            watched = handle.watch("begun")
            assert await anext(watched) == how
            with pytest.raises(error):
                await asyncio.wait_for(anext(watched), 30)

    asyncio.run(main())
