# pyright: strict
"""Every line that ends in ``# wrong`` is an error, and no other one is."""

from dataclasses import dataclass

from processor.core.nouns.timer import TimerFired
from processor.core.records.turn import Turn
from processor import Client, Worker, activity, connect, entity, workflow
from processor.testing import ActivityEnvironment, Environment


@dataclass
class Order:
    id: str


@activity.define
async def charge(order: Order, amount: float = 1.0) -> str:
    return order.id


@activity.define(queue="sums")
def add(*numbers: int) -> int:
    return sum(numbers)


class Shop:
    @activity.define
    async def greet(self, name: str) -> bytes:
        return b""


@activity.define(queue=3)  # wrong
async def misplaced(number: int) -> None: ...


@activity.define(timeout=3)  # wrong
async def unknown_option(number: int) -> None: ...


@workflow.define(name=2)  # wrong
async def misnamed() -> None: ...


@workflow.define
async def shopping(order: Order) -> bool:
    await charge("order")  # wrong
    await charge(order, "much")  # wrong
    await charge()  # wrong
    await charge(order, price=1.0)  # wrong
    await add("1")  # wrong
    await add.options(queue=1)(2)  # wrong
    await add.options(timeout=1)(2)  # wrong
    await add.options(queue="x")("2")  # wrong
    await Shop().greet(1)  # wrong
    await Shop.greet(1)  # wrong
    await Shop.greet(Shop(), "Ann")  # wrong
    number: int = await charge(order)  # wrong
    approved: str = await workflow.wait_for_event("approved", bool)  # wrong
    await workflow.wait_for_event("approved", bool, timeout="2h")  # wrong
    await workflow.sleep("1")  # wrong
    workflow.publish("records", 1, b"")  # wrong
    await workflow.call_activity(charge, order, start_to_close="5s")  # wrong
    workflow.info().headers["trace"] = b"1"  # wrong
    print(approved)
    return bool(number)


@workflow.define
async def outer(order: Order) -> None:
    await shopping("order")  # wrong
    answer: str = await shopping(order)  # wrong
    print(answer)


def records_are_frozen(turn: Turn, event: TimerFired) -> None:
    turn.epoch = 18  # wrong
    event.id = 2  # wrong


async def serves(client: Client) -> None:
    Worker("embedded:state", strict_replay="yes")  # wrong
    Worker("embedded:state", strict=True)  # wrong
    Worker("embedded:state", payloads="fernet")  # wrong
    Worker("embedded:state", interceptors=[print])  # wrong
    await client.start(shopping, "order")  # wrong
    await client.run(shopping, Order("a"), conflict="maybe")  # wrong
    client.handle("a", run_id=3)  # wrong
    text: str = await client.handle("a", workflow=shopping).result()  # wrong
    print(text)


async def tests(env: Environment) -> None:
    await env.start(shopping, "order")  # wrong
    await env.run(shopping, Order("a"), within="1h")  # wrong
    await env.handle("a").result(with_in=3)  # wrong
    await ActivityEnvironment().run(charge, "order")  # wrong
    number: int = await ActivityEnvironment().run(charge, Order("a"))  # wrong
    print(number)


@workflow.define
class Approval:
    @workflow.run
    async def run(self, order: Order) -> bool:
        return True

    @workflow.signal
    def vote(self, who: str) -> None: ...

    @workflow.query
    def standing(self, count: int) -> list[str]:
        return []

    @workflow.update
    async def set_limit(self, limit: int) -> str:
        return ""

    @set_limit.validator  # wrong
    def check(self, limit: str) -> None: ...

    @workflow.query(dynamic="yes")  # wrong
    def other(self, name: str) -> None: ...


@workflow.define
def plain(first: int) -> int:
    return first


@workflow.define
class Plain:
    @workflow.run
    def run(self, order: Order) -> bool:
        return True


async def handles(client: Client) -> None:
    await client.run(plain, "1")  # wrong
    await client.run_activity(charge, 5)  # wrong
    await workflow.call_http("GET", "http://a", headers={"a": 5})  # wrong
    await client.start_activity(charge, Order("a"), atempts=5)  # wrong
    length: int = await client.run_activity(charge, Order("a"))  # wrong
    await plain("1")  # wrong
    await client.start(Plain.run, 1)  # wrong
    handle = await client.start(Approval.run, Order("a"))
    await client.start(Approval.run, 5)  # wrong
    await handle.signal(Approval.vote, 5)  # wrong
    await handle.signal(Approval.vote)  # wrong
    await handle.query(Approval.standing)  # wrong
    await handle.query(Approval.standing, "1")  # wrong
    await handle.query(Approval.standing, 1, reject="open")  # wrong
    count: int = await handle.query(Approval.standing, 1)  # wrong
    await handle.update(Approval.set_limit, "5")  # wrong
    await handle.update(Approval.set_limit)  # wrong
    number: int = await handle.update(Approval.set_limit, 5)  # wrong
    limit = (Approval.set_limit, "5")
    await client.update_with_start(Approval.run, Order("a"), update=limit)  # wrong
    Approval().standing("1")  # wrong


