"""Temporal: samples-python, runs that live long and take what comes."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from processor import (
    ApplicationError,
    WorkflowFailed,
    WorkflowNotFound,
    activity,
    workflow,
)
from processor.testing import Environment

# --- updatable_timer


@workflow.define
class UpdatableTimer:
    def __init__(self, wakes: datetime) -> None:
        self.wakes, self.moved = wakes, False

    @workflow.run
    async def run(self, wakes: datetime) -> datetime:
        while (left := self.wakes - workflow.now()) > timedelta():
            self.moved = False
            try:
                await workflow.wait_until(lambda: self.moved, timeout=left)
            except TimeoutError:
                break
        return workflow.now()

    @workflow.signal
    def wake_at(self, when: datetime) -> None:
        self.wakes, self.moved = when, True

    @workflow.query
    def wakes_at(self) -> datetime:
        return self.wakes


def test_updatable_timer() -> None:
    """updatable_timer: 28 lines, theirs 134. A signal moves the time for which a run waits."""

    async def main() -> None:
        noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
        async with Environment([UpdatableTimer], start=noon) as env:
            handle = await env.start(UpdatableTimer.run, noon + timedelta(days=1))
            assert await handle.query(UpdatableTimer.wakes_at) == noon + timedelta(days=1)
            await handle.signal(UpdatableTimer.wake_at, noon + timedelta(hours=1))
            assert await handle.result() == noon + timedelta(hours=1)

    asyncio.run(main())


# --- bedrock/entity


@dataclass
class Chat:
    summary: str | None = None
    prompts: deque[str] = field(default_factory=deque)


@activity.define(schedule_to_close=20)
async def model(prompt: str) -> str:
    return f"<{prompt}>"


@workflow.define
class Conversation:
    def __init__(self, chat: Chat) -> None:
        self.prompts = chat.prompts
        self.history = [] if chat.summary is None else [("summary", chat.summary)]
        self.is_over = False

    @workflow.run
    async def run(self, chat: Chat) -> list[tuple[str, str]]:
        while True:
            await workflow.wait_until(lambda: self.prompts or self.is_over)
            if not self.prompts:
                return self.history
            prompt = self.prompts.popleft()
            self.history += [("user", prompt), ("answer", await model(prompt))]
            if len(self.history) >= 6:
                summary = await model(f"{len(self.history)} lines")
                workflow.continue_as_new(Chat(summary, self.prompts))

    @workflow.signal
    def ask(self, prompt: str) -> None:
        self.prompts.append(prompt)

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.query
    def so_far(self) -> list[tuple[str, str]]:
        return self.history


def test_bedrock_entity() -> None:
    """bedrock/entity: 45 lines, theirs 198. A chat that goes on from its own summary."""

    async def main() -> None:
        async with Environment([Conversation], [model]) as env:
            handle = await env.start(Conversation.run, Chat(), id="chat")
            for prompt in "abcd":
                await handle.signal(Conversation.ask, prompt)
            await env.sleep(1)
            said = [("summary", "<6 lines>"), ("user", "d"), ("answer", "<d>")]
            assert await handle.query(Conversation.so_far) == said
            await handle.signal(Conversation.end)
            assert await handle.result() == said

    asyncio.run(main())


# --- resource_pool


@dataclass
class Pool:
    holders: dict[str, str | None]
    waiters: list[str] = field(default_factory=list)


@workflow.define
class ResourcePool:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    @workflow.run
    async def run(self, pool: Pool) -> None:
        while True:
            await workflow.wait_until(lambda: (self.pool.waiters and self.free()) or self.is_long())
            if self.pool.waiters and (resource := self.free()):
                waiter = self.pool.waiters.pop(0)
                self.pool.holders[resource] = waiter
                try:
                    await workflow.signal(waiter, "assigned", resource)
                except WorkflowNotFound:
                    self.pool.holders[resource] = None
            elif workflow.all_handlers_finished():
                workflow.continue_as_new(self.pool)

    def free(self) -> str | None:
        return next((each for each, holder in self.pool.holders.items() if holder is None), None)

    def is_long(self) -> bool:
        return workflow.info().history_events > 30

    @workflow.signal
    def acquire(self, who: str) -> None:
        self.pool.waiters.append(who)

    @workflow.signal
    def release(self, resource: str, who: str) -> None:
        if self.pool.holders.get(resource) == who:
            self.pool.holders[resource] = None

    @workflow.query
    def holders(self) -> dict[str, str | None]:
        return self.pool.holders


@activity.define
async def use(resource: str) -> None:
    await asyncio.sleep(3)


@workflow.define
async def uses_resource(fails: bool) -> str:
    me = workflow.info().workflow_id
    workflow.signal("pool", ResourcePool.acquire, me)
    resource = await workflow.wait_for_event("assigned", str, timeout=timedelta(minutes=5))
    try:
        await use(resource)
        if fails:
            raise ApplicationError("failed with the resource in its hands")
        return resource
    finally:
        await workflow.signal("pool", ResourcePool.release, resource, me)


def test_resource_pool() -> None:
    """resource_pool: 67 lines, theirs 356. Runs wait for resources, and give them back."""

    async def main() -> None:
        async with Environment([ResourcePool, uses_resource], [use]) as env:
            pool = await env.start(ResourcePool.run, Pool({"a": None, "b": None}), id="pool")
            users = [await env.start(uses_resource, n == 1, id=f"user-{n}") for n in range(9)]
            await users[2].terminate()  # its resource is free again: no run takes the signal
            await env.sleep(1)
            assert await pool.query(ResourcePool.holders) == {"a": "user-0", "b": "user-1"}
            with pytest.raises(WorkflowFailed, match="in its hands"):
                await users[1].result()
            used = [await user.result() for user in users[3:]]
            assert set(used) == {"a", "b"}
            await env.sleep(1)
            assert await pool.query(ResourcePool.holders) == {"a": None, "b": None}
            first = await env.handle("pool", pool.run_id).describe()
            assert first.status == "continued"

    asyncio.run(main())
