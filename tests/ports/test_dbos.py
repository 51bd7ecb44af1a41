"""DBOS: dbos-demo-apps, python/. HTTP endpoints are functions of a client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from processor import (
    ActivityError,
    ApplicationError,
    Client,
    RetryPolicy,
    WorkflowCancelled,
    WorkflowFailed,
    activity,
    sync,
    workflow,
)
from processor.testing import Environment

# --- agent-inbox


class AgentStatus(BaseModel):
    name: str
    task: str
    status: Literal["working", "pending", "denied"] = "working"


@workflow.define
async def durable_agent(name: str, task: str) -> str:
    status = AgentStatus(name=name, task=task)
    workflow.set_status(status)
    await workflow.sleep(5)
    workflow.set_status(status.model_copy(update={"status": "pending"}))
    try:
        answer = await workflow.wait_for_event("answer", str, timeout=timedelta(hours=1))
    except TimeoutError:
        answer = "too late"
    if answer != "confirm":
        workflow.set_status(status.model_copy(update={"status": "denied"}))
        raise ApplicationError(f"the agent was denied: {answer}")
    workflow.set_status(status)
    return f"{task} is done"


async def waiting(client: Client) -> dict[str, AgentStatus]:
    found = {}
    async for run in client.list(workflow="durable_agent", status="running"):
        status = AgentStatus.model_validate(run.custom_status)
        if status.status == "pending":
            found[run.workflow_id] = status
    return found


def test_agent_inbox() -> None:
    """agent-inbox: 42 lines, theirs 106. Agents ask people; a list shows who waits."""

    async def main() -> None:
        async with Environment([durable_agent]) as env:
            handles = [await env.start(durable_agent, f"agent-{n}", "buy milk") for n in range(3)]
            assert await waiting(env) == {}
            await env.sleep(6)
            assert len(await waiting(env)) == 3
            for handle, answer in zip(handles, ["confirm", "deny"], strict=False):
                await handle.raise_event("answer", answer)
            assert await handles[0].result() == "buy milk is done"
            with pytest.raises(WorkflowFailed, match="denied: deny"):
                await handles[1].result()
            with pytest.raises(WorkflowFailed, match="too late"):
                await handles[2].result()
            assert await waiting(env) == {}

    asyncio.run(main())


# --- widget-store


class Shop:
    def __init__(self, inventory: int) -> None:
        self.inventory = inventory
        self.orders: dict[str, str] = {}
        self.reserved: set[str] = set()

    @activity.define
    async def set_order(self, order: str, status: str) -> None:
        self.orders[order] = status

    @activity.define
    async def reserve(self, order: str) -> bool:
        if order not in self.reserved:
            if not self.inventory:
                return False
            self.inventory -= 1
            self.reserved.add(order)
        return True

    @activity.define
    async def put_back(self, order: str) -> None:
        if order in self.reserved:
            self.inventory += 1
            self.reserved.remove(order)


@workflow.define
async def dispatches(order: str) -> None:
    await workflow.sleep(10)
    await Shop.set_order(order, "dispatched")


@workflow.define
class Checkout:
    def __init__(self) -> None:
        self.reserved: asyncio.Future[bool] = asyncio.Future()
        self.payment: asyncio.Future[bool] = asyncio.Future()
        self.final = ""

    @workflow.run
    async def run(self) -> str:
        order = workflow.info().workflow_id
        await Shop.set_order(order, "pending")
        self.reserved.set_result(await Shop.reserve(order))
        if not self.reserved.result():
            await Shop.set_order(order, "cancelled")
            return "sold out"
        if await self.payment:
            await Shop.set_order(order, "paid")
            await workflow.start_child(dispatches, order, parent_close="abandon")
            self.final = "paid"
        else:
            await Shop.put_back(order)
            await Shop.set_order(order, "cancelled")
            self.final = "cancelled"
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.final

    @workflow.update
    async def is_reserved(self) -> bool:
        return await asyncio.shield(self.reserved)

    @workflow.update
    async def pay(self, ok: bool) -> str:
        if not self.payment.done():
            self.payment.set_result(ok)
        await workflow.wait_until(lambda: self.final)
        return self.final


async def buys(client: Client, key: str, ok: bool) -> str:
    """Do what the web page does: check out, which gives a payment id, and pay."""
    asked = await client.update_with_start(
        Checkout.run, id=key, update=(Checkout.is_reserved,), reuse="reject"
    )
    return await client.handle(key).update(Checkout.pay, ok) if asked else "404"


def test_widget_store() -> None:
    """widget-store: 74 lines, theirs 295. Check-out, payment, dispatch; each step counts once."""

    async def main() -> None:
        shop = Shop(1)
        activities = [shop.set_order, shop.reserve, shop.put_back]
        async with Environment([Checkout, dispatches], activities) as env:
            assert await buys(env, "a", False) == "cancelled" and shop.inventory == 1
            assert await buys(env, "b", True) == "paid"
            assert await buys(env, "c", True) == "404"
            await env.sleep(20)
            assert shop.orders == {"a": "cancelled", "b": "dispatched", "c": "cancelled"}

    asyncio.run(main())


# --- document-detective


@activity.define
async def downloads(url: str) -> list[str]:
    return [f"{url}#{n}" for n in range(3)]


@activity.define
async def index_page(page: str) -> None:
    await asyncio.sleep(1)


@workflow.define
async def index_document(url: str) -> int:
    pages = await downloads(url)
    for page in pages:
        await index_page(page)
    return len(pages)


@workflow.define
async def index_documents(urls: list[str]) -> int:
    children = [await workflow.start_child(index_document, url) for url in urls]
    return sum(await asyncio.gather(*children))


def test_document_detective() -> None:
    """document-detective: 21 lines, theirs 141. A child for each document, without a queue."""

    async def main() -> None:
        async with Environment([index_documents, index_document], [downloads, index_page]) as env:
            assert await env.run(index_documents, ["a.pdf", "b.pdf"], within=5) == 6

    asyncio.run(main())


# --- queue-worker


@activity.define
async def one_step(number: int) -> None:
    await asyncio.sleep(1)


@workflow.define
async def steps(count: int) -> int:
    for number in range(count):
        workflow.set_status({"done": number, "of": count})
        await one_step(number)
    workflow.set_status({"done": count, "of": count})
    return count


def test_queue_worker() -> None:
    """queue-worker: 18 lines, theirs 87. A web process starts by name, and asks how far it is."""

    async def main() -> None:
        async with Environment([steps], [one_step]) as env:
            handle = await env.start("steps", 4, id="job")
            await env.sleep(2.5)
            assert (await env.handle("job").describe()).custom_status == {"done": 2, "of": 4}
            assert await handle.result() == 4

    asyncio.run(main())


# --- transactional-outbox


class Orders:
    """A table whose primary key is the idempotency key of the activity."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.told: list[str] = []

    @activity.define
    async def insert(self, item: str) -> str:
        key = activity.info().idempotency_key
        self.rows.setdefault(key, item)
        if activity.info().attempt == 1:
            raise ConnectionError("the database took the row, and the answer was lost")
        return key

    @activity.define
    async def notify(self, key: str) -> None:
        self.told.append(self.rows[key])


