"""Restate: examples, python/, where they are about virtual objects."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from uuid import UUID

import pytest

from processor import ApplicationError, UpdateFailed, activity, connect, entity, workflow
from processor.testing import Environment

# --- basics/2_virtual_objects


@entity.define
class Greeter:
    count: int = 0

    def greet(self, greeting: str) -> str:
        self.count += 1
        return f"{greeting} {entity.info().key} for the {self.count}. time"

    def ungreet(self) -> str:
        self.count = max(self.count - 1, 0)
        return f"dear {entity.info().key}, taking one greeting back: {self.count}"


def test_virtual_objects() -> None:
    """basics/2_virtual_objects: 17 lines, theirs 16. State under a key, one call at a time."""

    async def main() -> None:
        async with Environment(entities=[Greeter]) as env:
            ada = env.entity(Greeter, "Ada")
            await ada.call(Greeter.greet, "Hi")
            assert await ada.call(Greeter.greet, "Hello") == "Hello Ada for the 2. time"
            assert (await ada.call(Greeter.ungreet)).endswith("back: 1")

    asyncio.run(main())


# --- patterns/statefulactors


@activity.define
async def switch(machine: str, on: bool) -> None:
    await asyncio.sleep(5)


@entity.define
class Machine:
    up: bool = False

    async def set_up(self) -> str:
        return await self._switched(True)

    async def tear_down(self) -> str:
        return await self._switched(False)

    async def _switched(self, up: bool) -> str:
        if self.up == up:
            return f"it is {'up' if up else 'down'} already"
        await switch(entity.info().key, up)
        self.up = up
        return f"it is {'up' if up else 'down'} now"


def test_stateful_actors() -> None:
    """patterns/statefulactors: 24 lines, theirs 54. Transitions that take long wait in a line."""

    async def main() -> None:
        async with Environment([], [switch], entities=[Machine]) as env:
            machine = env.entity(Machine, "m-1")
            calls = (Machine.set_up, Machine.set_up, Machine.tear_down)
            told = await asyncio.gather(*(machine.call(each) for each in calls))
            assert told == ["it is up now", "it is up already", "it is down now"]

    asyncio.run(main())


# --- patterns/schedulingtasks

MAILS: list[str] = []


@activity.define
async def mail(text: str) -> None:
    MAILS.append(text)


@entity.define
class Invoice:
    paid: bool = False
    reminders: int = 0

    def succeeded(self) -> None:
        self.paid = True

    async def failed(self) -> None:
        if self.paid:
            return
        if self.reminders == 3:
            await mail("a person has to look at it")
            return
        self.reminders += 1
        await mail(f"reminder {self.reminders}")
        key = entity.info().key
        workflow.signal_entity(Invoice.failed, key, delay=timedelta(days=1))


def test_scheduling_tasks() -> None:
    """patterns/schedulingtasks: 31 lines, theirs 48. An object calls itself a day later."""

    async def main() -> None:
        async with Environment([], [mail], entities=[Invoice]) as env:
            await env.entity(Invoice, "late").signal(Invoice.failed)
            await env.sleep(timedelta(days=5))
            assert [*(f"reminder {n}" for n in (1, 2, 3)), "a person has to look at it"] == MAILS
            await env.entity(Invoice, "soon").signal(Invoice.failed)
            await env.entity(Invoice, "soon").signal(Invoice.succeeded)
            await env.sleep(timedelta(days=5))
            assert MAILS[4:] == ["reminder 1"]

    asyncio.run(main())


# --- patterns/eventenrichment


@dataclass
class Seen:
    package: str
    place: str


@entity.define
class Package:
    to: str = ""
    places: list[str] = []  # noqa: RUF012  # each key has a copy

    def register(self, to: str) -> None:
        self.to = to

    def seen_at(self, place: str) -> None:
        if not self.to:
            raise ApplicationError("nobody has registered it")
        self.places.append(place)


@connect.define("package-locations")
def locations(record: connect.Record[Seen]) -> connect.Action:
    return connect.SignalEntity(Package.seen_at, record.value.package, record.value.place)


def test_event_enrichment() -> None:
    """patterns/eventenrichment: 27 lines, theirs 33. Events of a topic meet what is known."""

    async def main() -> None:
        async with Environment(entities=[Package]) as env:
            package = env.entity(Package, "p1")
            await package.call(Package.register, "Bridge 6, Amsterdam")
            await env.feed(locations, Seen("p1", "Pinetree Road 5"), Seen("p1", "depot"))
            await env.sleep(1)
            state = await package.state()
            assert state is not None and state.places == ["Pinetree Road 5", "depot"]

    asyncio.run(main())


# --- patterns/durablerpc


@entity.define
class Product:
    reserved: bool = False

    def reserve(self) -> bool:
        was, self.reserved = self.reserved, True
        return not was


def test_durable_rpc() -> None:
    """patterns/durablerpc: 14 lines, theirs 46. Who asks again with the same key has reserved."""

    async def main() -> None:
        async with Environment(entities=[Product]) as env:
            product = env.entity(Product, "2")
            for _ in range(2):
                assert await product.call(Product.reserve, key="reservation-7")
            assert not await product.call(Product.reserve, key="reservation-8")

    asyncio.run(main())


# --- patterns/statemachinepayments


@entity.define
class Wallet:
    cents: int = 0

    def deposit(self, cents: int) -> None:
        self.cents += cents

    def withdraw(self, cents: int) -> bool:
        if self.cents < cents:
            return False
        self.cents -= cents
        return True


@entity.define
class Transfer:
    state: Literal["new", "done", "cancelled"] = "new"

    def begin(self) -> str:
        before, self.state = self.state, "done" if self.state == "new" else self.state
        if before == "new":
            workflow.signal_entity(Transfer.forget, entity.info().key, delay=timedelta(days=1))
        return before

    def cancel(self) -> str:
        before, self.state = self.state, "cancelled"
        return before

    def forget(self) -> None:
        entity.delete()


@workflow.define
async def makes(payment: str, account: str, cents: int) -> str:
    async with workflow.lock(entity.at(Transfer, payment), entity.at(Wallet, account)):
        if (state := await workflow.call_entity(Transfer.begin, payment)) != "new":
            return f"the payment is {state} already"
        if not await workflow.call_entity(Wallet.withdraw, account, cents):
            await workflow.call_entity(Transfer.forget, payment)
            return "insufficient funds"
        return "paid"


@workflow.define
async def cancels(payment: str, account: str, cents: int) -> str:
    async with workflow.lock(entity.at(Transfer, payment), entity.at(Wallet, account)):
        before = await workflow.call_entity(Transfer.cancel, payment)
        if before == "done":
            await workflow.call_entity(Wallet.deposit, account, cents)
        return before


def test_state_machine_payments() -> None:
    """patterns/statemachinepayments: 55 lines, theirs 80. Objects for accounts and payments."""

    async def main() -> None:
        async with Environment([makes, cancels], entities=[Wallet, Transfer]) as env:
            ada = env.entity(Wallet, "ada")
            await ada.call(Wallet.deposit, 50)
            assert await env.run(makes, "p1", "ada", 30) == "paid"
            assert await env.run(makes, "p1", "ada", 30) == "the payment is done already"
            assert await env.run(makes, "p2", "ada", 30) == "insufficient funds"
            assert await env.run(cancels, "p1", "ada", 30) == "done"
            assert await env.run(cancels, "p3", "ada", 5) == "new"
            assert await env.run(makes, "p3", "ada", 5) == "the payment is cancelled already"
            state = await ada.state()
            assert state is not None and state.cents == 50
            await env.sleep(timedelta(days=2))
            assert await env.entity(Transfer, "p1").state() is None

    asyncio.run(main())


# --- e2e/chat-bot

SAID: list[str] = []


@dataclass
class Answer:
    say: str
    task: str = ""
    seconds: float = 0
    stops: str = ""


@activity.define
async def model(said: list[str], text: str) -> Answer:
    match text.split():
        case ["remind", "me", task]:
            return Answer(f"I do: {task}", task, 3_600)
        case ["forget", task]:
            return Answer("I do", stops=task)
        case _:
            return Answer(f"there were {len(said)} lines")


@entity.define
class Chat:
    said: list[str] = []  # noqa: RUF012
    tasks: dict[str, str] = {}  # noqa: RUF012

    async def message(self, text: str) -> str:
        answer = await model(self.said, text)
        self.said += [f"user: {text}", f"bot: {answer.say}"]
        chat = entity.info().key
        if answer.task:
            id = self.tasks[answer.task] = f"{chat}-{answer.task}"
            do = chat, answer.task, answer.seconds
            await workflow.start_child(reminds, *do, id=id, parent_close="abandon")
        if answer.stops:
            workflow.cancel(self.tasks.pop(answer.stops))
        return answer.say

    def done(self, task: str, text: str) -> None:
        del self.tasks[task]
        self.said.append(f"bot: {text}")


@workflow.define
async def reminds(chat: str, task: str, seconds: float) -> None:
    await workflow.sleep(seconds)
    workflow.signal_entity(Chat.done, chat, task, f"it is time: {task}")


def test_chat_bot() -> None:
    """e2e/chat-bot: 51 lines, theirs 461. A chat starts tasks, hears of them, and ends them."""

    async def main() -> None:
        async with Environment([reminds], [model], entities=[Chat]) as env:
            chat = env.entity(Chat, "ada")
            for task in ("tea", "cake"):
                await chat.call(Chat.message, f"remind me {task}")
            await chat.call(Chat.message, "forget cake")
            await env.sleep(timedelta(hours=2))
            assert await chat.call(Chat.message, "hello") == "there were 7 lines"
            state = await chat.state()
            assert state is not None and not state.tasks
            assert state.said[-3] == "bot: it is time: tea"

    asyncio.run(main())


# --- e2e/food-ordering

KITCHEN: list[str] = []


@dataclass
class Meal:
    cents: int
    delay_s: float = 0
    region: str = "Berlin"
    products: list[str] = field(default_factory=list)


@dataclass
class Located:
    driver: str
    minutes: int


@activity.define
async def charge(token: UUID, cents: int) -> bool:
    return cents < 10_000


@activity.define
async def prepare(order: str) -> None:
    KITCHEN.append(order)


@entity.define
class Dispatch:
    """Brings the orders and the drivers of a region together."""

    drivers: list[str] = []  # noqa: RUF012
    orders: list[str] = []  # noqa: RUF012

    def offered(self, driver: str) -> None:
        self.drivers.append(driver)
        self._match()

    def wanted(self, order: str) -> None:
        self.orders.append(order)
        self._match()

    def _match(self) -> None:
        while self.drivers and self.orders:
            workflow.signal(self.orders.pop(0), "driver", self.drivers.pop(0))


@entity.define
class Driver:
    status: Literal["idle", "waiting", "delivering"] = "idle"
    order: str = ""

    def begins(self, region: str) -> None:
        self._was("idle", "waiting")
        workflow.signal_entity(Dispatch.offered, region, entity.info().key)

    def takes(self, order: str) -> None:
        self._was("waiting", "delivering")
        self.order = order

    def picks_up(self) -> None:
        self._was("delivering", "delivering")
        workflow.signal(self.order, "picked_up")

    def delivers(self) -> None:
        self._was("delivering", "idle")
        workflow.signal(self.order, "delivered")

    def moves(self, minutes: int) -> None:
        if self.status == "delivering":
            workflow.signal(self.order, "eta", minutes)

    def _was(self, before: str, now: Literal["idle", "waiting", "delivering"]) -> None:
        if self.status != before:
            raise ApplicationError(f"the driver is {self.status}")
        self.status = now


@connect.define("driver-locations")
def moving(record: connect.Record[Located]) -> connect.Action:
    return connect.SignalEntity(Driver.moves, record.value.driver, record.value.minutes)


@workflow.define
class FoodOrder:
    def __init__(self) -> None:
        self.status, self.minutes = "created", -1

    @workflow.run
    async def run(self, meal: Meal) -> str:
        id = workflow.info().workflow_id
        if not await charge(workflow.uuid4(), meal.cents):
            return "rejected"
        self.status = "scheduled"
        await workflow.sleep(meal.delay_s)
        await prepare(id)
        self.status = "in preparation"
        await workflow.wait_for_event("prepared")
        self.status = "waits for a driver"
        workflow.signal_entity(Dispatch.wanted, meal.region, id)
        await workflow.call_entity(Driver.takes, await workflow.wait_for_event("driver", str), id)
        await workflow.wait_for_event("picked_up")
        self.status = "in delivery"
        await workflow.wait_for_event("delivered")
        return "delivered"

    @workflow.signal
    def eta(self, minutes: int) -> None:
        self.minutes = minutes

    @workflow.query
    def standing(self) -> tuple[str, int]:
        return self.status, self.minutes


def test_food_ordering() -> None:
    """e2e/food-ordering: 104 lines, theirs 459. Orders, drivers, and a topic of where they are."""

    async def main() -> None:
        code = [FoodOrder], [charge, prepare]
        async with Environment(*code, entities=[Dispatch, Driver]) as env:
            assert await env.run(FoodOrder.run, Meal(10_000)) == "rejected"
            order = await env.start(FoodOrder.run, Meal(1_200, 600), id="o-1")
            bob = env.entity(Driver, "bob")
            await bob.call(Driver.begins, "Berlin")
            with pytest.raises(UpdateFailed):
                await bob.call(Driver.begins, "Berlin")
            await env.sleep(700)
            assert KITCHEN == ["o-1"]
            await order.raise_event("prepared")
            await env.sleep(1)
            await bob.call(Driver.picks_up)
            await env.feed(moving, Located("bob", 9), Located("eve", 1))
            await env.sleep(1)
            assert await order.query(FoodOrder.standing) == ("in delivery", 9)
            await bob.call(Driver.delivers)
            assert await order.result() == "delivered"

    asyncio.run(main())
