"""``describe`` tells which business keys a run was given, and has not given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from processor import ApplicationError, Client, CorrelationTaken, RetryPolicy, Worker, workflow
from processor.client import Correlation, Handle
from processor.testing import Environment

S7, S8 = Correlation("shipment", "S-7"), Correlation("shipment", "S-8")


@workflow.define
async def holds(*keys: str) -> None:
    for key in keys:
        await workflow.correlate("shipment", key)
    await workflow.wait_for_event("back")
    await workflow.uncorrelate("shipment", keys[0])
    await workflow.wait_for_event("end")


@workflow.define
async def tries(key: str) -> None:
    try:
        await workflow.correlate("shipment", key)
    except CorrelationTaken:
        await workflow.wait_for_event("end")


@workflow.define
async def follows(key: str, how: str) -> None:
    """Take a key in the first run of a chain, and look at the next one."""
    info = workflow.info()
    if info.first_run_id == info.run_id:
        await workflow.correlate("shipment", key)
        await workflow.wait_for_event("next")
        if how == "continues":
            workflow.continue_as_new(key, how)
        raise ApplicationError("again")
    await workflow.wait_for_event("end")


@workflow.define
async def gives_up(key: str, second: str) -> None:
    """Give up a claim of a key that another claim holds, and a claim of one that is taken."""
    await workflow.correlate("shipment", key)
    for each in (key, second):
        task = asyncio.create_task(workflow.correlate("shipment", each))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await workflow.wait_for_event("end")


ALL: list[Any] = [holds, tries, follows, gives_up]


def played(main: Callable[[Environment], Coroutine[Any, Any, None]], **how: Any) -> None:
    async def run() -> None:
        async with Environment(ALL, **how) as env:
            await main(env)

    asyncio.run(run())


async def told(handle: Handle[Any]) -> list[Correlation]:
    return (await handle.describe()).correlations


@pytest.mark.parametrize("max_cached_runs", [1_000, 0])
def test_a_run_tells_its_keys_until_it_gives_them_back(max_cached_runs: int) -> None:
    async def main(env: Environment) -> None:
        first = await env.start(holds, "S-7", "S-8")
        await env.sleep(5)
        other = await env.start(tries, "S-7")
        await env.sleep(5)
        assert await told(first) == [S7, S8]
        assert await told(other) == [], "who is refused holds nothing"
        await first.signal("back")
        await env.sleep(5)
        assert await told(first) == [S8]
        await first.signal("end")
        await first.result()
        assert await told(first) == [], "its end has freed them"

    played(main, max_cached_runs=max_cached_runs)


@pytest.mark.parametrize("how", ["continues", "retries"])
def test_the_runs_that_follow_tell_the_keys_of_their_chain(how: str) -> None:
    async def main(env: Environment) -> None:
        retry = RetryPolicy(initial_interval=1, maximum_attempts=2)
        options: dict[str, Any] = {"retry": retry} if how == "retries" else {}
        handle = await env.start(follows, "S-7", how, **options)
        await env.sleep(5)
        await handle.signal("next")
        await env.sleep(5)
        found = await env.handle(handle.id).describe()
        assert found.run_id != handle.run_id and found.correlations == [S7]

    played(main)


def test_what_is_given_up_frees_nothing_that_another_claim_holds() -> None:
    async def main(env: Environment) -> None:
        handle = await env.start(gives_up, "S-7", "S-8")
        await env.sleep(5)
        assert await told(handle) == [S7]
        for key, holder in (("S-7", handle.id), ("S-8", None)):
            assert (await env.correlated("shipment", key).describe()).holder == holder

    played(main)


def test_a_parked_run_tells_its_keys(tmp_path: Path) -> None:
    """Also the one whose code does not fit its history any more, after a restart."""
    server = f"embedded:{tmp_path}"

    @workflow.define(name="holds")
    async def another(*keys: str) -> None:
        await workflow.wait_for_event("end")

    async def main() -> None:
        async with Worker(server, workflows=[holds]), Client(server) as client:
            handle = await client.start(holds, "S-7", id="order")
            await client.handle("order").describe()
            while not await told(handle):
                await asyncio.sleep(0.05)
        async with Worker(server, workflows=[another]), Client(server) as client:
            handle = client.handle("order")
            await handle.signal("end")
            while (await handle.describe()).parked is None:
                await asyncio.sleep(0.05)
            assert await told(handle) == [S7]

    asyncio.run(asyncio.wait_for(main(), 60))
