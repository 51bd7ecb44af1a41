"""The workflow code of the histories of the open level. It is frozen when the level is closed.

Until then both this code and its histories may change: ``record.py`` says how.
"""

import asyncio
from datetime import timedelta
from typing import Any

from processor import (
    ApplicationError,
    ChildFailed,
    CorrelationTaken,
    LockLost,
    NamespaceNotFound,
    RetryPolicy,
    UpdateFailed,
    ValueNotSet,
    WorkflowAlreadyStarted,
    WorkflowFailed,
    WorkflowNotFound,
    activity,
    entity,
    workflow,
)


@activity.define
async def double(number: int) -> int:
    return number * 2


@activity.define(retry=RetryPolicy(initial_interval=timedelta(hours=1), maximum_attempts=3))
async def stumbles(fails: int) -> int:
    if activity.info().attempt <= fails:
        raise ApplicationError("not yet", type="Stumbled")
    return activity.info().attempt


@activity.define
async def left_open(word: str) -> str:
    raise activity.CompleteAsync


@activity.define(cancellation="wait")
async def stops_slowly() -> str:
    try:
        await asyncio.sleep(3_600)
    except asyncio.CancelledError:
        await asyncio.sleep(2)
    return "as far as it came"


# --- handlers, and updates --------------------------------------------------------------------


@workflow.define
class Committee:
    """Signals begin in order, beside each other; queries leave no trace."""

    def __init__(self) -> None:
        self.votes: dict[str, int] = {}
        self.others: list[str] = []

    @workflow.run
    async def run(self, seats: int) -> list[Any]:
        await asyncio.sleep(1)  # votes arrive before the code takes the rest up
        await workflow.wait_until(lambda: len(self.votes) >= seats)
        await workflow.wait_until(workflow.all_handlers_finished)
        return [self.votes, self.others]

    @workflow.signal
    async def vote(self, who: str, weight: int) -> None:
        self.votes[who] = await double(weight)

    @workflow.signal(name="set-seat")
    def set_seat(self, who: str) -> None:
        self.votes.setdefault(who, 0)

    @workflow.signal(dynamic=True)
    async def other(self, name: str, *what: Any) -> None:
        self.others.append(name)

    @workflow.query
    def missing(self, seats: int) -> int:
        return seats - len(self.votes)


@workflow.define
async def listens() -> int:
    """A function takes what came before its handler was there."""
    total = 0

    def add(number: int) -> None:
        nonlocal total
        total += number

    await asyncio.sleep(5)
    workflow.on_signal("add", add)
    workflow.on_update("add-up", lambda number: total + number)
    await workflow.wait_until(lambda: total >= 10)
    return total