@workflow.define
async def places_order(item: str) -> str:
    key = await Orders.insert(item)
    await Orders.notify(key)
    return key


def test_transactional_outbox() -> None:
    """transactional-outbox/atomic_workflow: 26 lines, theirs 92. One row, one message."""

    async def main() -> None:
        orders = Orders()
        async with Environment([places_order], [orders.insert, orders.notify]) as env:
            await env.run(places_order, "lamp")
            assert list(orders.rows.values()) == orders.told == ["lamp"]

    asyncio.run(main())


# --- reliable-refunds-langchain


@dataclass
class Purchase:
    id: int
    price: int


@activity.define
async def mark(purchase: int, status: str) -> None:
    REFUNDS.append(f"{purchase} {status}")


REFUNDS: list[str] = []


@workflow.define
async def approves_refund(purchase: Purchase) -> None:
    await mark(purchase.id, "waits for a person")
    try:
        decision = await workflow.wait_for_event("decision", str, timeout=timedelta(days=7))
    except TimeoutError:
        decision = "reject"
    await mark(purchase.id, "refunded" if decision == "approve" else "rejected")


@workflow.define
async def refund_tool(purchase: Purchase) -> str:
    """What the model calls: it answers at once, and the decision comes when it comes."""
    if purchase.price < 1000:
        await mark(purchase.id, "refunded")
        return "refunded"
    await workflow.start_child(
        approves_refund, purchase, id=f"refund-{purchase.id}", parent_close="abandon"
    )
    return "a person looks at it"


