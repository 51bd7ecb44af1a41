"""Temporal: samples-python, hello/."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import pytest

from processor import (
    ActivityError,
    ApplicationError,
    RetryPolicy,
    WorkflowCancelled,
    WorkflowFailed,
    activity,
    workflow,
)
from processor.testing import Environment

# --- hello/activity


@dataclass
class Greeting:
    word: str
    name: str


@activity.define(start_to_close=10)
def compose(greeting: Greeting) -> str:
    return f"{greeting.word}, {greeting.name}!"


@workflow.define
async def greets(name: str) -> str:
    return await compose(Greeting("Hello", name))


def test_activity() -> None:
    """hello/activity: 15 lines, theirs 46. An activity with a dataclass as its argument."""

    async def main() -> None:
        async with Environment([greets], [compose]) as env:
            assert await env.run(greets, "World") == "Hello, World!"

    asyncio.run(main())


# --- hello/activity_choice


class Fruit(IntEnum):
    APPLES = 1
    BANANAS = 2
    CHERRIES = 3


@dataclass
class Item:
    fruit: Fruit
    amount: int


@activity.define
async def order_apples(amount: int) -> str:
    return f"{amount} apples"


@activity.define
async def order_bananas(amount: int) -> str:
    return f"{amount} bananas"


@activity.define
async def order_cherries(amount: int) -> str:
    return f"{amount} cherries"


ORDERS = {
    Fruit.APPLES: order_apples,
    Fruit.BANANAS: order_bananas,
    Fruit.CHERRIES: order_cherries,
}


@workflow.define
async def shopping(items: list[Item]) -> list[str]:
    return [await ORDERS[item.fruit](item.amount) for item in items]


def test_activity_choice() -> None:
    """hello/activity_choice: 31 lines, theirs 85. Data decides which activity is called."""

    async def main() -> None:
        async with Environment([shopping], ORDERS.values()) as env:
            items = [Item(Fruit.BANANAS, 8), Item(Fruit.CHERRIES, 1)]
            assert await env.run(shopping, items) == ["8 bananas", "1 cherries"]

    asyncio.run(main())


# --- hello/activity_heartbeat


@activity.define(start_to_close=60, heartbeat=2)
def compose_slowly(name: str) -> str:
    for step in range(3):
        activity.heartbeat(step)
        time.sleep(0.01)
    return f"Hello, {name}!"


@workflow.define
async def greets_slowly(name: str) -> str:
    return await compose_slowly(name)


def test_activity_heartbeat() -> None:
    """hello/activity_heartbeat: 14 lines, theirs 50. A plain function says that it is alive."""

    async def main() -> None:
        async with Environment([greets_slowly], [compose_slowly]) as env:
            assert await env.run(greets_slowly, "World") == "Hello, World!"

    asyncio.run(main())


# --- hello/activity_method


class Database:
    def __init__(self) -> None:
        self.rows: list[str] = []

    @activity.define(start_to_close=10)
    async def insert(self, row: str) -> int:
        self.rows.append(row)
        return len(self.rows)


@workflow.define
async def inserts() -> int:
    await Database.insert("some data")
    return await Database.insert("more")


def test_activity_method() -> None:
    """hello/activity_method: 18 lines, theirs 42. Activities share what their object holds."""

    async def main() -> None:
        database = Database()
        async with Environment([inserts], [database.insert]) as env:
            assert await env.run(inserts) == 2
        assert database.rows == ["some data", "more"]

    asyncio.run(main())


# --- hello/activity_retry


@activity.define(retry=RetryPolicy(maximum_interval=2))
async def compose_at_last(name: str) -> str:
    attempt = activity.info().attempt
    if attempt < 4:
        raise RuntimeError("not yet")
    return f"Hello, {name}, after {attempt} attempts"


@workflow.define
async def greets_at_last(name: str) -> str:
    return await compose_at_last(name)


def test_activity_retry() -> None:
    """hello/activity_retry: 16 lines, theirs 49. What fails is tried again, 2 s apart at most."""

    async def main() -> None:
        async with Environment([greets_at_last], [compose_at_last]) as env:
            begun = env.now()
            assert await env.run(greets_at_last, "World") == "Hello, World, after 4 attempts"
            assert timedelta(seconds=4) < env.now() - begun < timedelta(seconds=6)

    asyncio.run(main())


# --- hello/async_activity_completion


@activity.define(start_to_close=10)
async def asks_somebody() -> str:
    TOKENS.append(activity.info().task_token)
    raise activity.CompleteAsync


TOKENS: list[str] = []


@workflow.define
async def greets_by_somebody() -> str:
    return await asks_somebody()


def test_async_activity_completion() -> None:
    """hello/async_activity_completion: 17 lines, theirs 60. A token names the open attempt."""

    async def main() -> None:
        async with Environment([greets_by_somebody], [asks_somebody]) as env:
            handle = await env.start(greets_by_somebody)
            await env.sleep(1)
            assert not await env.heartbeat(TOKENS[-1])
            await env.complete(TOKENS[-1], "Hello, World!")
            assert await handle.result() == "Hello, World!"

    asyncio.run(main())


# --- hello/cancellation


@activity.define(start_to_close=1_000, heartbeat=10)
async def never_done() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(1)


@activity.define
async def clean_up() -> None:
    CLEANED.append("cleaned up")


CLEANED: list[str] = []


@workflow.define
async def cleans_up() -> None:
    try:
        await never_done()
    finally:
        await clean_up()


def test_cancellation() -> None:
    """hello/cancellation: 25 lines, theirs 63. A cancelled run still cleans up."""

    async def main() -> None:
        async with Environment([cleans_up], [never_done, clean_up]) as env:
            handle = await env.start(cleans_up)
            await env.sleep(5)
            await handle.cancel("enough")
            with pytest.raises(WorkflowCancelled, match="enough"):
                await handle.result()
            assert CLEANED == ["cleaned up"]

    asyncio.run(main())


# --- hello/child_workflow


@workflow.define
async def composes(greeting: Greeting) -> str:
    return f"{greeting.word}, {greeting.name}!"


@workflow.define
async def has_a_child(name: str) -> str:
    return await workflow.call_child(composes, Greeting("Hello", name), id="child")


def test_child_workflow() -> None:
    """hello/child_workflow: 13 lines, theirs 42. The child has an id of its own."""

    async def main() -> None:
        async with Environment([composes, has_a_child]) as env:
            assert await env.run(has_a_child, "World", id="parent") == "Hello, World!"
            parent = (await env.handle("child").describe()).parent
            assert parent is not None and parent.workflow_id == "parent"

    asyncio.run(main())


# --- hello/continue_as_new


@workflow.define
async def loops(iteration: int) -> int:
    if iteration < 5:
        await asyncio.sleep(1)
        workflow.continue_as_new(iteration + 1)
    return iteration


def test_continue_as_new() -> None:
    """hello/continue_as_new: 17 lines, theirs 33. Five runs, one result."""

    async def main() -> None:
        async with Environment([loops]) as env:
            handle = await env.start(loops, 1, id="loops")
            assert await handle.result() == 5
            runs, run_id = 0, handle.run_id
            while run_id is not None:
                run_id = (await env.handle("loops", run_id).describe()).successor
                runs += 1
            assert runs == 5

    asyncio.run(main())


# --- hello/cron


@workflow.define
async def greets_each_minute(name: str) -> str:
    workflow.publish("greetings", name, await compose(Greeting("Hello", name)))
    return name


def test_cron() -> None:
    """hello/cron: 15 lines, theirs 47. A run each minute, until somebody ends the chain."""

    async def main() -> None:
        start = datetime(2030, 1, 1, tzinfo=UTC)
        async with Environment([greets_each_minute], [compose], start=start) as env:
            handle = await env.start(greets_each_minute, "World", id="cron", cron="* * * * *")
            await env.sleep(timedelta(minutes=3, seconds=1))
            assert len(env.published) == 3
            await handle.terminate("enough")
            await env.sleep(timedelta(minutes=3))
            assert len(env.published) == 3

    asyncio.run(main())


# --- hello/exception


@activity.define(retry=RetryPolicy(maximum_attempts=1))
async def fails_deep(name: str) -> str:
    try:
        raise KeyError(name)
    except KeyError as error:
        raise RuntimeError("greeting failed") from error


@workflow.define
async def fails_with_it(name: str) -> str:
    try:
        return await fails_deep(name)
    except ActivityError as error:
        raise ApplicationError("workflow failed", type="Greeting") from error


def test_exception() -> None:
    """hello/exception: 28 lines, theirs 63. The client sees the whole chain of causes."""

    async def main() -> None:
        async with Environment([fails_with_it], [fails_deep]) as env:
            with pytest.raises(WorkflowFailed) as failed:
                await env.run(fails_with_it, "World")
            chain: list[str] = []
            error: BaseException | None = failed.value
            while error is not None:
                chain.append(f"{type(error).__name__}: {error}")
                error = error.__cause__
            assert chain[1:] == [
                "ApplicationError: workflow failed",
                "ActivityFailed: RuntimeError: greeting failed",
                "ApplicationError: 'World'",  # its type says KeyError
            ]

    asyncio.run(main())


# --- hello/local_activity


@activity.define(eager=True, start_to_close=5)
async def compose_here(name: str) -> str:
    return f"Hello, {name}!"


@workflow.define
async def greets_here(name: str) -> str:
    return await compose_here(name)


def test_local_activity() -> None:
    """hello/local_activity: 11 lines, theirs 44. It runs in the process of its run."""

    async def main() -> None:
        async with Environment([greets_here], [compose_here]) as env:
            assert await env.run(greets_here, "World") == "Hello, World!"

    asyncio.run(main())


# --- hello/parallel_activity


@activity.define
async def greet_one(name: str) -> str:
    await asyncio.sleep(1)
    return f"Hello, {name}!"


@workflow.define
async def greets_all(names: list[str]) -> list[str]:
    return sorted(await asyncio.gather(*(greet_one(name) for name in names)))


def test_parallel_activity() -> None:
    """hello/parallel_activity: 15 lines, theirs 52. Five activities at once, in one second."""

    async def main() -> None:
        async with Environment([greets_all], [greet_one]) as env:
            begun = env.now()
            greetings = await env.run(greets_all, ["Ada", "Bob", "Cy", "Di", "Eve"])
            assert greetings[0] == "Hello, Ada!" and len(greetings) == 5
            assert env.now() - begun < timedelta(seconds=2)

    asyncio.run(main())
