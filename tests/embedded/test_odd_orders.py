"""Odd orders: cancelled before it begins, cancelled thrice, failed after a cancellation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from processor import (
    ApplicationError,
    ChildFailed,
    PayloadTooLarge,
    RetryPolicy,
    RunDescription,
    Settings,
    Status,
    ValueNotSet,
    WorkflowFailed,
    workflow,
)
from processor.testing import Environment

CACHED = pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])


@workflow.define
async def waits() -> None:
    await workflow.wait_for_event("go")


@workflow.define
async def double(number: int) -> int:
    return 2 * number


@workflow.define
async def one_after_the_other(count: int) -> int:
    """Has one child at a time, and starts as many again that are taken back at once."""
    total = 0
    for number in range(count):
        asked = asyncio.create_task(workflow.call_child(waits))
        await asyncio.sleep(0)
        asked.cancel()
        total += await workflow.call_child(double, number)
    return total


@CACHED
def test_children_that_have_ended_or_never_left_leave_room_for_others(cached: int | None) -> None:
    async def main() -> None:
        bound = Settings(children_open_max=2)
        flows = [one_after_the_other, double, waits]
        async with Environment(flows, settings=bound, max_cached_runs=cached) as env:
            assert await env.run(one_after_the_other, 6) == 30

    asyncio.run(main())


@workflow.define
async def cleans_up() -> None:
    try:
        await workflow.wait_for_event("go")
    finally:
        await asyncio.sleep(60)


@workflow.define
async def cancels_it_thrice() -> list[bool]:
    child = await workflow.start_child(cleans_up, id="child")
    told = [child.cancel("first"), child.cancel("second")]
    await asyncio.sleep(1)
    told.append(child.cancel("third"))
    try:
        await child
    except asyncio.CancelledError:
        told.append(child.cancel("fourth"))
    return told


@CACHED
def test_a_child_is_asked_to_stop_once_however_often_it_is_cancelled(cached: int | None) -> None:
    async def main() -> None:
        async with Environment([cancels_it_thrice, cleans_up], max_cached_runs=cached) as env:
            assert await env.run(cancels_it_thrice, id="run") == [True, True, True, False]
            types = [event.type for event in await env.handle("run").history()]
            assert types.count("ChildCancelRequested") == 1
            assert (await env.handle("child").describe()).cancel_reason == "first"

    asyncio.run(main())


ATTEMPTS: list[tuple[int, int]] = []


@workflow.define(retry=RetryPolicy(timedelta(seconds=1), maximum_attempts=2))
async def fails_once_in_each_run(left: int) -> str:
    attempt = workflow.info().attempt
    if (left, attempt) not in ATTEMPTS:
        ATTEMPTS.append((left, attempt))
    if attempt == 1:
        raise ApplicationError(f"not yet, {left}")
    if left > 0:
        workflow.continue_as_new(left - 1)
    return "done"


def test_attempts_count_anew_in_a_run_that_goes_on() -> None:
    async def main() -> None:
        ATTEMPTS.clear()
        async with Environment([fails_once_in_each_run]) as env:
            assert await env.run(fails_once_in_each_run, 2) == "done"
        assert ATTEMPTS == [(2, 1), (2, 2), (1, 1), (1, 2), (0, 1), (0, 2)]

    asyncio.run(main())


@workflow.define(retry=RetryPolicy(timedelta(seconds=1)))
async def fails_when_it_is_cancelled() -> None:
    try:
        await workflow.wait_for_event("go")
    except asyncio.CancelledError:
        raise ApplicationError("the clean-up failed") from None


@workflow.define
async def cancels_what_fails_then() -> str:
    child = await workflow.start_child(fails_when_it_is_cancelled)
    child.cancel()
    try:
        await child
    except ChildFailed as error:
        return f"{error.kind}: {error.__cause__}"
    return "it ended otherwise"


def test_a_run_that_fails_after_its_cancellation_is_not_tried_again() -> None:
    async def main() -> None:
        async with Environment([fails_when_it_is_cancelled, cancels_what_fails_then]) as env:
            handle = await env.start(fails_when_it_is_cancelled, id="run")
            await env.sleep(1)
            assert await handle.cancel("enough")
            with pytest.raises(WorkflowFailed, match="the clean-up failed"):
                await handle.result(within=timedelta(minutes=1))
            assert (await env.handle("run").describe()).run_id == handle.run_id
            assert await env.run(cancels_what_fails_then) == "failed: the clean-up failed"

    asyncio.run(main())


BEGUN: list[str] = []


@workflow.define
async def fails_at_first() -> bool:
    info = workflow.info()
    begun = f"{info.started:%H:%M:%S}, {info.attempt}"
    if begun not in BEGUN:
        BEGUN.append(begun)
    if info.last_result(bool) is None and info.attempt == 1:
        raise ApplicationError("not yet")
    await asyncio.sleep(10)
    return True


def test_the_time_out_counts_anew_at_each_time_of_a_cron_string_also_after_a_retry() -> None:
    """A retry keeps the time-out of its chain; what begins at the next time has its own."""

    async def main() -> None:
        BEGUN.clear()
        begin = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
        async with Environment([fails_at_first], start=begin) as env:
            handle = await env.start(
                fails_at_first,
                cron="@hourly",
                retry=RetryPolicy(timedelta(seconds=10)),
                execution_timeout=60,
            )
            await env.sleep(timedelta(hours=2))
            assert BEGUN == ["13:00:00, 1", "13:00:10, 2", "14:00:00, 1"]
            second = await env.handle(handle.id).describe()
            assert second.status is Status.RUNNING and second.begins is not None
            ends = [run.status for run in await ends_of(env, handle.id, handle.run_id)]
            assert ends == [Status.FAILED, Status.COMPLETED, Status.COMPLETED]
            await handle.terminate()

    asyncio.run(main())


async def ends_of(env: Environment, id: str, run_id: str | None) -> list[RunDescription]:
    """Return the runs of a chain that have ended, in order."""
    found = []
    while run_id is not None:
        run = await env.handle(id, run_id).describe()
        if run.status.is_open:
            break
        found.append(run)
        run_id = run.successor
    return found


@workflow.define
async def sets_late(run: int) -> int:
    if run == 0:
        await workflow.wait_for_event("go")
        workflow.set_value("other", "not this one")
        await workflow.wait_for_event("go")
        workflow.continue_as_new(1)
    await workflow.wait_for_event("go")
    workflow.set_value("late", run)
    return run


@CACHED
def test_who_waits_for_a_value_hears_of_that_one_also_from_a_later_run(cached: int | None) -> None:
    async def main() -> None:
        async with Environment([sets_late], max_cached_runs=cached) as env:
            handle = await env.start(sets_late, 0, id="run")
            of_chain = asyncio.ensure_future(handle.value("late"))
            of_run = asyncio.ensure_future(env.handle("run", handle.run_id).value("late"))
            for _ in range(2):
                await asyncio.sleep(0.05)
                assert not of_chain.done(), "it is another value that was set"
                assert not of_run.done()
                await handle.raise_event("go")
            with pytest.raises(ValueNotSet, match="is continued, and has not set the value 'late'"):
                await of_run
            assert not of_chain.done(), "the chain goes on"
            await handle.raise_event("go")
            assert await of_chain == 1

    asyncio.run(main())


@workflow.define
async def goes_on_with(size: int, text: str) -> str:
    if text:
        return f"{len(text):,}"
    try:
        workflow.continue_as_new(0, "x" * size)
    except PayloadTooLarge as error:
        return str(error)


def test_a_chain_that_is_tried_again_goes_on_with_what_fits_into_each_end_of_a_run() -> None:
    async def main() -> None:
        large = Settings(payload_bytes_max=4_000_000)
        async with Environment([goes_on_with], settings=large) as env:
            assert await env.run(goes_on_with, 3_100_000, "") == "3,100,000"
            retry = RetryPolicy(maximum_attempts=2)
            said = await env.run(goes_on_with, 3_100_000, "", retry=retry)
            assert "with a retry policy or a cron string it may have 3,000,000" in said

    asyncio.run(main())