def test_reliable_refunds() -> None:
    """reliable-refunds-langchain: 35 lines. A tool starts a run that waits for a person a week."""

    async def main() -> None:
        async with Environment([refund_tool, approves_refund], [mark]) as env:
            assert await env.run(refund_tool, Purchase(1, 10)) == "refunded"
            for id in (2, 3):
                assert await env.run(refund_tool, Purchase(id, 5000)) == "a person looks at it"
            await env.handle("refund-2").raise_event("decision", "approve")
            await env.sleep(timedelta(days=8))
            assert REFUNDS[0] == "1 refunded" and REFUNDS[3:] == ["2 refunded", "3 rejected"]

    asyncio.run(main())


# --- s3mirror


class Buckets:
    def __init__(self, keys: list[str]) -> None:
        self.keys, self.copied, self.at_once, self.most = keys, list[str](), 0, 0

    @activity.define(retry=RetryPolicy(maximum_attempts=3))
    async def list(self) -> list[str]:
        return self.keys

    @activity.define(retry=RetryPolicy(maximum_attempts=3), queue="transfers")
    async def copy(self, key: str) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(10)
        self.at_once -= 1
        if key == "broken":
            raise OSError("no such key")
        self.copied.append(key)


@workflow.define
async def transfers(at_once: int) -> dict[str, str]:
    slots = asyncio.Semaphore(at_once)
    files = dict.fromkeys(await Buckets.list(), "waits")

    async def copy(key: str) -> None:
        async with slots:
            try:
                await Buckets.copy(key)
                files[key] = "copied"
            except ActivityError as error:
                files[key] = str(error)
            workflow.set_status(files)

    async with asyncio.TaskGroup() as group:
        for key in files:
            group.create_task(copy(key))
    return files


def test_s3mirror() -> None:
    """s3mirror: 45 lines, theirs 190. Files three at once, a status a file, and a cancellation."""

    async def main() -> None:
        buckets = Buckets(["a", "broken", *(f"f{n}" for n in range(8))])
        async with Environment([transfers], [buckets.list, buckets.copy]) as env:
            files = await env.run(transfers, 3)
            assert (files["a"], files["broken"]) == ("copied", "OSError: no such key")
            assert buckets.most == 3 and len(buckets.copied) == 9
            handle = await env.start(transfers, 3)
            await env.sleep(12)
            assert (await handle.describe()).custom_status["a"] == "copied"
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result()

    asyncio.run(main())


# --- deploy-tracker-slackbot


@activity.define
async def slack(text: str) -> None:
    CHANNEL.append(text)


@activity.define
async def deploy_stage(stage: str) -> None:
    await asyncio.sleep(10)


CHANNEL: list[str] = []


@workflow.define
class DeployQueue:
    """Deploys one after the other. It goes on as a new run once nothing waits."""

    def __init__(self) -> None:
        self.waiting: list[str] = []

    @workflow.run
    async def run(self) -> None:
        while self.waiting:
            user = self.waiting[0]
            for stage in ("build", "test", "deploy"):
                await deploy_stage(stage)
                await slack(f"{user}: {stage} is done")
            self.waiting.pop(0)

    @workflow.update
    def deploy(self, user: str) -> int:
        self.waiting.append(user)
        return len(self.waiting)


def test_deploy_tracker() -> None:
    """deploy-tracker-slackbot: 32 lines, theirs 98. One at a time; each tells its place."""

    async def main() -> None:
        async with Environment([DeployQueue], [deploy_stage, slack]) as env:
            for place, user in enumerate(["Ada", "Bob"], 1):
                asked = (DeployQueue.deploy, user)
                assert await env.update_with_start(DeployQueue.run, id="q", update=asked) == place
            await env.handle("q").result()
            assert CHANNEL[2:4] == ["Ada: deploy is done", "Bob: build is done"]

    asyncio.run(main())


# --- dbos-django-starter


@activity.define
def step_in_django(number: int) -> str:
    return f"step {number}"


@workflow.define
async def in_django() -> list[str]:
    return [await step_in_django(number) for number in (1, 2)]


def test_django_starter(tmp_path: Path) -> None:
    """dbos-django-starter: 13 lines, theirs 171. A view that is not async runs a workflow."""
    server = f"embedded:{tmp_path}"
    with (
        sync.Worker(server, workflows=[in_django], activities=[step_in_django]),
        sync.Client(server) as client,
    ):
        assert client.run(in_django) == ["step 1", "step 2"]
