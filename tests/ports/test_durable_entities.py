"""Durable Task and Durable Functions: durabletask-python, examples/: entities and schedules."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from processor import entity, workflow
from processor.testing import Environment

# --- entities/class_based_entity


@entity.define
class Counter:
    value: int = 0

    def set(self, value: int) -> None:
        self.value = value

    def add(self, more: int = 1) -> int:
        self.value += more
        return self.value

    def get(self) -> int:
        return self.value


@workflow.define
async def counts() -> int:
    workflow.signal_entity(Counter.set, "mine", 0)
    await workflow.call_entity(Counter.add, "mine", 1)
    return await workflow.call_entity(Counter.get, "mine")


def test_class_based_entity() -> None:
    """entities/class_based_entity: 20 lines, theirs 41. What is signaled first is done first."""

    async def main() -> None:
        async with Environment([counts], entities=[Counter]) as env:
            assert await env.run(counts) == 1

    asyncio.run(main())


# --- entities/class_based_entity_actions


@workflow.define
async def greets() -> str:
    return "Hello world!"


@entity.define
class Child:
    value: int = 0

    def add(self, more: int) -> None:
        self.value += more

    def update_parent(self) -> None:
        if entity.info().key != "parent":
            workflow.signal_entity(Child.add, "parent", self.value)

    async def start_hello(self) -> None:
        await workflow.start_child(greets, id="hello", parent_close="abandon")

    def get(self) -> int:
        return self.value


@workflow.define
async def acts() -> int:
    workflow.signal_entity(Child.start_hello, "mine")
    await workflow.call_entity(Child.add, "mine", 1)
    await workflow.call_entity(Child.update_parent, "mine")
    return await workflow.call_entity(Child.get, "parent")


def test_class_based_entity_actions() -> None:
    """entities/class_based_entity_actions: 27 lines, theirs 54. It signals and starts others."""

    async def main() -> None:
        async with Environment([acts, greets], entities=[Child]) as env:
            assert await env.run(acts) == 1
            assert await env.handle("hello").result() == "Hello world!"

    asyncio.run(main())


# --- entities/entity_locking


@workflow.define
async def counts_alone() -> int:
    async with workflow.lock(entity.at(Counter, "mine")):
        await workflow.call_entity(Counter.set, "mine", 0)
        await workflow.call_entity(Counter.add, "mine", 1)
        return await workflow.call_entity(Counter.get, "mine")


def test_entity_locking() -> None:
    """entities/entity_locking: 12 lines, theirs 43. Nobody comes in between."""

    async def main() -> None:
        async with Environment([counts_alone], entities=[Counter]) as env:
            results = await asyncio.gather(*(env.run(counts_alone) for _ in range(5)))
            assert results == [1] * 5

    asyncio.run(main())


# --- scheduled_tasks


@workflow.define
async def greets_later(name: str) -> str:
    await workflow.sleep(1)
    return f"Hello, {name}!"


def test_scheduled_tasks() -> None:
    """scheduled_tasks: 19 lines, theirs 46. A run each five seconds, with a pause."""

    async def main() -> None:
        async with Environment([greets_later]) as env:
            every = timedelta(seconds=5)
            schedule = await env.schedules.create(greets_later, "world", id="greet", every=every)
            await env.sleep(12)
            assert (await schedule.describe()).last_result == "Hello, world!"
            await schedule.pause()
            before = (await schedule.describe()).actions
            await env.sleep(20)
            assert (await schedule.describe()).actions == before >= 2
            await schedule.resume()
            assert [each.id async for each in env.schedules.list()] == ["greet"]
            assert await schedule.delete()

    asyncio.run(main())
