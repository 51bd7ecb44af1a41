"""Workflows that are tried again: the next run of the chain gets what the one before left."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from processor import (
    ApplicationError,
    Client,
    InvalidArgument,
    PayloadTooLarge,
    RetryPolicy,
    Settings,
    Status,
    Worker,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTimedOut,
    workflow,
)
from processor.testing import Environment

SOON = RetryPolicy(timedelta(milliseconds=1))
SETTINGS = [Settings(cached_runs_max=0), Settings()]


class Unwanted(ApplicationError):
    """Not worth another try."""


@workflow.define(retry=SOON)
async def third_time(answer: str) -> list[object]:
    info = workflow.info()
    if info.attempt < 3:
        raise ApplicationError(f"attempt {info.attempt}")
    return [answer, info.attempt, str(info.last_failure), info.first_run_id != info.run_id]


@workflow.define
async def always_fails(kind: str = "usual") -> None:
    raise Unwanted("no") if kind == "unwanted" else ApplicationError("again")


@workflow.define
async def collects(count: int) -> list[int]:
    """The first run takes one event, and fails; the second one gets the rest."""
    if workflow.info().attempt == 1:
        await workflow.wait_for_event("go")
        await workflow.wait_for_event("e")
        raise ApplicationError("half way")
    return [await workflow.wait_for_event("e", int) for _ in range(count)]


@workflow.define
async def bug() -> None:
    raise ValueError("no failure, but a bug")


@workflow.define(execution_timeout=0.05)
async def limited() -> None:
    await asyncio.sleep(3600)


MENDED: list[str] = []
"""What a newer release of ``has_a_bug`` has instead of the bug."""


@workflow.define(retry=SOON)
async def has_a_bug(count: int) -> list[int]:
    """The first run meets the bug at "go", having taken one event; mended, it fails there."""
    if workflow.info().attempt == 1:
        await workflow.wait_for_event("e")
        await workflow.wait_for_event("go")
        if not MENDED:
            raise ValueError("a bug")
        raise ApplicationError("no bug, but a failure")
    return [await workflow.wait_for_event("e", int) for _ in range(count)]


@workflow.define(retry=RetryPolicy(timedelta(hours=1)))
async def tells_its_begin() -> list[object]:
    info, clock = workflow.info(), asyncio.get_running_loop().time()
    if info.attempt == 1:
        raise ApplicationError("once")
    return [info.started.isoformat(), info.started == workflow.now(), clock, time.monotonic()]


MEGABYTE = "m" * 990_000


@workflow.define(retry=SOON)
async def asks_for_all(memo: str, count: int) -> list[int]:
    """The last turn of the first run asks for all that it may, and fails with all that it may."""
    if workflow.info().attempt > 1:
        return [len(await workflow.wait_for_event("e", str)) for _ in range(count)]
    await workflow.wait_for_event("go")
    asked, text = 0, ""
    while not text:
        try:
            workflow.publish("records", "key", MEGABYTE)
            asked += 1
        except PayloadTooLarge as error:
            text = str(error)
    raise ApplicationError(f"{asked} asked: {text}", details=MEGABYTE)


@workflow.define
async def large(one: str, memo: str) -> None:
    raise ApplicationError("again")


ALL = [asks_for_all, large, tells_its_begin, third_time, always_fails, collects, bug, has_a_bug]


@pytest.mark.parametrize("settings", SETTINGS, ids=["replayed", "live"])
def test_a_run_that_failed_is_followed_by_another_one(tmp_path: Path, settings: Settings) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=ALL, settings=settings), Client(server) as client:
            expected = ["x", 3, "attempt 2", True]
            assert await client.run(third_time, "x") == expected
            handle = await client.start(third_time, "x", id="a")
            assert await handle.result() == expected
            latest = await client.handle("a").describe()
            assert latest.status is Status.COMPLETED and latest.run_id != handle.run_id
            with pytest.raises(WorkflowFailed, match="attempt 1"):
                await client.handle("a", handle.run_id).result()

    asyncio.run(main())


def test_a_start_by_name_is_as_the_definition_says(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=[*ALL, limited]), Client(server) as client:
            assert (await client.run("third_time", "x"))[:2] == ["x", 3]
            with pytest.raises(WorkflowTimedOut):
                await client.run("limited")
            once = RetryPolicy(maximum_attempts=1)
            with pytest.raises(WorkflowFailed, match="attempt 1"):
                await client.run("third_time", "x", retry=once)
            handle = await client.start("limited", execution_timeout=3600)
            assert (await handle.history())[0].fields["execution_timeout_ms"] == 3_600_000

    asyncio.run(main())


def test_the_last_attempt_fails_the_chain(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            thrice = RetryPolicy(timedelta(milliseconds=1), maximum_attempts=3)
            handle = await client.start(always_fails, retry=thrice)
            with pytest.raises(WorkflowFailed, match="again"):
                await handle.result()
            started = (await handle.history())[0]
            assert started.fields["lineage"]["attempt"] == 3
            never = RetryPolicy(timedelta(hours=1), non_retryable=(Unwanted,))
            with pytest.raises(WorkflowFailed, match="no"):
                await client.run(always_fails, "unwanted", retry=never)

    asyncio.run(main())


def test_events_that_a_run_left_reach_the_next_one_in_order(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            handle = await client.start(collects, 4, retry=SOON)
            for number in range(5):
                await handle.raise_event("e", number)
            await handle.raise_event("go")
            assert await handle.result() == [1, 2, 3, 4]

    asyncio.run(main())


def test_a_run_that_waits_for_its_time_takes_events_and_can_be_cancelled(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    late = RetryPolicy(timedelta(hours=1))

    async def begin() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            handle = await client.start(always_fails, id="late", retry=late)
            while (await handle.describe()).run_id == handle.run_id:
                await asyncio.sleep(0.01)
            await handle.raise_event("e", 1)

    async def cancel() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            handle = client.handle("late")
            waits = await handle.describe()
            assert waits.status is Status.RUNNING and waits.pending["unread"] == {"e": 1}
            assert [timer["id"] for timer in waits.pending["timers"]] == [0]
            await handle.cancel("not any more")
            with pytest.raises(WorkflowCancelled, match="not any more"):
                await handle.result()

    asyncio.run(begin())
    asyncio.run(cancel())


def test_the_execution_time_out_is_that_of_the_whole_chain(tmp_path: Path) -> None:
    async def main() -> None:
        async with Environment(workflows=ALL) as env:
            limited = RetryPolicy(timedelta(minutes=1), coefficient=1.0)
            limit = timedelta(minutes=5, seconds=30)
            handle = await env.start(always_fails, retry=limited, execution_timeout=limit)
            with pytest.raises((WorkflowFailed, WorkflowTimedOut)):
                await handle.result()
            started = (await handle.history())[0]
            assert started.fields["lineage"]["attempt"] == 6, "none begins after the time-out"

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])
def test_a_run_that_waited_begins_when_its_code_does(cached: int | None) -> None:
    async def main() -> None:
        async with Environment(workflows=ALL, max_cached_runs=cached) as env:
            begun = env.now()
            told, is_now, *clocks = await env.run(tells_its_begin)
            late = datetime.fromisoformat(str(told)) - begun
            assert timedelta(hours=1) <= late < timedelta(hours=1, seconds=1)
            assert is_now and clocks == [60.0, 60.0], "a minute before its begin is 0"

    asyncio.run(main())


def test_a_bug_parks_the_run_and_is_not_tried_again(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            handle = await client.start(bug, retry=SOON)
            assert (await handle.describe()).status is Status.PARKED

    asyncio.run(main())


@pytest.mark.parametrize("settings", SETTINGS, ids=["replayed", "live"])
def test_events_of_a_parked_run_reach_the_run_after_it(tmp_path: Path, settings: Settings) -> None:
    """All of them come in one activation, and the first one of them ends the run."""
    server = f"embedded:{tmp_path}"
    MENDED.clear()

    async def park() -> None:
        async with Worker(server, workflows=ALL, settings=settings), Client(server) as client:
            handle = await client.start(has_a_bug, 3, id="parked")
            for number in range(2):
                await handle.raise_event("e", number)
            await handle.raise_event("go")
            assert (await handle.describe()).status is Status.PARKED
            for number in range(2, 4):
                await handle.raise_event("e", number)

    async def go_on() -> None:
        async with Worker(server, workflows=ALL, settings=settings), Client(server) as client:
            assert await client.handle("parked").result(20) == [1, 2, 3]

    asyncio.run(park())
    MENDED.append("fails")
    asyncio.run(go_on())


@pytest.mark.parametrize("cached", [0, 100])
def test_the_end_of_a_run_and_the_start_of_the_next_fit_into_a_record(
    tmp_path: Path, cached: int
) -> None:
    """All at once: arguments, events, what the last turn asks for, the error with its details."""
    server = f"embedded:{tmp_path}"
    settings = Settings(cached_runs_max=cached)

    async def main() -> None:
        async with Worker(server, workflows=ALL, settings=settings), Client(server) as client:
            handle = await client.start(asks_for_all, MEGABYTE, 4, id="all")
            for _ in range(4):
                await handle.raise_event("e", MEGABYTE)
            await handle.raise_event("go")
            assert await handle.result(20) == [990_000] * 4
            first = await client.handle("all", handle.run_id).describe()
            assert first.failure is not None
            assert "asked: one turn cannot ask for" in str(first.failure)
            assert "for events that no code has taken" in str(first.failure)

    asyncio.run(main())


def test_a_start_that_would_be_too_large_for_each_end_is_refused(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    settings = Settings(payload_bytes_max=6_000_000)

    async def main() -> None:
        async with (
            Worker(server, workflows=ALL, settings=settings),
            Client(server, settings=settings) as client,
        ):
            told = "the start of 'large' has 3,.* bytes, arguments and memo together; with a retry"
            with pytest.raises(PayloadTooLarge, match=told):
                await client.start(large, MEGABYTE, MEGABYTE * 3, retry=SOON)
            with pytest.raises(WorkflowFailed, match="again"):
                await client.run(large, MEGABYTE, MEGABYTE * 3)

    asyncio.run(main())


def test_what_is_no_policy_is_refused() -> None:
    async def main() -> None:
        async with Environment(workflows=ALL) as env:
            with pytest.raises(InvalidArgument, match="start: retry: give a RetryPolicy"):
                await env.start(bug, retry=3)  # type: ignore[arg-type]

    asyncio.run(main())
    with pytest.raises(InvalidArgument, match=r"retry: give a RetryPolicy, not 5"):
        workflow.define(retry=5)  # type: ignore[call-overload]
