"""Updates: accepted or refused, beside each other, and what is told of each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import (
    ApplicationError,
    ChildFailed,
    Client,
    CommandRejected,
    UpdateFailed,
    UpdateRejected,
    UpdateUnfinished,
    WorkflowCancelled,
    WorkflowFailed,
    activity,
    workflow,
)

from .passing import kinds_of, passes


@activity.define
async def price_of(item: str) -> int:
    if item == "stone":
        raise ApplicationError("stones have no price", type="NoPrice", retryable=False)
    return len(item)


@workflow.define
async def packs(item: str) -> str:
    if item == "piano":
        raise ApplicationError("too heavy", type="Weight")
    return f"{item} is packed"


@workflow.define
class Cart:
    def __init__(self, start: int = 0) -> None:
        self.items: list[str] = []
        self.total = start
        self.lock = asyncio.Lock()
        self.paid = False
        self.open = asyncio.Event()
        self.at_once = self.most_at_once = 0

    @workflow.run
    async def run(self, start: int = 0) -> list[str]:
        await workflow.wait_until(lambda: self.paid)
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.items

    @workflow.update
    async def add(self, item: str) -> int:
        """Read, wait and write: without the lock, one of two would be lost."""
        async with self.lock:
            total = self.total
            self.total = total + await price_of(item)
            self.items.append(item)
            return self.total

    @add.validator
    def check(self, item: str) -> None:
        if item in self.items:
            raise ApplicationError(f"there is one {item} already", type="Twice")
        if self.paid:
            raise ValueError("it is paid")

    @workflow.update
    async def pack(self, item: str) -> str:
        return await workflow.call_child(packs, item)

    @workflow.update
    async def in_time(self, seconds: float) -> str:
        try:
            await workflow.wait_until(lambda: self.paid, timeout=seconds)
        except TimeoutError:
            return "too late"
        return "in time"

    @workflow.update
    async def wait(self, name: str) -> str:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.open.wait()
        self.at_once -= 1
        self.items.append(name)
        return f"{name} of {self.most_at_once}"

    @workflow.update(name="pay-now")
    def pay(self) -> str:
        self.paid = True
        return "thank you"

    @workflow.update(dynamic=True)
    async def other(self, name: str, *args: Any) -> list[Any]:
        await workflow.sleep(0)
        return [name, *args]

    @workflow.update
    async def forever(self) -> None:
        await workflow.wait_until(lambda: False)

    @workflow.update
    async def cancels_itself(self) -> None:
        raise asyncio.CancelledError("by itself")

    @workflow.update
    async def in_groups(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(price_of("stone"))
            group.create_task(self.open.wait())

    @workflow.signal
    def release(self) -> None:
        self.open.set()


async def test_updates_at_once_with_a_lock_lose_nothing(client: Client, id: str) -> None:
    handle = await client.start(Cart.run, id=id)
    totals = await asyncio.gather(*(handle.update(Cart.add, "x" * n) for n in range(1, 9)))
    assert sorted(totals)[-1] == 36
    assert len({*totals}) == 8, "each saw a total of its own"
    await handle.update(Cart.pay)
    assert len(await handle.result()) == 8


async def test_updates_at_once_are_beside_each_other_and_end_in_any_order(
    client: Client, id: str
) -> None:
    handle = await client.start(Cart.run, id=id)
    sent = [await handle.start_update(Cart.wait, name) for name in ("a", "b", "c")]
    assert await handle.update(Cart.add, "pear") == 4, "those that wait hold nobody up"
    await handle.signal(Cart.release)
    told = [await each.result() for each in reversed(sent)]
    assert told == ["c of 3", "b of 3", "a of 3"]
    await handle.update(Cart.pay)
    assert await handle.result() == ["pear", "a", "b", "c"]


async def test_a_validator_sees_what_the_updates_before_it_have_done(
    client: Client, id: str
) -> None:
    handle = await client.start(Cart.run, id=id)
    assert await handle.update(Cart.add, "pear") == 4
    with pytest.raises(UpdateRejected, match="there is one pear already"):
        await handle.update(Cart.add, "pear")
    assert await handle.update(Cart.pay) == "thank you"
    with pytest.raises(CommandRejected, match="is completed"):
        await handle.update(Cart.add, "plum")
    assert await handle.result() == ["pear"]


async def test_an_update_that_is_refused_is_no_event_and_may_be_sent_again(
    client: Client, id: str
) -> None:
    handle = await client.start(Cart.run, id=id)
    await handle.update(Cart.add, "pear", id="first")
    before = await kinds_of(handle)
    for _ in range(3):
        with pytest.raises(UpdateRejected):
            await handle.update(Cart.add, "pear", id="again")
    assert await kinds_of(handle) == before
    assert await handle.update(Cart.add, "plum", id="again") == 8, "its id is not taken"
    assert await handle.update(Cart.add, "other", id="again") == 8
    await handle.terminate()


async def test_an_update_fails_with_the_error_of_its_activity(client: Client, id: str) -> None:
    handle = await client.start(Cart.run, id=id)
    with pytest.raises(UpdateFailed, match="stones have no price") as failed:
        await handle.update(Cart.add, "stone")
    cause = failed.value.__cause__
    assert isinstance(cause, ApplicationError) and cause.type == "NoPrice"
    assert await handle.update(Cart.add, "pear") == 4, "the lock is free"
    with pytest.raises(UpdateFailed):
        await handle.update(Cart.in_groups)
    await handle.update(Cart.pay)
    assert await handle.result() == ["pear"]


async def test_an_update_calls_children(client: Client, id: str) -> None:
    handle = await client.start(Cart.run, id=id)
    assert await handle.update(Cart.pack, "lamp") == "lamp is packed"
    with pytest.raises(UpdateFailed, match="too heavy") as failed:
        await handle.update(Cart.pack, "piano")
    assert isinstance(failed.value.__cause__, ChildFailed)
    await handle.terminate()


async def test_an_update_that_cancels_itself_fails(client: Client, id: str) -> None:
    handle = await client.start(Cart.run, id=id)
    with pytest.raises(UpdateFailed, match="by itself"):
        await handle.update(Cart.cancels_itself)
    assert await handle.update(Cart.add, "pear") == 4
    await handle.terminate()


async def test_a_condition_of_an_update_is_late_or_in_time(client: Client, id: str) -> None:
    handle = await client.start(Cart.run, id=id)
    assert await handle.update(Cart.in_time, 0.01) == "too late"
    waits = await handle.start_update(Cart.in_time, 3_600)
    await handle.update(Cart.pay)
    assert await waits.result() == "in time"
    assert await handle.result() == []


async def test_names_of_updates_are_those_that_they_were_given(client: Client, id: str) -> None:
    handle = await client.start(Cart.run, id=id)
    assert await handle.update("some", 1, None, [2]) == ["some", 1, None, [2]]
    assert await handle.update("pay") == ["pay"], "the name of the method is no name"
    assert await handle.update("pay-now") == "thank you"
    assert await handle.result() == []


async def test_a_cancelled_run_ends_its_updates_unfinished(client: Client, id: str) -> None:
    handle = await client.start(Cart.run, id=id)
    waits = await handle.start_update(Cart.forever, id="u")
    await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled):
        await handle.result()
    with pytest.raises(UpdateUnfinished, match="is cancelled"):
        await waits.result()
    with pytest.raises(CommandRejected, match="is cancelled"):
        await handle.update(Cart.add, "late")


async def test_a_copy_of_an_update_waits_with_the_first_one(client: Client, id: str) -> None:
    handle = await client.start(Cart.run, id=id)
    first = await handle.start_update(Cart.wait, "a", id="one")
    copies = [asyncio.create_task(handle.update(Cart.wait, "b", id="one")) for _ in range(3)]
    await passes(client, 0.02)
    assert not [each for each in copies if each.done()]
    await handle.signal(Cart.release)
    assert [await first.result(), *[await each for each in copies]] == ["a of 1"] * 4
    await handle.update(Cart.pay)
    assert await handle.result() == ["a"]


async def test_an_update_of_the_first_turn_is_answered(client: Client, id: str) -> None:
    assert await client.update_with_start(Cart.run, 5, id=id, update=(Cart.add, "pear")) == 9
    with pytest.raises(UpdateRejected, match="one pear already"):
        await client.update_with_start(Cart.run, 5, id=id, update=(Cart.add, "pear"))
    other = f"{id}-other"
    with pytest.raises(UpdateFailed, match="no price"):
        await client.update_with_start(Cart.run, id=other, update=(Cart.add, "stone"))
    for each in (id, other):
        assert await client.handle(each).update("pay-now") == "thank you"
    assert await client.handle(id).result() == ["pear"]


@workflow.define
class Hurried:
    """Its code ends, fails or goes on in its very first turn."""

    def __init__(self, how: str) -> None:
        self.heard = 0

    @workflow.run
    async def run(self, how: str) -> int:
        if how == "fail":
            raise ApplicationError("at once")
        if how == "go on":
            workflow.continue_as_new("end")
        return self.heard

    @workflow.update
    def hear(self) -> int:
        self.heard += 1
        return self.heard

    @workflow.update
    async def wait(self) -> None:
        await workflow.sleep(3_600)


async def test_an_update_with_a_run_that_ends_in_its_first_turn(client: Client, id: str) -> None:
    for how in ("end", "fail", "go on"):
        name = f"{id}-{how}"
        heard = await client.update_with_start(Hurried.run, how, id=name, update=(Hurried.hear,))
        assert heard == 1
        with pytest.raises(UpdateUnfinished):
            await client.update_with_start(
                Hurried.run, how, id=f"{name}-waits", update=(Hurried.wait,)
            )
    assert await client.handle(f"{id}-end").result() == 1
    with pytest.raises(WorkflowFailed, match="at once"):
        await client.handle(f"{id}-fail").result()
    assert await client.handle(f"{id}-go on").result() == 0


@workflow.define
async def by_functions() -> list[str]:
    heard: list[str] = []

    async def push(value: str) -> str:
        heard.append(await workflow.wait_for_event(value, str))
        return heard[-1]

    def check(value: str) -> None:
        if value == "second":
            raise ValueError("no second")

    workflow.on_update("push", push, validator=check)
    await workflow.wait_for_event("on")
    workflow.on_update("push", lambda value: f"other {value}")
    workflow.on_update(None, lambda name, *values: f"dynamic {name}")
    await workflow.wait_for_event("end")
    await workflow.wait_until(workflow.all_handlers_finished)
    return heard


async def test_a_later_handler_of_an_update_takes_its_place(client: Client, id: str) -> None:
    handle = await client.start(by_functions, id=id)
    first = await handle.start_update("push", "first")
    with pytest.raises(UpdateRejected, match="no second"):
        await handle.update("push", "second")
    with pytest.raises(UpdateRejected, match="there is no update 'pull'"):
        await handle.update("pull")
    await handle.raise_event("on")
    assert await handle.update("push", "second") == "other second"
    assert await handle.update("pull") == "dynamic pull"
    await handle.raise_event("end")
    await handle.raise_event("first", "gone")
    assert await first.result() == "gone", "one that has begun goes on"
    assert await handle.result() == ["gone"]


@workflow.define
class Moves:
    """Goes on as another run while updates wait, and after it was asked to."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.over = self.go_on = False

    @workflow.run
    async def run(self, number: int) -> int:
        await workflow.wait_until(lambda: self.go_on or self.over)
        if self.go_on:
            await workflow.wait_until(workflow.all_handlers_finished)
            workflow.continue_as_new(number + 1)
        return number

    @workflow.update
    async def move(self) -> int:
        self.go_on = True
        await workflow.sleep(0.01)
        return self.number

    @workflow.update
    async def which(self) -> int:
        await workflow.sleep(0)
        return self.number

    @workflow.update
    def end(self) -> int:
        self.over = True
        return self.number


async def test_updates_of_a_chain_reach_the_open_run_and_outcomes_stay(
    client: Client, id: str
) -> None:
    handle = await client.start(Moves.run, 1, id=id)
    assert await handle.update(Moves.move, id="moves") == 1
    assert await handle.update(Moves.which) == 2
    assert await handle.update(Moves.move, id="moves") == 1, "it counts once in all of the chain"
    assert await handle.update(Moves.which) == 2
    assert await handle.update(Moves.end) == 2
    assert await handle.result() == 2