@workflow.define
class Account:
    def __init__(self) -> None:
        self.balance = 0
        self.closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_until(lambda: self.closed)
        return self.balance

    @workflow.update
    async def deposit(self, amount: int) -> int:
        self.balance += await double(amount)
        return self.balance

    @deposit.validator
    def check(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("nothing to deposit")

    @workflow.update
    def withdraw(self, amount: int) -> int:
        if amount > self.balance:
            raise ApplicationError("there is not enough", type="Overdrawn", details=[amount])
        self.balance -= amount
        return self.balance

    @workflow.update(unfinished="abandon")
    async def never_ends(self) -> None:
        await asyncio.sleep(1_000)

    @workflow.update
    def close(self) -> str:
        self.closed = True
        return "closed"


# --- children ---------------------------------------------------------------------------------


@workflow.define
async def child(number: int) -> int:
    if number < 0:
        raise ApplicationError("a child fails", type="Negative")
    await asyncio.sleep(number)
    return await double(number)


@workflow.define
async def waits() -> str:
    try:
        return await workflow.wait_for_event("go", str)
    except asyncio.CancelledError:
        await asyncio.sleep(1)
        raise


@workflow.define
async def parent() -> list[Any]:
    told: list[Any] = [await workflow.call_child(child, 3, id="child-called")]
    told.append(await workflow.call_child("child", 0, result_type=int))  # its id comes of the run
    begun = await workflow.start_child(waits, id="child-begun")
    try:
        await workflow.start_child(child, 1, id="child-begun")
    except WorkflowAlreadyStarted:
        told.append("taken")
    begun.signal("go", "told")
    told.append(await begun)
    try:
        await workflow.call_child(child, -1, id="child-fails")
    except ChildFailed as error:
        told.append([error.kind, str(error.__cause__)])
    stopped = await workflow.start_child(waits, id="child-stopped")
    stopped.cancel("enough")
    try:
        await stopped
    except asyncio.CancelledError:
        told.append("cancelled")
    try:
        async with asyncio.timeout(10):
            await workflow.call_child(waits, id="child-timed-out")
    except TimeoutError:
        told.append("given up")
    await workflow.start_child(waits, id="child-left", parent_close="cancel")
    await workflow.start_child(waits, id="child-abandoned", parent_close="abandon")
    return told


@workflow.define
async def spares() -> None:
    await workflow.start_child(waits, id="child-spared")
    await asyncio.sleep(10_000)


# --- chains: continue-as-new, cron, retries ---------------------------------------------------


@workflow.define
async def meters(told: list[int]) -> list[int]:
    """Takes two numbers in each run; what it has not taken goes to the next one."""
    told += [await workflow.wait_for_event("number", int) for _ in range(2)]
    if len(told) < 4:
        workflow.continue_as_new(told, memo={"so far": len(told)})
    workflow.continue_as_new(told, workflow=reports)


@workflow.define
async def reports(told: list[int]) -> list[int]:
    return [*told, await workflow.wait_for_event("number", int)]


@workflow.define
async def counts() -> int:
    """Begins each minute: its third run fails, the fourth one ends the chain."""
    info = workflow.info()
    before = info.last_result(int) or 0
    if before == 2 and info.last_failure is None:
        raise ApplicationError("the third one fails")
    await double(before)
    return before + 1


@workflow.define(retry=RetryPolicy(timedelta(minutes=1), maximum_attempts=4))
async def flaky(fails: int) -> list[Any]:
    info = workflow.info()
    if info.attempt <= fails:
        raise ApplicationError(f"attempt {info.attempt} fails", details={"of": fails})
    return [info.attempt, str(info.last_failure), await workflow.wait_for_event("word", str)]


# --- values, memos, promises ------------------------------------------------------------------


@workflow.define
async def sets_values() -> None:
    workflow.set_value("progress", "begun")
    workflow.set_value("number", 1)
    await asyncio.sleep(10)
    workflow.upsert_memo({"step": "second", "customer": None})
    workflow.upsert_attributes({"step": "second", "customer": None, "tags": ["a", "b"]})
    workflow.set_value("progress", {"half": True})
    workflow.set_value("progress", {"three quarters": True})
    await asyncio.sleep(10)
    workflow.set_value("progress", None)


@workflow.define
async def promises() -> list[Any]:
    first, second, third = workflow.promise(int), workflow.promise(str), workflow.promise()
    workflow.set_value("ids", [first.id, second.id, third.id])
    told: list[Any] = [await first]
    try:
        await second
    except ApplicationError as error:
        told.append([error.type, str(error)])
    try:
        async with asyncio.timeout(60):
            await third
    except TimeoutError:
        told.append("nobody settles it")
    return [*told, await third]


# --- calls between instances ------------------------------------------------------------------


@workflow.define
class Stock:
    def __init__(self) -> None:
        self.left = 5
        self.closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_until(lambda: self.closed)
        return self.left

    @workflow.update
    def reserve(self, count: int) -> int:
        if count > self.left:
            raise ApplicationError(f"there are only {self.left}")
        self.left -= count
        workflow.set_value("left", self.left)
        return self.left

    @workflow.query
    def available(self) -> int:
        return self.left

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@workflow.define
async def asks() -> list[Any]:
    stock = workflow.handle("stock", workflow=Stock.run)
    told: list[Any] = [await stock.query(Stock.available)]
    told.append(await stock.update(Stock.reserve, 3))
    try:
        await stock.update(Stock.reserve, 4)
    except UpdateFailed as error:
        told.append(str(error.__cause__))
    told.append(await stock.value("left", result_type=int))
    for awaited in (stock.value("never"), stock.result()):
        try:
            async with asyncio.timeout(30):
                await awaited
        except TimeoutError:
            told.append("given up")
    try:
        await workflow.handle("nobody").query("anything")
    except WorkflowNotFound:
        told.append("nobody is there")
    begun = await workflow.signal_with_start(Stock.run, id="another-stock", signal=(Stock.close,))
    told.append(await begun.result())
    await stock.signal(Stock.close)
    told.append(await stock.result())
    try:
        await stock.value("never")
    except ValueNotSet:
        told.append("not set")
    greets = asyncio.create_task(_greets())
    await asyncio.sleep(0)
    greets.cancel()  # the message has left, and is refused when nobody waits
    await asyncio.sleep(5)
    return told


async def _greets() -> None:
    await workflow.signal("nobody", "greeting", "hello")


@workflow.define
async def asks_one_that_fails() -> str:
    try:
        await workflow.handle("fails").result()
    except WorkflowFailed as error:
        return str(error.__cause__)
    return "it has not failed"


@workflow.define
async def elsewhere() -> list[Any]:
    """Ask for what is in another namespace, where there is none, and in the own one by its name."""
    there = workflow.handle("ledger", namespace="billing")
    there.signal("noted", 1)
    calls = (
        lambda: workflow.call_child(child, 1, namespace="billing"),
        lambda: workflow.start_child(child, 1, id="child-2", namespace="billing"),
        lambda: there.update("add", 5),
        there.result,
    )
    told: list[Any] = []
    for call in calls:
        try:
            await call()
        except NamespaceNotFound as error:
            told.append(str(error))
    return [*told, await workflow.call_child(child, 2, namespace="default")]


@workflow.define
async def fails() -> None:
    await asyncio.sleep(10)
    raise ApplicationError("as it was asked to", type="Asked")


# --- locks of entities ------------------------------------------------------------------------


@entity.define
class Box:
    held: int = 10

    def put(self, amount: int) -> int:
        self.held += amount
        return self.held


@workflow.define
async def carries(source: str, target: str, amount: int) -> list[Any]:
    told: list[Any] = []
    async with workflow.lock(entity.at(Box, source), entity.at(Box, target)) as lock:
        told.append(await workflow.call_entity(Box.put, source, -amount))
        await asyncio.sleep(5)
        told.append(await workflow.call_entity(Box.put, target, amount))
        told.append(lock.number(entity.at(Box, source)) > 0)
    try:
        async with asyncio.timeout(5), workflow.lock(entity.at(Box, "kept")):
            told.append("locked")
    except TimeoutError:
        told.append("given up")
    return told


@workflow.define
async def keeps() -> str:
    try:
        async with workflow.lock(entity.at(Box, "kept")):
            await asyncio.sleep(60)
            await workflow.call_entity(Box.put, "kept", 1)
    except LockLost:
        return "lost"
    return "kept"


# --- activities in the hands of operators -----------------------------------------------------


@workflow.define
async def labours() -> list[Any]:
    told: list[Any] = [await stumbles(1), await stumbles(2)]
    told.append(await asyncio.gather(left_open("a"), left_open("b"), return_exceptions=True))
    return [*told[:2], *(str(each) for each in told[2])]


@workflow.define
async def stops() -> str:
    try:
        async with asyncio.timeout(10):
            return await stops_slowly()
    except TimeoutError:
        return "it was given up"


@workflow.define
def plain(number: int) -> int:
    """Ends in its first turn."""
    workflow.set_value("number", number)
    return workflow.side_effect(lambda: number + 1, int)


@entity.define(history=2)
class Lamp:
    """Its first operation goes on, so that its history begins with its start."""

    lit: bool = False

    async def burn(self) -> None:
        workflow.signal_entity(Lamp.put_out, entity.info().key, delay=60)
        await asyncio.sleep(3_600)
        self.lit = True

    def put_out(self) -> None:
        self.lit = False


@workflow.define
async def lights(key: str) -> str:
    workflow.signal_entity(Lamp.burn, key)
    workflow.signal_entity(Lamp.put_out, key, delay=30)
    await workflow.signal_entity(Lamp.put_out, key, delay=timedelta(days=1))
    return "it burns"


# --- business keys ----------------------------------------------------------------------------


@workflow.define
async def awaits_parcel(key: str, count: int) -> list[Any]:
    try:
        await workflow.correlate("parcel", key)
    except CorrelationTaken as taken:
        return [taken.workflow_id]
    found = [await workflow.wait_for_event("item") for _ in range(count)]
    await workflow.uncorrelate("parcel", key)
    return found
