"""Odd values at the door: each is refused where it enters, by the name of its argument."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from processor import ActivityNotOpen, Client, InvalidArgument, activity, workflow
from processor.testing import Environment

TOKENS: list[str] = []


@activity.define(start_to_close=3_600)
async def left_open() -> str:
    TOKENS.append(activity.info().task_token)
    raise activity.CompleteAsync


@workflow.define
async def calls_left_open() -> str:
    return await left_open()


@workflow.define
async def double(number: int) -> int:
    return 2 * number


@workflow.define
async def waits() -> None:
    await workflow.wait_for_event("go")


@workflow.define
async def reads_as(how: str, type: bool) -> str:
    """Ask for something as what is no type, and go on."""
    wrong: Any = 5 if type else "nobody knows this type"
    try:
        if how == "call_child":
            await workflow.call_child("double", 1, result_type=wrong)
        elif how == "start_child":
            await workflow.start_child("double", 1, result_type=wrong)
        elif how == "call_activity":
            await workflow.call_activity("left_open", result_type=wrong)
        else:
            await workflow.wait_for_event("go", wrong)
    except InvalidArgument as error:
        await asyncio.sleep(60)
        return str(error)
    return "it was taken"


@pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])
@pytest.mark.parametrize("how", ["call_child", "start_child", "call_activity", "wait_for_event"])
def test_what_is_no_type_is_refused_before_anything_is_asked_for(
    how: str, cached: int | None
) -> None:
    """A child had been started by then, and its end parked the run for ever."""

    async def main() -> None:
        flows = [reads_as, double]
        async with Environment(flows, [left_open], max_cached_runs=cached) as env:
            said = await env.run(reads_as, how, True, id="run")
            name = "type" if how == "wait_for_event" else "result_type"
            assert said.startswith(f"workflow.{how}: {name}: ")
            types = [event.type for event in await env.handle("run").history()]
            assert not {"ChildCalled", "ActivityScheduled"} & {*types}

    asyncio.run(main())


@workflow.define
async def stops_its_child(reason: str, times: int) -> str:
    reason = {"half a pair": "because \ud800", "long": "long " * 1_000_000}[reason]
    children = [await workflow.start_child(waits, id=f"child-{each}") for each in range(times)]
    for each in children:
        assert each.cancel(reason)
    ended = await asyncio.gather(*children, return_exceptions=True)
    return ", ".join(type(each).__name__ for each in ended)


@pytest.mark.parametrize("reason", ["half a pair", "long"])
def test_whatever_the_reason_is_a_child_is_stopped(reason: str) -> None:
    """A reason that cannot be written cost the parent the end of its child, or its timer."""

    async def main() -> None:
        async with Environment([stops_its_child, waits]) as env:
            ended = "CancelledError, CancelledError, CancelledError"
            assert await env.run(stops_its_child, reason, 3, id="parent") == ended
            why = (await env.handle("child-0").describe()).cancel_reason
            assert why == "because \\ud800" or (
                why is not None and why.startswith("long long") and len(why) < 1_100
            )
            assert not env.dead_letters

    asyncio.run(main())


FAR = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-12)))


@workflow.define
async def starts_a_child_at(year: int) -> None:
    await workflow.start_child(waits, at=FAR)


@pytest.mark.parametrize("at", [FAR, datetime.max.replace(tzinfo=UTC)])
def test_no_run_begins_after_the_year_9999(at: datetime) -> None:
    """Such a run was taken, and could not be described."""

    async def main() -> None:
        async with Environment([waits, starts_a_child_at]) as env:
            with pytest.raises(InvalidArgument, match="start: at: give a time before the year"):
                await env.start(waits, at=at)
            last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
            handle = await env.start(waits, at=last, execution_timeout=4_000 * 366 * 86_400)
            assert (await handle.describe()).begins == last
            child = await env.start(starts_a_child_at, 0)
            await env.sleep(1)
            parked = (await child.describe()).parked
            assert parked is not None and "workflow.start_child: at: " in parked["error"]

    asyncio.run(main())


def token_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_number_that_no_activity_can_have_is_refused_and_harms_nobody() -> None:
    """One that no record can hold stayed in the test environment, and failed all that followed."""

    async def main() -> None:
        async with Environment([calls_left_open], [left_open]) as env:
            handle = await env.start(calls_left_open, id="run")
            await env.sleep(1)
            for number in (1 << 63, 10**30):
                with pytest.raises(InvalidArgument, match="complete: activity id: give a number"):
                    await env.complete(("run", number), "x")
                with pytest.raises(InvalidArgument, match="activity: id: give a number"):
                    handle.activity(number)
            run_id = handle.run_id
            for bad in (f"{1 << 31} 1 {run_id} run", f"1 {1 << 63} {run_id} run", "0 1 r run"):
                with pytest.raises(InvalidArgument, match="complete: token: "):
                    await env.complete(token_of(bad), "x")
            with pytest.raises(ActivityNotOpen):
                await env.complete(("run", 1 << 61), "x")
            await env.complete(TOKENS[-1], "done")
            assert await handle.result() == "done"

    asyncio.run(main())


def test_a_client_checks_the_type_before_it_waits() -> None:
    async def main() -> None:
        async with Environment([waits]) as env:
            handle = await env.start(waits)
            wrong: Any = 5
            with pytest.raises(InvalidArgument, match="value: result_type: "):
                await handle.value("never", result_type=wrong, timeout=5)
            with pytest.raises(InvalidArgument, match="watch: result_type: "):
                await anext(handle.watch("never", result_type=wrong))
            with pytest.raises(InvalidArgument, match="query: result_type: "):
                await handle.query("none", result_type=wrong)
            with pytest.raises(InvalidArgument, match="update: result_type: "):
                await handle.update("none", result_type=wrong)
            with pytest.raises(InvalidArgument, match="update_handle: result_type: "):
                handle.update_handle("none", result_type=wrong)

    asyncio.run(main())


def test_no_path_has_a_nul() -> None:
    with pytest.raises(InvalidArgument, match=r"server: no path can be 'embedded:a\\x00b'"):
        Client("embedded:a\0b")
