"""Temporal: samples-python, message_passing/ and others that talk with open runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest

from processor import (
    ApplicationError,
    ProcessorError,
    RetryPolicy,
    UpdateFailed,
    UpdateRejected,
    WorkflowCancelled,
    WorkflowFailed,
    activity,
    workflow,
)
from processor.testing import Environment

# --- message_passing/introduction


class Language(StrEnum):
    ARABIC = "arabic"
    ENGLISH = "english"
    FRENCH = "french"
    KLINGON = "klingon"


@activity.define
async def translate(language: Language) -> str | None:
    await asyncio.sleep(0.2)
    return {Language.FRENCH: "Bonjour", Language.ARABIC: "Marhaban"}.get(language)


@workflow.define
class Phrasebook:
    def __init__(self) -> None:
        self.greetings = {Language.ENGLISH: "Hello"}
        self.current = Language.ENGLISH
        self.approved_by = ""
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_until(lambda: self.approved_by and workflow.all_handlers_finished())
        return self.greetings[self.current]

    @workflow.query
    def languages(self, unsupported: bool) -> list[Language]:
        return sorted(Language if unsupported else self.greetings)

    @workflow.signal
    def approve(self, name: str) -> None:
        self.approved_by = name

    @workflow.update
    def choose(self, language: Language) -> Language:
        before, self.current = self.current, language
        return before

    @choose.validator
    def known(self, language: Language) -> None:
        if language not in self.greetings:
            raise ValueError(f"{language} is not supported")

    @workflow.update
    async def fetch(self, language: Language) -> Language:
        async with self.lock:
            if language not in self.greetings:
                greeting = await translate(language)
                if greeting is None:
                    raise ApplicationError(f"nobody knows {language}")
                self.greetings[language] = greeting
        return self.choose(language)


def test_introduction() -> None:
    """message_passing/introduction: 59 lines, theirs 172. Queries, signals and updates."""

    async def main() -> None:
        async with Environment([Phrasebook], [translate]) as env:
            handle = await env.start(Phrasebook.run)
            assert await handle.query(Phrasebook.languages, False) == [Language.ENGLISH]
            with pytest.raises(UpdateRejected, match="french is not supported"):
                await handle.update(Phrasebook.choose, Language.FRENCH)
            assert await handle.update(Phrasebook.fetch, Language.FRENCH) == Language.ENGLISH
            with pytest.raises(UpdateFailed, match="nobody knows klingon"):
                await handle.update(Phrasebook.fetch, Language.KLINGON)
            assert await handle.update(Phrasebook.choose, Language.ENGLISH) == Language.FRENCH
            sent = await handle.start_update(Phrasebook.fetch, Language.ARABIC)
            await handle.signal(Phrasebook.approve, "Ada")
            assert await sent.result() == Language.ENGLISH
            assert await handle.result() == "Marhaban"

    asyncio.run(main())


# --- message_passing/safe_message_handlers


@dataclass
class Cluster:
    nodes: dict[str, str | None] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)
    started: bool = False

    def of(self, job: str | None) -> list[str]:
        return sorted(node for node, has in self.nodes.items() if has == job)


@activity.define
async def start_nodes() -> list[str]:
    return [f"node-{n}" for n in range(25)]


@activity.define
async def assign(nodes: list[str], job: str) -> None:
    await asyncio.sleep(0.1)


@activity.define
async def unassign(nodes: list[str], job: str) -> None:
    await asyncio.sleep(0.1)


@activity.define(retry=RetryPolicy(maximum_attempts=1))
async def find_bad(nodes: list[str]) -> list[str]:
    await asyncio.sleep(0.1)
    return nodes[:1]


@workflow.define
class ClusterManager:
    def __init__(self, cluster: Cluster, events_max: int) -> None:
        self.cluster = cluster
        self.events_max = events_max
        self.is_shut_down = False
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self, cluster: Cluster, events_max: int) -> list[str]:
        if not self.cluster.started:
            self.cluster.nodes = dict.fromkeys(await start_nodes())
            self.cluster.started = True
        while not self.is_shut_down:
            await self.check_health()
            try:
                await workflow.wait_until(
                    lambda: self.is_shut_down or self.is_long(), timeout=timedelta(minutes=10)
                )
            except TimeoutError:
                continue
            if not self.is_shut_down:
                await workflow.wait_until(workflow.all_handlers_finished)
                workflow.continue_as_new(self.cluster, self.events_max)
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.cluster.of("BAD")

    def is_long(self) -> bool:
        info = workflow.info()
        return info.suggests_continue_as_new or info.history_events > self.events_max

    async def check_health(self) -> None:
        async with self.lock:
            in_use = [node for node, job in self.cluster.nodes.items() if job not in (None, "BAD")]
            try:
                self.cluster.nodes |= dict.fromkeys(await find_bad(in_use), "BAD")
            except ProcessorError as error:
                workflow.logger.warning("the health check failed: %s", error)

    async def is_up(self) -> None:
        await workflow.wait_until(lambda: self.cluster.started)
        if self.is_shut_down:
            raise ApplicationError("the cluster is shut down")

    @workflow.update
    async def up(self) -> int:
        await self.is_up()
        return len(self.cluster.nodes)

    @workflow.update
    async def give(self, job: str, count: int) -> list[str]:
        await self.is_up()
        async with self.lock:
            if job not in self.cluster.jobs:
                free = self.cluster.of(None)[:count]
                if len(free) < count:
                    raise ApplicationError(f"{job} wants {count} nodes, and {len(free)} are free")
                await assign(free, job)
                self.cluster.nodes |= dict.fromkeys(free, job)
                self.cluster.jobs.add(job)
            return self.cluster.of(job)

    @workflow.update
    async def take_back(self, job: str) -> None:
        await self.is_up()
        async with self.lock:
            nodes = self.cluster.of(job)
            await unassign(nodes, job)
            self.cluster.nodes |= dict.fromkeys(nodes)

    @workflow.signal
    async def shut_down(self) -> None:
        await self.is_up()
        self.is_shut_down = True


@pytest.mark.parametrize("events_max", [40, 10_000])
def test_safe_message_handlers(events_max: int) -> None:
    """message_passing/safe_message_handlers: 110 lines, theirs 346. A lock, and chains."""

    async def main() -> None:
        activities = [start_nodes, assign, unassign, find_bad]
        async with Environment([ClusterManager], activities, max_cached_runs=0) as env:
            handle = await env.start(ClusterManager.run, Cluster(), events_max)
            assert await handle.update(ClusterManager.up) == 25
            jobs = [f"job-{n}" for n in range(6)]
            given = await asyncio.gather(
                *(handle.update(ClusterManager.give, job, 2) for job in jobs)
            )
            assert len({node for nodes in given for node in nodes}) == 12
            assert await handle.update(ClusterManager.give, "job-0", 2) == given[0]
            with pytest.raises(UpdateFailed, match="13 are free"):
                await handle.update(ClusterManager.give, "job-9", 14)
            await env.sleep(timedelta(minutes=15))
            for job in jobs:
                await handle.update(ClusterManager.take_back, job)
            await handle.signal(ClusterManager.shut_down)
            assert len(await handle.result()) >= 1
            assert ((await env.handle(handle.id, handle.run_id).describe()).successor is None) == (
                events_max > 1_000
            )

    asyncio.run(main())


# --- message_passing/update_with_start


@dataclass
class CartItem:
    sku: str
    quantity: int


@dataclass
class FinalOrder:
    id: str
    items: list[tuple[CartItem, int]]
    total: int


@activity.define
async def price_of(item: CartItem) -> int | None:
    await asyncio.sleep(0.1)
    return None if item.sku == "sku-456" else 599 * item.quantity


@workflow.define
class ShoppingCart:
    def __init__(self) -> None:
        self.items: list[tuple[CartItem, int]] = []
        self.is_ordered = False

    @workflow.run
    async def run(self) -> FinalOrder:
        await workflow.wait_until(lambda: self.is_ordered and workflow.all_handlers_finished())
        return FinalOrder(workflow.info().workflow_id, self.items, self.total())

    def total(self) -> int:
        return sum(price for _, price in self.items)

    @workflow.update
    async def add(self, item: CartItem) -> int:
        price = await price_of(item)
        if price is None:
            raise ApplicationError(f"{item.sku} is not available", type="ItemUnavailable")
        self.items.append((item, price))
        return self.total()

    @add.validator
    def open(self, item: CartItem) -> None:
        if self.is_ordered:
            raise ApplicationError("the order is submitted")

    @workflow.signal
    def check_out(self) -> None:
        self.is_ordered = True


async def add_to_cart(env: Environment, session: str, item: CartItem) -> int | None:
    try:
        return await env.update_with_start(
            ShoppingCart.run, id=f"cart-{session}", update=(ShoppingCart.add, item)
        )
    except UpdateFailed as failed:
        error = failed.__cause__
        if isinstance(error, ApplicationError) and error.type == "ItemUnavailable":
            return None
        raise


def test_update_with_start() -> None:
    """message_passing/update_with_start: 58 lines, theirs 153. The first item makes the cart."""

    async def main() -> None:
        async with Environment([ShoppingCart], [price_of]) as env:
            assert await add_to_cart(env, "7", CartItem("sku-123", 2)) == 1198
            assert await add_to_cart(env, "7", CartItem("sku-456", 1)) is None
            handle = env.handle("cart-7", workflow=ShoppingCart.run)
            await handle.signal(ShoppingCart.check_out)
            order = await handle.result()
            assert (order.items, order.total) == ([(CartItem("sku-123", 2), 1198)], 1198)

    asyncio.run(main())


# --- message_passing/waiting_for_handlers


@activity.define
async def works(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@workflow.define
class WaitsForHandlers:
    def __init__(self) -> None:
        self.updating = False

    @workflow.run
    async def run(self, ends: str) -> str:
        try:
            await workflow.wait_until(lambda: self.updating)
            if ends == "failure":
                raise ApplicationError("failed on purpose")
            if ends == "cancellation":
                await asyncio.Future()
            return "well"
        finally:
            await workflow.wait_until(workflow.all_handlers_finished)

    @workflow.update
    async def work(self) -> str:
        self.updating = True
        return await works(5)


@pytest.mark.parametrize("ends", ["success", "failure", "cancellation"])
def test_waiting_for_handlers(ends: str) -> None:
    """message_passing/waiting_for_handlers: 38 lines, theirs 160. However it ends, updates end."""

    async def main() -> None:
        async with Environment([WaitsForHandlers], [works]) as env:
            handle = await env.start(WaitsForHandlers.run, ends)
            sent = await handle.start_update(WaitsForHandlers.work)
            if ends == "cancellation":
                await handle.cancel()
            assert await sent.result() == "done"
            if ends == "success":
                assert await handle.result() == "well"
            else:
                with pytest.raises((WorkflowFailed, WorkflowCancelled)):
                    await handle.result()

    asyncio.run(main())


# --- message_passing/waiting_for_handlers_and_compensation


@activity.define
async def undo(what: str) -> None:
    UNDONE.append(what)


UNDONE: list[str] = []


@workflow.define
class Compensates:
    def __init__(self) -> None:
        self.exit: asyncio.Future[None] = asyncio.Future()
        self.updating = False

    @workflow.run
    async def run(self, ends: str) -> str:
        async with workflow.Saga() as saga:
            saga.compensate(undo, "workflow")
            try:
                await workflow.wait_until(lambda: self.updating)
                if ends == "failure":
                    raise ApplicationError("failed on purpose")
                if ends == "cancellation":
                    await asyncio.Future()
                return "well"
            except (Exception, asyncio.CancelledError) as error:
                self.exit.set_exception(ApplicationError(f"the run ended: {error!r}"))
                raise
            finally:
                await workflow.wait_until(workflow.all_handlers_finished)

    @workflow.update
    async def work(self) -> str:
        async with workflow.Saga() as saga:
            saga.compensate(undo, "update")
            self.updating = True
            working = asyncio.create_task(works(5))
            either: list[asyncio.Future[Any]] = [working, self.exit]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                working.cancel()
                await self.exit
            return await working


@pytest.mark.parametrize("ends", ["success", "failure", "cancellation"])
def test_waiting_for_handlers_and_compensation(ends: str) -> None:
    """message_passing/waiting_for_handlers_and_compensation: 56 lines, theirs 223. Both undo."""

    async def main() -> None:
        UNDONE.clear()
        async with Environment([Compensates], [works, undo]) as env:
            handle = await env.start(Compensates.run, ends)
            sent = await handle.start_update(Compensates.work)
            if ends == "success":
                assert await sent.result() == "done"
                assert await handle.result() == "well"
                return
            if ends == "cancellation":
                await handle.cancel()
            with pytest.raises(UpdateFailed, match="the run ended"):
                await sent.result()
            with pytest.raises((WorkflowFailed, WorkflowCancelled)):
                await handle.result()
            assert UNDONE == ["update", "workflow"]

    asyncio.run(main())
