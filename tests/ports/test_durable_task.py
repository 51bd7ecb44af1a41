"""Durable Task and Durable Functions: durabletask-python, examples/."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, Field

from processor import (
    ActivityError,
    ApplicationError,
    Client,
    Interceptor,
    PayloadConverter,
    RetryPolicy,
    SchemaMismatch,
    WorkflowFailed,
    activity,
    workflow,
)
from processor.testing import Environment

# --- activity_sequence


@activity.define
def hello(name: str) -> str:
    return f"Hello {name}!"


@workflow.define
async def sequence() -> list[str]:
    return [await hello(city) for city in ("Tokyo", "Seattle", "London")]


def test_activity_sequence() -> None:
    """activity_sequence: 11 lines, theirs 38. One activity after the other."""

    async def main() -> None:
        async with Environment([sequence], [hello]) as env:
            assert await env.run(sequence) == ["Hello Tokyo!", "Hello Seattle!", "Hello London!"]

    asyncio.run(main())


# --- fanout_fanin


@activity.define
async def work_items() -> list[int]:
    return list(range(10))


@activity.define
async def does(item: int) -> int:
    await asyncio.sleep(item)
    return item * item


@workflow.define
async def fans_out() -> dict[str, Any]:
    items = await work_items()
    results = await asyncio.gather(*map(does, items))
    return {"items": items, "results": results, "total": sum(results)}


def test_fanout_fanin() -> None:
    """fanout_fanin: 17 lines, theirs 47. Ten activities at once, and their sum."""

    async def main() -> None:
        async with Environment([fans_out], [work_items, does]) as env:
            assert (await env.run(fans_out, within=10))["total"] == 285

    asyncio.run(main())


# --- human_interaction


@dataclass
class Purchase:
    cost: float
    product: str


@dataclass
class Approved:
    by: str


@activity.define
async def ask_manager(purchase: Purchase) -> None:
    await asyncio.sleep(5)


@activity.define
async def place(purchase: Purchase) -> None:
    PLACED.append(purchase.product)


PLACED: list[str] = []


@workflow.define
async def purchases(purchase: Purchase) -> str:
    if purchase.cost < 1000:
        return "approved by itself"
    await ask_manager(purchase)
    try:
        approval = await workflow.wait_for_event("approved", Approved, timedelta(hours=24))
    except TimeoutError:
        return "cancelled"
    await place(purchase)
    return f"approved by {approval.by}"


def test_human_interaction() -> None:
    """human_interaction: 35 lines, theirs 103. An event, or a day without one."""

    async def main() -> None:
        async with Environment([purchases], [ask_manager, place]) as env:
            assert await env.run(purchases, Purchase(10, "pen")) == "approved by itself"
            handle = await env.start(purchases, Purchase(2000, "desk"))
            await handle.raise_event("approved", Approved("Ada"))
            assert await handle.result() == "approved by Ada"
            assert await env.run(purchases, Purchase(2000, "chair")) == "cancelled"
            assert PLACED == ["desk"]

    asyncio.run(main())


# --- sub-orchestrations-with-fan-out-fan-in


@activity.define
async def orders_of_today() -> list[str]:
    return ["a", "b", "c"]


@activity.define
async def check_stock(order: str) -> None: ...


@activity.define
async def charges(order: str) -> None:
    await asyncio.sleep(1)


@activity.define
async def ships(order: str) -> str:
    return f"{order} is on its way"


@workflow.define
async def processes_one(order: str) -> str:
    await check_stock(order)
    await charges(order)
    return await ships(order)


@workflow.define
async def processes_all() -> list[str]:
    orders = await orders_of_today()
    return await asyncio.gather(*(workflow.call_child(processes_one, each) for each in orders))


def test_sub_orchestrations() -> None:
    """sub-orchestrations-with-fan-out-fan-in: 27 lines, theirs 91. A child for each order."""

    async def main() -> None:
        activities = [orders_of_today, check_stock, charges, ships]
        async with Environment([processes_all, processes_one], activities) as env:
            assert (await env.run(processes_all))[2] == "c is on its way"
            assert len([run async for run in env.list(workflow="processes_one")]) == 3

    asyncio.run(main())


# --- custom_data_converter


class LineItem(BaseModel):
    sku: str
    quantity: int = Field(gt=0)


class BigOrder(BaseModel):
    id: str
    lines: list[LineItem]


class Models(PayloadConverter):
    """Pydantic alone, in place of what the library does by itself."""

    name = "models"

    def encode(self, value: Any) -> bytes:
        from pydantic import TypeAdapter

        return TypeAdapter(Any).dump_json(value)

    def decode(self, data: bytes, type: Any) -> Any:
        from pydantic import TypeAdapter

        return TypeAdapter(type).validate_json(data)


@activity.define
async def total_of(order: BigOrder) -> int:
    return sum(line.quantity for line in order.lines)


@workflow.define
async def sums_up(order: BigOrder) -> int:
    return await total_of(order)


@pytest.mark.parametrize("payloads", [None, Models()])
def test_custom_data_converter(payloads: Models | None) -> None:
    """custom_data_converter: 31 lines, theirs 130. Models are checked where they are read."""

    async def main() -> None:
        async with Environment([sums_up], [total_of], payloads=payloads) as env:
            order = BigOrder(id="7", lines=[LineItem(sku="a", quantity=2)])
            assert await env.run(sums_up, order) == 2
            if payloads is None:
                with pytest.raises(SchemaMismatch, match="quantity"):
                    wrong: Any = {"id": "7", "lines": [{"sku": "a", "quantity": 0}]}
                    await env.run(sums_up, wrong)

    asyncio.run(main())


# --- in_memory_backend


@dataclass
class OrderLine:
    name: str
    quantity: int
    price: float


@dataclass
class CustomerOrder:
    customer: str
    lines: list[OrderLine]


@activity.define(retry=RetryPolicy(maximum_attempts=1))
async def validates(order: CustomerOrder) -> None:
    if not order.lines:
        raise ValueError("an order has at least one line")


@activity.define
async def takes_payment(amount: float) -> str:
    return f"PAY-{amount:.0f}"


@workflow.define
async def ships_order(order: CustomerOrder) -> str:
    await asyncio.sleep(60)
    return f"parcel for {order.customer}"


@workflow.define
async def order_flow(order: CustomerOrder) -> dict[str, Any]:
    await validates(order)
    total = sum(line.quantity * line.price for line in order.lines)
    if total > 1000:
        workflow.set_status("waits for approval")
        approved = await workflow.wait_for_event("approval", bool)
        if not approved:
            return {"status": "rejected"}
    payment = await takes_payment(total)
    parcel = await workflow.call_child(ships_order, order)
    return {"status": "done", "payment": payment, "parcel": parcel}


def test_in_memory_backend() -> None:
    """in_memory_backend: 47 lines, theirs 140. Tests without a server."""

    async def main() -> None:
        async with Environment([order_flow, ships_order], [validates, takes_payment]) as env:
            small = CustomerOrder("Ada", [OrderLine("pen", 2, 1.5)])
            done = {"status": "done", "payment": "PAY-3", "parcel": "parcel for Ada"}
            assert await env.run(order_flow, small) == done
            large = CustomerOrder("Bob", [OrderLine("desk", 1, 1500)])
            handle = await env.start(order_flow, large)
            await env.sleep(1)
            assert (await handle.describe()).custom_status == "waits for approval"
            await handle.raise_event("approval", False)
            assert await handle.result() == {"status": "rejected"}
            with pytest.raises(WorkflowFailed, match="at least one line"):
                await env.run(order_flow, CustomerOrder("Cy", []))

    asyncio.run(main())


# --- azure/monitor


@activity.define
async def is_clear(city: str) -> bool:
    LOOKS.append(city)
    return len(LOOKS) == 4


LOOKS: list[str] = []


@workflow.define
async def monitors(city: str, expires: timedelta) -> str:
    end = workflow.now() + expires
    while workflow.now() < end:
        if await is_clear(city):
            return f"clear in {city}"
        await workflow.sleep(min(timedelta(minutes=30), end - workflow.now()))
    raise ApplicationError("the weather was bad all the time")


def test_monitor() -> None:
    """azure/monitor: 20 lines, theirs 52. A look each half an hour, until the weather is clear."""

    async def main() -> None:
        async with Environment([monitors], [is_clear]) as env:
            begun = env.now()
            assert await env.run(monitors, "Redmond", timedelta(hours=6)) == "clear in Redmond"
            assert env.now() - begun == timedelta(minutes=90)

    asyncio.run(main())


# --- azure/function_chaining_custom_status


@activity.define
async def risky(step: int) -> int:
    if step == 3:
        raise ValueError("step 3 is risky")
    return step


@workflow.define
async def chain() -> list[int]:
    done: list[int] = []
    for step in range(1, 5):
        workflow.set_status({"step": step, "of": 4})
        try:
            done.append(await risky.options(retry=RetryPolicy(maximum_attempts=2))(step))
        except ActivityError as error:
            workflow.set_status({"failed": step, "error": str(error)})
            break
    return done


def test_function_chaining_custom_status() -> None:
    """azure/function_chaining_custom_status: 24 lines, theirs 27. Which step failed."""

    async def main() -> None:
        async with Environment([chain], [risky]) as env:
            handle = await env.start(chain)
            assert await handle.result() == [1, 2]
            status = (await handle.describe()).custom_status
            assert status["failed"] == 3 and "risky" in status["error"]

    asyncio.run(main())


# --- history_export


@activity.define
async def square(number: int) -> int:
    return number * number


@workflow.define
async def squares(number: int) -> int:
    return await square(number)


class Exports:
    client: Client

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @activity.define
    async def found(self, query: str) -> list[tuple[str, str]]:
        return [(run.workflow_id, run.run_id) async for run in self.client.list(query)]

    @activity.define(retry=RetryPolicy(maximum_attempts=3))
    async def export(self, id: str, run_id: str) -> None:
        events = await self.client.handle(id, run_id).history()
        lines = b"\n".join(map(msgspec.json.encode, events))
        (self.folder / f"{run_id}.jsonl.gz").write_bytes(gzip.compress(lines))


@workflow.define
async def exports(query: str) -> dict[str, int]:
    done = {"scanned": 0, "exported": 0, "failed": 0}
    for id, run_id in await workflow.call_activity("found", query):
        done["scanned"] += 1
        try:
            await workflow.call_activity("export", id, run_id)
            done["exported"] += 1
        except ActivityError:
            done["failed"] += 1
        workflow.set_status(done)
    return done


def test_history_export(tmp_path: Path) -> None:
    """history_export: 44 lines, theirs 88. Histories go to files, one after the other."""

    async def main() -> None:
        job = Exports(tmp_path)
        async with Environment([squares, exports], [square, job.found, job.export]) as env:
            job.client = env
            for number in range(1, 6):
                await env.run(squares, number)
            window = "closed > now() - '1h' AND status = 'completed' AND workflow = 'squares'"
            done = await env.run(exports, window)
            assert done == {"scanned": 5, "exported": 5, "failed": 0}

    asyncio.run(main())
    texts = [gzip.decompress(path.read_bytes()) for path in tmp_path.iterdir()]
    ends = [msgspec.json.decode(text.splitlines()[-1]) for text in texts]
    assert sorted(end["fields"]["result"] for end in ends) == [1, 4, 9, 16, 25]


# --- version_aware_orchestrator


class Versions(Interceptor):
    """Each start has the version of its client in a header."""

    def __init__(self, version: bytes) -> None:
        self.version = version

    async def request(self, call: Any, next: Any) -> None:
        if call.operation == "start":
            call.headers["version"] = self.version
        await next(call)


@activity.define
async def first_way() -> str:
    return "v1"


@activity.define
async def second_way() -> str:
    return "v2"


@workflow.define
async def knows_its_version() -> str:
    version = workflow.info().headers["version"].decode()
    return await (first_way() if version == "1.0.0" else second_way())


def test_version_aware_orchestrator() -> None:
    """version_aware_orchestrator: 26 lines, theirs 57. A run knows with which version it began."""

    async def main() -> None:
        code, client = ([knows_its_version], [first_way, second_way]), Versions(b"1.0.0")
        async with Environment(*code, interceptors=[client], max_cached_runs=0) as env:
            old = await env.start(knows_its_version)
            client.version = b"2.0.0"
            assert await env.run(knows_its_version) == "v2"
            assert await old.result() == "v1"

    asyncio.run(main())
