"""Runs whose code begins later: after a delay, or at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CommandRejected,
    RetryPolicy,
    Status,
    Worker,
    WorkflowCancelled,
    WorkflowNotFound,
    WorkflowTimedOut,
    workflow,
)
from processor.testing import Environment

BEGIN = datetime(2030, 1, 1, 12, tzinfo=UTC)


@workflow.define
async def told() -> list[str]:
    return [workflow.info().started.isoformat(), await workflow.wait_for_event("e", str)]


@workflow.define
class Hears:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        return [*self.heard, "began"]

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(what)

    @workflow.query
    def so_far(self) -> list[str]:
        return self.heard


@workflow.define
async def sleeps(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@workflow.define(retry=RetryPolicy(timedelta(minutes=1), maximum_attempts=2))
async def fails_once() -> str:
    if workflow.info().attempt == 1:
        raise ApplicationError("once")
    return workflow.info().started.isoformat()


@pytest.mark.parametrize(
    "when", [{"delay": 3600}, {"delay": timedelta(hours=1)}, {"at": BEGIN + timedelta(hours=1)}]
)
def test_the_code_begins_at_its_time(when: dict[str, Any]) -> None:
    async def main() -> None:
        async with Environment([told], start=BEGIN) as env:
            handle = await env.start(told, **when)
            await handle.raise_event("e", "early")
            found = await handle.describe()
            assert found.status is Status.RUNNING
            assert found.attempt is not None
            assert found.attempt["begins_ms"] == (BEGIN.timestamp() + 3600) * 1000
            assert await handle.result() == ["2030-01-01T13:00:00+00:00", "early"]
            assert env.now() == BEGIN + timedelta(hours=1)

    asyncio.run(main())


def test_handlers_hear_before_the_code_begins() -> None:
    async def main() -> None:
        async with Environment([Hears]) as env:
            handle = await env.start(Hears.run, delay=60)
            await handle.signal(Hears.hear, "a")
            assert await handle.query(Hears.so_far) == ["a"]
            await handle.signal(Hears.hear, "b")
            assert await handle.result() == ["a", "b", "began"]

    asyncio.run(main())


def test_a_time_that_has_passed_is_now_and_limits_count_from_the_begin() -> None:
    async def main() -> None:
        async with Environment([sleeps, fails_once], start=BEGIN) as env:
            handle = await env.start(sleeps, 5, at=BEGIN - timedelta(days=1))
            assert (await handle.describe()).attempt is None
            assert await handle.result() == "slept"
            late = await env.start(sleeps, 5, delay=60, execution_timeout=10)
            assert await late.result() == "slept"
            slow = await env.start(sleeps, 50, delay=60, execution_timeout=10)
            with pytest.raises(WorkflowTimedOut):
                await slow.result()
            began = env.now()
            again = await env.start(fails_once, delay=3600)
            assert await again.result() == (began + timedelta(seconds=3660)).isoformat()

    asyncio.run(main())


def test_a_run_that_waits_for_its_time_can_be_cancelled() -> None:
    async def main() -> None:
        async with Environment([sleeps], start=BEGIN) as env:
            handle = await env.start(sleeps, 1, delay=3600)
            await handle.cancel("no more")
            with pytest.raises(WorkflowCancelled, match="no more"):
                await handle.result()
            assert env.now() < BEGIN + timedelta(minutes=1)

    asyncio.run(main())


def test_the_delay_outlives_the_process(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=[sleeps]), Client(server) as client:
            await client.start(sleeps, 0, id="a", delay=1.5)
        async with Worker(server, workflows=[sleeps]), Client(server) as client:
            handle = client.handle("a")
            assert (await handle.describe()).attempt is not None
            assert await handle.result(timeout=10) == "slept"
            events = await handle.history()
            assert (events[-1].time - events[0].time) >= timedelta(seconds=1.4)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"delay": 1, "at": BEGIN}, "start: give one of delay, at and cron"),
        ({"at": datetime(2030, 1, 1)}, "start: at: give a datetime with a time zone"),
        ({"at": "2030-01-01"}, "start: at: give a datetime with a time zone"),
        ({"at": datetime(1960, 1, 1, tzinfo=UTC)}, "start: at: give a time after 1970"),
        ({"delay": -1}, "start: delay: give 0 s to 4,000 years"),
    ],
)
def test_what_is_no_time_is_refused(when: dict[str, Any], said: str) -> None:
    async def main() -> None:
        async with Environment([sleeps]) as env:
            with pytest.raises(ValueError, match=said):
                await env.start(sleeps, 1, **when)

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])
def test_a_run_that_waits_for_its_time_can_begin_now(cached: int | None) -> None:
    async def main() -> None:
        async with Environment([told, Hears], start=BEGIN, max_cached_runs=cached) as env:
            handle = await env.start(told, delay=3600, id="a")
            found = await handle.describe()
            assert found.begins == BEGIN + timedelta(hours=1)
            await env.sleep(60)
            assert await handle.start_now() is None
            assert (await handle.describe()).begins is None
            await env.sleep(7200)
            await handle.raise_event("e", "late")
            assert await handle.result() == ["2030-01-01T12:01:00+00:00", "late"]
            with pytest.raises(CommandRejected, match="does not wait for its time: it is comp"):
                await handle.start_now()
            begun = await env.start(told)
            with pytest.raises(CommandRejected, match="its time: its code has begun"):
                await begun.start_now()
            with pytest.raises(WorkflowNotFound):
                await env.handle("nobody").start_now()
            assert [event.type for event in await handle.history()][:2] == [
                "WorkflowStarted",
                "TimerFired",
            ]

    asyncio.run(main())


def test_a_retry_can_begin_now_and_an_old_handle_means_its_chain() -> None:
    async def main() -> None:
        async with Environment([fails_once], start=BEGIN) as env:
            handle = await env.start(fails_once)
            await env.sleep(1)
            assert (await handle.describe()).begins is not None
            await handle.start_now()
            ended = datetime.fromisoformat(await handle.result())
            assert ended < BEGIN + timedelta(seconds=5)

    asyncio.run(main())


def test_who_waits_too_short_is_told_when_the_code_begins() -> None:
    async def main() -> None:
        async with Environment([told], start=BEGIN) as env:
            handle = await env.start(told, delay=3600)
            with pytest.raises(TimeoutError, match="is running; its code begins at 2030-01-01"):
                await handle.result(within=60)

    asyncio.run(main())
