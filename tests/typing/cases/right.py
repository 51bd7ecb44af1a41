# pyright: strict
"""Every line here is right; the types are pinned by ``assert_type``."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type

from processor import (
    ApplicationError,
    Client,
    Handle,
    Interceptor,
    PayloadCodec,
    RetryPolicy,
    UpdateHandle,
    Worker,
    activity,
    connect,
    entity,
    http,
    workflow,
)
from processor.client import Correlated, CorrelationDescription, EntityHandle, ScheduleHandle
from processor.injection.interceptors import ActivityRun, ClientCall
from processor.injection.payloads import plain
from processor.schedules import Calendar
from processor.testing import ActivityEnvironment, Environment, EnvironmentHandle


@dataclass
class Order:
    id: str


@activity.define
async def charge(order: Order, amount: float = 1.0) -> str:
    return order.id


NEVER = RetryPolicy(maximum_attempts=3, non_retryable=[OSError, "Down"])


@activity.define(queue="sums", retry=NEVER, heartbeat=2.5, eager=None)
def add(*numbers: int) -> int:
    return sum(numbers)


@activity.define(pool="processes", start_to_close=5)
def heavy(number: int) -> str:
    return str(number)


@activity.define
async def loose(value: dict[str, Any], extra: Any = None) -> list[int]:
    return []


class Shop:
    @activity.define
    async def greet(self, name: str) -> bytes:
        return b""

    @activity.define(start_to_close=5)
    def count(self, name: str, times: int = 1) -> int:
        return times


@workflow.define(name="shopping", execution_timeout=timedelta(hours=1))
async def shopping(order: Order, count: int = 1) -> bool:
    assert_type(await charge(order), str)
    assert_type(await charge(order, amount=2.0), str)
    assert_type(await add(1, 2), int)
    assert_type(await add.options(start_to_close=5, queue="x")(1), int)
    assert_type(await loose({}), list[int])
    assert_type(await Shop().greet("Ann"), bytes)
    assert_type(await Shop.greet("Ann"), bytes)
    assert_type(await Shop.count("Ann", times=2), int)
    assert_type(await Shop.count.options(queue="x")("Ann"), int)
    assert_type(await workflow.call_activity(Shop.count, "Ann"), int)
    methods = await asyncio.gather(Shop.greet("Ann"), Shop().count("Ann"))
    assert_type(methods, tuple[bytes, int])
    both = await asyncio.gather(charge(order), add(1))
    assert_type(both, tuple[str, int])
    assert_type(await asyncio.create_task(charge(order)), str)
    assert_type(await workflow.call_activity(charge, order), str)
    assert_type(await workflow.call_activity("far", 1, result_type=int, queue="java"), int)
    assert_type(await workflow.wait_for_event("approved", bool, timeout=timedelta(hours=2)), bool)
    assert_type(await workflow.wait_for_event("names", list[str]), list[str])
    assert_type(workflow.side_effect(lambda: 1), int)
    assert_type(workflow.info().headers, Mapping[str, bytes])
    workflow.publish("records", None, {"id": order.id})
    return True


@workflow.define
async def outer(order: Order) -> None:
    assert_type(await shopping(order, count=2), bool)


@workflow.define
async def with_children(order: Order) -> None:
    assert_type(await workflow.call_child(shopping, order, 2), bool)
    assert_type(await workflow.call_child("far", 1, result_type=int, id="far-1"), int)
    assert_type(await workflow.call_child("far", 1, parent_close="abandon"), Any)
    child = await workflow.start_child(shopping, order, cancellation="try", retry=RetryPolicy())
    assert_type(child, workflow.Child[bool])
    assert_type(await child, bool)
    assert_type(await asyncio.gather(child, workflow.call_child(outer, order)), tuple[bool, None])
    assert_type(await (await workflow.start_child(Approval.run, order)), bool)
    await child.signal(Approval.vote, "Ada", True)
    child.signal("vote", "Ada", True)
    assert_type((child.id, child.run_id, child.cancel("enough")), tuple[str, str | None, bool])
    await workflow.start_child(shopping, order, cron="@hourly")
    assert_type(await workflow.call_child(shopping, order, namespace="billing"), bool)
    assert_type((await workflow.start_child("far", namespace="billing")).namespace, str | None)
    there = workflow.handle("other", workflow=Approval.run, namespace="billing")
    assert_type((await there.result(), there.namespace), tuple[bool, str | None])
    assert_type(workflow.handle("any", namespace="billing"), workflow.InstanceHandle[Any])
    other = workflow.handle("other", workflow=Approval.run)
    assert_type(other, workflow.InstanceHandle[bool])
    assert_type(await other.result(), bool)
    assert_type(await other.value("n", result_type=int), int)
    assert_type(await other.value("n"), Any)
    assert_type(await other.query("standing", result_type=list[str]), list[str])
    assert_type(await other.query("standing", 1, reject="not-open"), Any)
    assert_type(await other.query(Approval.standing), list[str])
    assert_type(await other.update(Approval.set_limit, 5, "why", id="u"), list[str])
    assert_type(await other.update("change", 1, id="u", result_type=int), int)
    assert_type(await other.cancel("enough"), bool)
    await other.signal(Approval.vote, "Ada", True)
    assert_type(workflow.handle("any"), workflow.InstanceHandle[Any])
    vote = (Approval.vote, "Ada", True)
    begun = await workflow.signal_with_start(Approval.run, order, id="a", signal=vote)
    assert_type(begun, workflow.InstanceHandle[bool])
    await workflow.signal_with_start("Approval", 1, id="a", signal=("vote", 1), reuse="reject")
    parent = workflow.info().parent
    assert_type(parent, workflow.RunRef | None)


@workflow.define
async def with_promises() -> None:
    made = workflow.promise(bool)
    workflow.upsert_memo({"step": 1, "by": None})
    assert_type(workflow.info().memo, Any)
    assert_type(made, workflow.Promise[bool])
    assert_type((made.id, await made), tuple[str, bool])
    assert_type(await workflow.promise(), Any)
    assert_type(await workflow.promise(list[int]), list[int])
    assert_type(await asyncio.gather(made, workflow.promise(int)), tuple[bool, int])
    done, _ = await asyncio.wait([made], timeout=5)
    assert_type([each.result() for each in done], list[bool])


async def with_schedules(client: Client) -> None:
    made = await client.schedules.create(shopping, Order("A-1"), id="s", cron="@daily", limit=2)
    assert_type(made, ScheduleHandle)
    assert_type((await made.describe()).next, list[datetime])
    await client.schedules.create("shopping", 1, 2, id="s", every=60, overlap="allow-all")
    await made.update(calendars=[Calendar(hour=9, weekday="MON")], retry=RetryPolicy())
    assert_type(await made.backfill(datetime(2030, 1, 1), datetime(2030, 2, 1)), int)


@workflow.schedule("@daily", args=[Order("A-1")], tz="Europe/Berlin")
@workflow.define
async def scheduled(order: Order) -> int:
    return 5


async def stays_typed(client: Client) -> None:
    assert_type(await client.run(scheduled, Order("A-1")), int)


@workflow.define(failure_exception_types=[OSError])
class Approval:
    @workflow.run
    async def run(self, order: Order, needed: int = 2) -> bool:
        workflow.on_signal("late", print)
        workflow.on_query("late", lambda: 1)
        await workflow.wait_until(workflow.all_handlers_finished)
        workflow.signal("other", Approval.vote, "Ada", True)
        await workflow.signal("other", "vote", "Ada", True)
        return True

    @workflow.signal
    async def vote(self, who: str, sure: bool) -> None: ...

    @workflow.signal(name="no", unfinished="abandon")
    def never(self) -> None: ...

    @workflow.query
    def standing(self) -> list[str]:
        return []

    @workflow.query(name="of")
    def of_whom(self, who: str) -> int:
        return 1

    @workflow.update
    async def set_limit(self, limit: int, why: str = "") -> list[str]:
        return [why]

    @set_limit.validator
    def check_limit(self, limit: int, why: str = "") -> None: ...

    @workflow.update(name="plain")
    def plain_limit(self) -> int:
        return 1


@workflow.define
def summed(first: int, second: int = 1) -> int:
    return first + second


@workflow.define(name="by-name")
def named(values: dict[str, Any]) -> list[str]:
    return []


@workflow.define
class Plain:
    @workflow.run
    def run(self, order: Order) -> bool:
        return True


async def plain_ones(client: Client) -> None:
    assert_type(await summed(1), int)
    assert_type(await heavy(1), str)
    assert_type(await named({}), list[str])
    assert_type(Plain().run(Order("a")), bool)
    assert_type(await client.run(summed, 1, 2), int)
    assert_type(await client.start(named, {"a": 1}), Handle[list[str]])
    assert_type(await client.run(Plain.run, Order("a")), bool)
    assert_type(await workflow.call_child(summed, 1), int)
    Worker("embedded:state", workflows=[summed, Plain])


@workflow.define(name="again", execution_timeout=5)
class Again(Approval):
    pass


async def handles(client: Client) -> None:
    handle = await client.start(Approval.run, Order("a"), 2)
    assert_type(handle, Handle[bool])
    assert_type(await client.run(Again.run, Order("a"), 2), bool)
    await handle.signal(Approval.vote, "Ada", True)
    await handle.signal(Approval.never)
    await handle.signal("vote", "Ada", True)
    assert_type(await handle.terminate("done", recursive=False, output={"paid": 3}), bool)
    assert_type(await handle.query(Approval.standing), list[str])
    assert_type(await handle.query(Again.of_whom, "Ada", reject="not-open", timeout=1), int)
    assert_type(await handle.query("standing", result_type=list[str]), list[str])
    assert_type(await handle.update(Approval.set_limit, 5, "more"), list[str])
    assert_type(await handle.update(Approval.plain_limit, id="once", timeout=1), int)
    assert_type(await handle.update("plain", result_type=int), int)
    sent = await handle.start_update(Approval.set_limit, 5, "", id="once")
    assert_type(sent, UpdateHandle[list[str]])
    assert_type(await sent.result(timedelta(seconds=1), parked="raise"), list[str])
    assert_type(handle.update_handle("once", result_type=int), UpdateHandle[int])
    first = await client.update_with_start(
        Approval.run, Order("a"), 2, id="a", update=(Approval.set_limit, 5, "more")
    )
    assert_type(first, list[str])
    begun = await client.signal_with_start(
        Approval.run, Order("a"), 2, id="a", signal=(Approval.vote, "Ada", True)
    )
    assert_type(begun, Handle[bool])
    await client.signal_with_start("approval", signal=("vote", "Ada"))
    assert_type(await Approval().run(Order("a")), bool)
    assert_type(Approval().standing(), list[str])
    Worker("embedded:state", workflows=[Approval, shopping])


assert_type(activity.heartbeat_details(Order), Order | None)
assert_type(activity.info().headers, Mapping[str, bytes])


@workflow.define
async def goes_on(count: int, rate: float = 1.0) -> int:
    if workflow.info().suggests_continue_as_new:
        workflow.continue_as_new(count + 1, memo={"at": count}, retry=None)
    if count > 3:
        workflow.continue_as_new(Order("a"), 2, workflow=shopping, execution_timeout=60)
    if count > 2:
        workflow.continue_as_new(1, 2.0, workflow=goes_on)
    workflow.continue_as_new("anything", workflow="shopping")


async def serves(client: Client) -> None:
    Worker(
        "embedded:state",
        workflows=[shopping],
        activities=[charge, add, Shop().greet],
        strict_replay=True,
    )
    assert_type(await client.start(shopping, Order("a"), 2), Handle[bool])
    assert_type(await client.run(shopping, Order("a"), 2, conflict="use-existing"), bool)
    assert_type(client.handle("a", "a run", workflow=shopping), Handle[bool])
    assert_type(await client.handle("a", run_id="a run", workflow=outer).result(), None)
    assert_type(client.handle("a").run_id, str | None)


class Encryption(PayloadCodec):
    name = "encryption"
    errors = True

    def encode(self, data: bytes) -> bytes:
        return data

    def decode(self, data: bytes) -> bytes:
        return data


class Tracing(Interceptor):
    async def request(
        self, call: ClientCall, next: Callable[[ClientCall], Awaitable[None]]
    ) -> None:
        call.headers["traceparent"] = b"00"
        await next(call)

    async def run_activity(
        self, attempt: ActivityRun, next: Callable[[ActivityRun], Awaitable[Any]]
    ) -> Any:
        assert_type(attempt.info.headers, Mapping[str, bytes])
        return await next(attempt)


def injects() -> None:
    Worker("embedded:state", payloads=Encryption(), interceptors=[Tracing()])
    Client("embedded:state", payloads=[Encryption()], interceptors=[Tracing()])
    Environment(payloads=[Encryption()], interceptors=[Tracing()])
    assert_type(plain(b"1", [Encryption()]), bytes)


async def tests() -> None:
    mocks = {charge: Order}
    Environment(mocks={"far": Order})
    Environment(mocks={charge: Order, "far": Order})
    activities = [charge, add]
    Environment([shopping, Approval], activities)
    async with Environment([shopping, outer], [add], mocks=mocks) as env:
        assert_type(await env.start(shopping, Order("a"), 2), EnvironmentHandle[bool])
        assert_type(await env.run(shopping, Order("a"), 2, within=timedelta(hours=1)), bool)
        assert_type(await env.handle("a", workflow=shopping).result(within=60, parked="warn"), bool)
        await serves(env)
    attempt = ActivityEnvironment(heartbeat_details=Order("a"), on_heartbeat=print)
    assert_type(await attempt.run(charge, Order("a"), amount=2.0), str)
    assert_type(await attempt.run(add, 1, 2), int)
    assert_type(await attempt.run(Shop().count, "x"), int)
    assert_type(attempt.heartbeats, list[Any])


@activity.define(cancellation="wait")
async def shipped(what: str) -> str:
    with activity.shield():
        assert_type(activity.info().task_token, str)
        assert_type(activity.info().start_to_close, timedelta | None)
    raise activity.CompleteAsync


@workflow.define
async def ships(what: str) -> str:
    assert_type(await shipped.options(cancellation="abandon")(what), str)
    return await workflow.call_activity(shipped, what, cancellation="try")


@workflow.define
async def fetches(url: str) -> int:
    answer = await workflow.call_http(
        "GET", url, headers={"a": "b"}, timeout=timedelta(seconds=5), retry=NEVER, retry_on=[503]
    )
    assert_type(answer, workflow.HttpResponse)
    assert_type(answer.json(), Any)
    assert_type(answer.retry_after, float | None)
    Worker("embedded:state", activities=[http.calls(headers=lambda url: {"a": url})])
    return answer.status


async def alone(client: Client) -> None:
    assert_type(await client.run_activity(charge, Order("a"), 2.0, id="a", queue="q"), str)
    assert_type(await client.run_activity(add, 1, 2, retry=NEVER, timeout=5), int)
    assert_type(await client.run_activity(Shop.count, "Ada"), int)
    assert_type(await client.run_activity("far", 1, result_type=list[str]), list[str])
    assert_type(await client.run_activity("far", 1, parked="raise"), Any)
    assert_type(await client.start_activity(heavy, 1, reuse="use-existing"), Handle[str])
    assert_type(await client.start_activity("far", result_type=int, delay=5), Handle[int])


async def ends(client: Client, handle: Handle[str]) -> None:
    await client.complete("token", {"any": "value"})
    await client.resolve("id", 5)
    await client.reject("id", "no", type="Refused", details=[1])
    await client.complete(("w", 1))
    await client.fail(("w", 1, "run"), ApplicationError("why", benign=True))
    assert_type(await client.heartbeat("token", 5), bool)
    await client.cancelled("token")
    one = handle.activity(3)
    assert_type(await one.pause("why"), bool)
    assert_type(await one.resume(), bool)
    assert_type(await one.retry_now(), bool)
    assert_type(await one.reset(), bool)
    assert_type(await one.set_options(queue="gpu", start_to_close=5), bool)
    await one.complete(5)


@entity.define
class Account:
    balance: int = 0

    def deposit(self, amount: int, text: str = "") -> int:
        return self.balance

    async def pay_out(self, amount: int) -> list[str]:
        assert_type(entity.info().key, str)
        entity.delete()
        return []

    @entity.read
    def total(self) -> float:
        return 1.0


@entity.define(name="other", history=10)
class OtherEntity:
    def empty(self) -> None: ...

    @entity.migrate
    @staticmethod
    def moved(fields: dict[str, Any]) -> dict[str, Any]:
        return fields


async def entities(client: Client) -> None:
    ada = client.entity(Account, "ada")
    assert_type(ada, EntityHandle[Account])
    assert_type(await ada.call(Account.deposit, 5, "a", key="k"), int)
    assert_type(await ada.call(Account.pay_out, 5, timeout=3), list[str])
    assert_type(await ada.call(Account.total), float)
    assert_type(await ada.call("total", result_type=int), int)
    assert_type((await ada.state(), (await ada.history())[0].id), tuple[Account | None, str])
    await ada.signal(Account.deposit, 5, "")
    assert_type(await ada.unlock("why", number=5), bool)
    await client.entity("Account", "ada").call("deposit", 5)
    shipment = client.correlated("shipment", "S-7")
    assert_type(shipment, Correlated)
    await shipment.signal(Approval.vote, "Ada", True, key="k", keep=timedelta(days=1))
    await shipment.signal("shipped", {"by": "train"})
    assert_type(await shipment.describe(), CorrelationDescription)
    assert_type(await shipment.release(), str | None)
    Worker("embedded:state", entities=[Account, OtherEntity])
    Environment(entities=[Account])
    assert_type(Account().deposit(5), int)


async def calls_entities() -> None:
    await workflow.correlate("shipment", "S-7")
    await workflow.uncorrelate("shipment", "S-7")
    assert_type(await workflow.call_entity(Account.deposit, "ada", 5, ""), int)
    assert_type(await workflow.call_entity(Account.pay_out, "ada", 5), list[str])
    assert_type(await workflow.call_entity(Account.total, "ada"), float)
    assert_type(await workflow.call_entity("Account.total", "ada", result_type=int), int)
    assert_type(await workflow.call_entity("Account.total", "ada"), Any)
    workflow.signal_entity(Account.deposit, "ada", 5, "", delay=60)
    ada = entity.at(Account, "ada")
    assert_type(ada, entity.EntityId)
    async with workflow.lock(ada, entity.at("Account", "bob"), "@Account@cleo") as lock:
        assert_type(lock, workflow.EntityLock)
        assert_type(lock.number(ada), int)
        lock.number("@Account@cleo")
    await workflow.signal_entity("Account.deposit", "ada", 5)


@connect.define("orders", group="mine", begin="latest")
def orders(record: connect.Record[Order]) -> connect.Action | list[connect.Action] | None:
    order = assert_type(record.value, Order)
    start = connect.Start(Approval.run, order, 3, id=order.id, reuse="use-existing")
    connect.Start("approval", 1, 2, id="a", conflict="terminate", memo={"by": "Kafka"})
    connect.Start(Approval.run, order, 2, id="a", signal=(Approval.vote, "Ada", True))
    connect.SignalWorkflow("a", Approval.vote, "Ada", True)
    connect.SignalWorkflow("a", "vote", 1, 2, 3)
    connect.SignalCorrelated("shipment", "S-7", Approval.vote, "Ada", True, keep=timedelta(days=1))
    connect.SignalCorrelated("shipment", "S-7", "shipped", 1, 2)
    entities = connect.SignalEntity(Account.deposit, "ada", 5, ""), connect.SignalEntity("A.b", "k")
    return [start, *entities] if record.key else None


@connect.define("raw", avro=connect.Avro("order.avsc", header_bytes=5))
def raw(record: connect.Record[Any]) -> connect.Start:
    assert_type(record.timestamp, datetime | None)
    return connect.Start("approval", id="a")


async def connects(env: Environment) -> None:
    assert_type(orders, connect.Connection[Order])
    await env.feed(orders, {"id": "a"}, connect.Record("orders", {"id": "a"}, b"key"))
    Worker("localhost:9092", connections=[orders, raw], shards=False, queues=[])
