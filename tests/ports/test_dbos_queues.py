"""DBOS: dbos-demo-apps, python/queue-patterns, its three queues."""

from __future__ import annotations

import asyncio
from collections import Counter

from processor import entity, workflow
from processor.testing import Environment

# --- queue-patterns/fair-queue

RUNNING: Counter[str] = Counter()
MOST: Counter[str] = Counter()


@entity.define
class Slots:
    """Who waits, by tenant. Four work at a time, one of each tenant, and tenants take turns."""

    working: list[str] = []  # noqa: RUF012  # each key has a copy
    waiting: list[tuple[str, str]] = []  # noqa: RUF012

    def take(self, tenant: str, run: str) -> None:
        self.waiting.append((tenant, run))
        self._go_on()

    def give(self, tenant: str) -> None:
        self.working.remove(tenant)
        self._go_on()

    def _go_on(self) -> None:
        for tenant, run in [*self.waiting]:
            if len(self.working) < 4 and tenant not in self.working:
                self.waiting.remove((tenant, run))
                self.working.append(tenant)
                workflow.signal(run, "begin")


@workflow.define
async def fair(tenant: str) -> None:
    me = workflow.info().workflow_id
    workflow.signal_entity(Slots.take, "all", tenant, me)
    await workflow.wait_for_event("begin")
    try:
        for key in (tenant, "all"):
            RUNNING[key] += 1
            MOST[key] = max(MOST[key], RUNNING[key])
        await asyncio.sleep(5)
    finally:
        RUNNING.subtract((tenant, "all"))
        workflow.signal_entity(Slots.give, "all", tenant)


def test_fair_queue() -> None:
    """queue-patterns/fair-queue: 43 lines. Many of one tenant hold up no other one."""

    async def main() -> None:
        async with Environment([fair], entities=[Slots]) as env:
            many = [await env.start(fair, "ada") for _ in range(6)]
            others = [await env.start(fair, name) for name in "bcdef"]
            for run in others:
                await run.result()
            assert (await env.count("workflow = 'fair' AND closed IS NULL")).count >= 3
            for run in many:
                await run.result()
            assert (MOST["all"], MOST["ada"]) == (4, 1)

    asyncio.run(main())


# --- queue-patterns/rate-limit


@entity.define
class Starts:
    """When the last two runs began: the next one begins ten seconds after the first of these."""

    last: tuple[float, float] = (0.0, 0.0)

    def pause(self) -> float:
        now = workflow.now().timestamp()
        begins = max(now, self.last[0] + 10)
        self.last = self.last[1], begins
        return begins - now


@workflow.define
async def limited() -> float:
    await asyncio.sleep(await workflow.call_entity(Starts.pause, "all"))
    return workflow.now().timestamp()


def test_rate_limit() -> None:
    """queue-patterns/rate-limit: 20 lines. No more than two begin in ten seconds."""

    async def main() -> None:
        async with Environment([limited], entities=[Starts]) as env:
            runs = [await env.start(limited) for _ in range(7)]
            times = sorted([await run.result() for run in runs])
            assert [round(time - times[0], -1) for time in times] == [0, 0, 10, 10, 20, 20, 30]
            assert all(late - soon > 9.99 for soon, late in zip(times, times[2:], strict=False))

    asyncio.run(main())


# --- queue-patterns/debounce


@workflow.define
async def debounced(tenant: str, text: str) -> str:
    return f"{tenant}: {text}"


@entity.define
class Inputs:
    """The last input of a tenant, which counts once there was none for ten seconds."""

    number: int = 0
    text: str = ""

    def submit(self, text: str) -> None:
        self.number, self.text = self.number + 1, text
        workflow.signal_entity(Inputs.settle, entity.info().key, self.number, delay=10)

    async def settle(self, number: int) -> None:
        if number == self.number:
            key = entity.info().key
            await workflow.start_child(debounced, key, self.text, parent_close="abandon")


def test_debounce() -> None:
    """queue-patterns/debounce: 25 lines. The last one of several inputs counts, after a pause."""

    async def main() -> None:
        async with Environment([debounced], entities=[Inputs]) as env:
            for text in ("h", "he", "hello"):
                await env.entity(Inputs, "ada").signal(Inputs.submit, text)
                await env.sleep(8)
            assert (await env.count("workflow = 'debounced'")).count == 0
            await env.sleep(3)
            (run,) = [each async for each in env.list("workflow = 'debounced'")]
            assert await env.handle(run.workflow_id).result() == "ada: hello"

    asyncio.run(main())
