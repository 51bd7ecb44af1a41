"""The golden order in virtual time, and the test environment that users get."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from examples.orders import Order, order_processing
from processor import (
    ActivityTimedOut,
    ApplicationError,
    RetryPolicy,
    Status,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowNotFound,
    WorkflowTerminated,
    activity,
    workflow,
)
from processor.testing import Environment
from tests.orders import SCENARIOS, Scenario, play

from .cases import COMPLETED, REFUSED
from .registered import ORDER_ACTIVITIES

REVIEWED = Order("A-1", 5_000.0)
START = datetime(2026, 1, 1, tzinfo=UTC)


def environment(**how: Any) -> Environment:
    return Environment([order_processing], ORDER_ACTIVITIES, **how)


async def called(env: Environment, id: str) -> Counter[str]:
    """Return how often each activity completed."""
    events = await env.handle(id).history()
    names = {e.fields["id"]: e.fields["name"] for e in events if e.type == "ActivityScheduled"}
    done = [e for e in events if e.type == "ActivityCompleted"]
    return Counter(names[event.fields["id"]] for event in done)


async def approved() -> None:
    async with environment() as env:
        handle = await env.start(order_processing, REVIEWED, id="x")
        await env.sleep(timedelta(hours=1))
        assert (await handle.describe()).pending["timers"]
        await handle.raise_event("fraudReviewApproved", True)
        assert await handle.result() == COMPLETED
        assert env.now() == START + timedelta(hours=25)
        assert (await called(env, "x"))["refund_payment"] == 0


async def rejected() -> None:
    async with environment() as env:
        handle = await env.start(order_processing, REVIEWED, id="x")
        await handle.raise_event("fraudReviewApproved", False)
        assert await handle.result() == REFUSED
        assert (await called(env, "x"))["refund_payment"] == 1


async def two_hours_pass() -> None:
    async with environment() as env:
        assert await env.run(order_processing, REVIEWED, id="x") == REFUSED
        assert env.now() == START + timedelta(hours=2)


async def payment_fails() -> None:
    async with environment() as env:
        with pytest.raises(WorkflowFailed) as failed:
            await env.run(order_processing, Order("A-1", 10.0, payment_failures=5), id="x")
        assert isinstance(failed.value.__cause__, ApplicationError)
        description = await env.handle("x").describe()
        assert description.status is Status.FAILED
        assert env.now() == START + timedelta(seconds=40)


async def payment_retried() -> None:
    async with environment() as env:
        order = Order("A-1", 10.0, payment_failures=2)
        assert await env.run(order_processing, order, id="x") == COMPLETED
        assert env.now() == START + timedelta(hours=24, seconds=20)


async def no_review() -> None:
    async with environment() as env:
        assert await env.run(order_processing, Order("A-1", 10.0), id="x") == COMPLETED
        assert (await called(env, "x"))["notify_fraud_team"] == 0


@pytest.mark.parametrize(
    "scenario",
    [approved, rejected, two_hours_pass, payment_fails, payment_retried, no_review],
    ids=lambda scenario: scenario.__name__,
)
def test_the_order(scenario: Any) -> None:
    asyncio.run(scenario())


@pytest.mark.parametrize("max_cached_runs", [None, 0], ids=["cached", "replayed"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_scenarios_of_every_runtime(scenario: Scenario, max_cached_runs: int | None) -> None:
    async def main() -> None:
        async with environment(max_cached_runs=max_cached_runs) as env:
            ticking = asyncio.ensure_future(tick(env))
            await play(env, scenario, scenario.name)
            ticking.cancel()

    asyncio.run(main())


async def tick(env: Environment) -> None:
    """Let time pass for a test that looks again and again instead of awaiting a result."""
    while True:
        await env.sleep(0.01)
        await asyncio.sleep(0.001)


# --- the environment --------------------------------------------------------------------------


@activity.define
async def fetch(name: str) -> str:
    raise AssertionError("tests replace it")


@activity.define
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@activity.define(queue="far", eager=False)
def count(word: str) -> int:
    return len(word)


@activity.define(start_to_close=5)
async def hangs() -> None:
    await asyncio.sleep(3600)


@workflow.define
async def greet(name: str) -> str:
    return f"{await fetch(name)} {await count(name)}"


@workflow.define
async def nap_twice(seconds: float) -> list[float]:
    return list(await asyncio.gather(nap(seconds), nap(seconds * 2)))


@workflow.define
async def waits() -> str:
    return await workflow.wait_for_event("go", str)


@workflow.define
async def hangs_once() -> str:
    try:
        await hangs.options(retry=RetryPolicy(maximum_attempts=1))()
    except ActivityTimedOut as error:
        return error.kind
    return "done"


def test_activities_are_replaced_by_mocks_async_or_not() -> None:
    async def main() -> None:
        async def fake(name: str) -> str:
            return f"Dear {name}"

        for mock in (fake, lambda name: f"Dear {name}"):
            async with Environment([greet], [fetch, count], mocks={fetch: mock}) as env:
                assert await env.run(greet, "Ada") == "Dear Ada 3"

    asyncio.run(main())


def test_an_activity_sleeps_in_virtual_time() -> None:
    async def main() -> None:
        async with Environment([nap_twice], [nap]) as env:
            assert await env.run(nap_twice, 1_000.0) == [1_000.0, 2_000.0]
            assert env.now() - START == timedelta(seconds=2_000)

    asyncio.run(main())


def test_an_activity_times_out_in_virtual_time() -> None:
    async def main() -> None:
        async with Environment([hangs_once], [hangs]) as env:
            assert await env.run(hangs_once) == "start_to_close"
            assert env.now() - START == timedelta(seconds=5)

    asyncio.run(main())


def test_a_run_is_cancelled_and_terminated() -> None:
    async def main() -> None:
        async with Environment([waits]) as env:
            first = await env.start(waits, id="a")
            second = await env.start(waits, id="b")
            await first.cancel("enough")
            await second.terminate("enough")
            with pytest.raises(WorkflowCancelled):
                await first.result()
            with pytest.raises(WorkflowTerminated):
                await second.result()
            assert {run.workflow_id async for run in env.list()} == {"a", "b"}
            with pytest.raises(WorkflowNotFound):
                await env.handle("c").describe()

    asyncio.run(main())


def test_time_stands_still_while_nobody_waits() -> None:
    async def main() -> None:
        async with environment() as env:
            await env.start(order_processing, REVIEWED, id="x")
            await asyncio.sleep(0.02)
            assert env.now() == START
            await env.sleep(timedelta(hours=3))
            assert (await env.handle("x").describe()).status is Status.COMPLETED

    asyncio.run(main())


def test_a_result_that_does_not_come_ends_in_real_time() -> None:
    async def main() -> None:
        async with Environment([waits]) as env:
            handle = await env.start(waits, id="a")
            with pytest.raises(TimeoutError):
                await handle.result(timeout=0.05)
            waiting = asyncio.ensure_future(handle.result())
            await handle.raise_event("go", "now")
            assert await waiting == "now"

    asyncio.run(main())


def test_an_activity_may_use_real_sockets() -> None:
    @activity.define
    async def ask(port: int) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer.decode().strip()

    @workflow.define
    async def asks(port: int) -> str:
        return await ask(port)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server, Environment([asks], [ask]) as env:
            port = server.sockets[0].getsockname()[1]
            assert await env.run(asks, port) == "HELLO"
            assert env.now() == START

    asyncio.run(main())


def test_the_same_seed_gives_the_same_trace() -> None:
    async def trace(seed: int) -> str:
        async with environment(seed=seed) as env:
            await env.run(order_processing, REVIEWED, id="x")
            return env.trace_hash

    assert asyncio.run(trace(1)) == asyncio.run(trace(1)) != asyncio.run(trace(2))
