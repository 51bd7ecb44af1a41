"""Operators act on one activity: pause, resume, retry now, reset, other options, an end by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ActivityNotOpen,
    ApplicationError,
    Client,
    Handle,
    InvalidArgument,
    RetryPolicy,
    Settings,
    Worker,
    WorkflowFailed,
    activity,
    workflow,
)

DAYS = RetryPolicy(initial_interval=timedelta(days=2))
STARTED: list[int] = []
BROKEN = {"is": True}


@activity.define(retry=DAYS)
async def charge() -> str:
    STARTED.append(activity.info().attempt)
    if BROKEN["is"]:
        raise ApplicationError("it is down")
    return f"charged in attempt {STARTED[-1]}"


@activity.define(retry=RetryPolicy(initial_interval=timedelta(milliseconds=10), coefficient=1))
async def flaps() -> str:
    STARTED.append(activity.info().attempt)
    await asyncio.sleep(0.05)
    if BROKEN["is"]:
        raise ApplicationError("it is down")
    return "up"


@activity.define
async def hangs() -> str:
    STARTED.append(activity.info().attempt)
    try:
        await asyncio.sleep(1_000_000)
    except asyncio.CancelledError:
        STARTED.append(0)
        raise
    return "never"


BY_NAME = {each.name: each for each in (charge, flaps, hangs)}


@workflow.define
async def order(name: str) -> str:
    return await BY_NAME[name]()


Talk = Callable[[Client], Awaitable[Any]]


def run(path: Path, talk: Talk, **settings: Any) -> Any:
    STARTED.clear()
    BROKEN["is"] = True

    async def main() -> Any:
        server = f"embedded:{path}"
        worker = Worker(
            server,
            workflows=[order],
            activities=[*BY_NAME.values()],
            settings=Settings(**settings),
        )
        async with worker, Client(server) as client, asyncio.timeout(30):
            return await talk(client)

    return asyncio.run(main())


async def stood(handle: Handle[Any]) -> dict[str, Any]:
    found = (await handle.describe()).pending["activities"]
    return dict(found[0]) if found else {}


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("cached", [1_000, 0])
def test_the_next_attempt_begins_now(tmp_path: Path, cached: int) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(order, "charge", id="w")
        await until(lambda: STARTED == [1])
        while (await stood(handle))["retry_at_ms"] is None:
            await asyncio.sleep(0.01)
        BROKEN["is"] = False
        assert await handle.activity(1).retry_now()
        assert await handle.result() == "charged in attempt 2"
        with pytest.raises(ActivityNotOpen, match="the run is completed"):
            await handle.activity(1).retry_now()

    run(tmp_path, talk, cached_runs_max=cached)


def test_a_pause_lets_what_runs_end_and_begins_nothing(tmp_path: Path) -> None:
    async def first(client: Client) -> None:
        handle = await client.start(order, "flaps", id="w")
        it = handle.activity(1)
        await until(lambda: len(STARTED) == 2)
        assert await it.pause("it flaps")
        assert not await it.pause(), "it is paused already"
        while (await stood(handle))["retry_at_ms"] is None:
            await asyncio.sleep(0.01)
        before = len(STARTED)
        await asyncio.sleep(0.3)
        assert len(STARTED) == before
        assert (await stood(handle))["paused"]
        adjusted = [e for e in await handle.history() if e.type == "ActivityAdjusted"]
        assert [(e.fields["paused"], e.fields["reason"]) for e in adjusted] == [(True, "it flaps")]
        assert await it.retry_now(), "one attempt by hand, and it stays paused"
        await until(lambda: len(STARTED) == before + 1)
        await asyncio.sleep(0.3)
        assert len(STARTED) == before + 1

    async def second(client: Client) -> None:
        handle = client.handle("w")
        await asyncio.sleep(0.3)
        assert STARTED == [], "it is paused after a restart too"
        BROKEN["is"] = False
        assert await handle.activity(1).resume()
        assert await handle.result() == "up"

    run(tmp_path, first)
    run(tmp_path, second)


def test_other_options(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(order, "charge", id="w")
        await until(lambda: STARTED == [1])
        it = handle.activity(1)
        soon = RetryPolicy(initial_interval=timedelta(seconds=0.01), maximum_attempts=3)
        assert await it.set_options(retry=soon)
        assert not await it.set_options(retry=soon)
        assert await it.reset()
        assert await it.retry_now()
        with pytest.raises(WorkflowFailed, match="it is down"):
            await handle.result()
        assert STARTED == [1, 2, 3, 4], "three more"

    run(tmp_path, talk)


def test_what_runs_ends_by_hand(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(order, "hangs", id="w")
        await until(lambda: STARTED == [1])
        await handle.activity(1).complete("by hand")
        assert await handle.result() == "by hand"
        await until(lambda: STARTED == [1, 0])
        handle = await client.start(order, "charge", id="v")
        while (await stood(handle))["retry_at_ms"] is None:
            await asyncio.sleep(0.01)
        await handle.activity(1).fail(ApplicationError("given up"))
        with pytest.raises(WorkflowFailed, match="given up"):
            await handle.result()

    run(tmp_path, talk)


def test_wrong_arguments(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        wrong: Any = -1
        with pytest.raises(InvalidArgument, match="activity: id"):
            client.handle("w").activity(wrong)
        it = client.handle("w").activity(1)
        with pytest.raises(InvalidArgument, match="set_options: queue"):
            await it.set_options(queue="a b")
        with pytest.raises(InvalidArgument, match="cancellation: the workflow's code says it"):
            await it.set_options(cancellation="wait")
        with pytest.raises(InvalidArgument, match="pause: reason"):
            await it.pause(wrong)

    run(tmp_path, talk)