async def ends(client: Client) -> None:
    add.options(cancellation="perhaps")  # wrong
    await client.complete(5, "a result")  # wrong
    await client.complete(("w", "1"), "a result")  # wrong
    await client.fail("token", "an error")  # wrong
    await client.handle("w").activity("1")  # wrong
    await client.handle("w").activity(1).set_options(queue=5)  # wrong
    await client.schedules.create(shopping, "order", id="s", cron="@daily")  # wrong
    await client.schedules.create(shopping, Order("a"), cron="@daily")  # wrong
    await client.schedules.handle("s").update(overlap="queue")  # wrong


@workflow.define
async def goes_on(count: int) -> int:
    if count == 1:
        workflow.continue_as_new(5, 2, workflow=shopping)  # wrong
    if count == 2:
        workflow.continue_as_new(5, "x", workflow=goes_on)  # wrong
    if count == 3:
        workflow.continue_as_new(5, retry=3)  # wrong
    if count == 4:
        workflow.continue_as_new(5, workflow=5)  # wrong
    return 5


@workflow.define
async def with_children(order: Order) -> None:
    await workflow.call_child(shopping, "order")  # wrong
    await workflow.call_child(shopping, order, parent_close="kill")  # wrong
    await workflow.call_child(shopping, order, namespace=5)  # wrong
    workflow.handle("other", namespace=5)  # wrong
    await workflow.call_child(shopping, order, cancellation="no")  # wrong
    await workflow.call_child(shopping, order, queue="x")  # wrong
    await workflow.call_child(shopping, order, cron="@daily")  # wrong
    text: str = await workflow.call_child(shopping, order)  # wrong
    child = await workflow.start_child(Approval.run, order)
    child.signal(Approval.vote, 5)  # wrong
    other = workflow.handle("other", workflow=Approval.run)
    other.signal(Approval.vote, 5)  # wrong
    text = await other.result()  # wrong
    text = await child  # wrong
    print(text)


@entity.define
class Account:
    balance: int = 0

    def deposit(self, amount: int) -> int:
        return self.balance

    async def pay_out(self, amount: int) -> str:
        return ""


async def entities(client: Client) -> None:
    ada = client.entity(Account, "ada")
    await ada.call(Account.deposit, "5")  # wrong
    await ada.call(Account.pay_out)  # wrong
    await ada.call(Plain.run, Order("a"))  # wrong
    told: str = await ada.call(Account.deposit, 5)  # wrong
    await ada.signal(Account.deposit, "5")  # wrong
    client.entity(Account, 5)  # wrong
    await workflow.call_entity(Account.deposit, "ada", "5")  # wrong
    number: int = await workflow.call_entity(Account.pay_out, "ada", 5)  # wrong
    workflow.signal_entity(Account.deposit, "ada")  # wrong
    workflow.signal_entity(Account.deposit, "ada", 5, delay="1 h")  # wrong
    entity.define(5)  # wrong
    entity.at(5, "ada")  # wrong
    entity.at(Account, 5)  # wrong
    workflow.lock(Account)  # wrong
    with workflow.lock(entity.at(Account, "ada")):  # wrong
        pass
    await ada.unlock(number="5")  # wrong
    workflow.correlate("shipment")  # wrong
    workflow.upsert_attributes({"customer": {"id": 7}})  # wrong
    await client.start(Approval.run, "Ada", attributes={"customer": b"7"})  # wrong
    await workflow.correlate("shipment", 7)  # wrong
    await client.correlated("shipment", "S-7").signal(Approval.vote, "Ada", 3)  # wrong
    await client.correlated("shipment", "S-7").signal("shipped", keep="1 h")  # wrong


@connect.define("orders")  # wrong
def says_text(record: connect.Record[Order]) -> str:
    return ""


@connect.define("orders", begin="first")  # wrong
def orders(record: connect.Record[Order]) -> connect.Action | None:
    connect.Start(Approval.run, "Ada", id="a")  # wrong
    connect.Start(Approval.run, record.value)  # wrong
    connect.Start(Approval.run, record.value, id="a", reuse="never")  # wrong
    connect.SignalWorkflow("a", Approval.vote, 5)  # wrong
    connect.SignalEntity(Account.deposit, "ada", "5")  # wrong
    connect.SignalCorrelated("shipment", "S-7", Approval.vote, 5)  # wrong
    return connect.SignalEntity(Account.deposit, "ada")  # wrong
