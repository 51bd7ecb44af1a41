"""What is refused inside of a lock's block, and what is no lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from processor import CommandRejected, InvalidArgument, PayloadTooLarge, entity, workflow
from processor.entity import EntityId
from processor.testing import Environment

from .test_locks import ADA, BOB, Account, environment, holds, nothing_is_locked


@workflow.define
async def sub() -> None:
    return None


@entity.define
class Locker:
    count: int = 0

    async def lock(self) -> None:
        async with workflow.lock(ADA):
            self.count += 1


async def _called_twice() -> None:
    await asyncio.gather(
        workflow.call_entity(Account.add_slowly, "ada", 1),
        workflow.call_entity(Account.add, "ada", 1),
    )


async def _nested() -> None:
    async with workflow.lock(BOB):
        pass


async def _in_a_task() -> None:
    await asyncio.create_task(_nested())


async def _used_again(lock: Any) -> None:
    async with lock:
        pass


async def _starts() -> None:
    await workflow.start_child(sub)


async def _signals() -> None:
    await workflow.signal_entity(Account.add, "ada", 1)


async def _signals_by_id() -> None:
    await workflow.signal("@Account@ada", "add", 1)


MISUSES: dict[str, tuple[Callable[[Any], Coroutine[Any, Any, Any]], str]] = {
    "other": (lambda _: workflow.call_entity(Account.add, "cleo", 1), "is not locked here"),
    "twice": (lambda _: _called_twice(), "has not answered the call before"),
    "signal": (lambda _: _signals(), "the signal would wait"),
    "by id": (lambda _: _signals_by_id(), "the signal would wait"),
    "child": (lambda _: workflow.call_child(sub), "call_child() inside of workflow.lock"),
    "start": (lambda _: _starts(), "start_child() inside of workflow.lock"),
    "nested": (lambda _: _nested(), "name all entities in one lock"),
    "task": (lambda _: _in_a_task(), "name all entities in one lock"),
    "number": (lambda lock: asyncio.sleep(lock.number(BOB)), "'@Account@bob' is not locked here"),
    "again": (_used_again, "lock() inside of workflow.lock"),
}


@workflow.define
async def misuses(which: str) -> str:
    async with workflow.lock(ADA) as lock:
        try:
            await MISUSES[which][0](lock)
        except InvalidArgument as error:
            return str(error)
    return "nothing was refused"


@pytest.mark.parametrize("which", MISUSES)
def test_what_is_refused_in_a_block(which: str) -> None:
    async def main() -> None:
        async with environment(misuses, sub) as env:
            assert MISUSES[which][1] in await env.run(misuses, which)
            await env.sleep(20)
            await nothing_is_locked(env, "ada")

    asyncio.run(main())


MADE_BEFORE: dict[str, tuple[Callable[[], Coroutine[Any, Any, Any]], str]] = {
    "call": (lambda: workflow.call_entity(Account.add, "ada", 1), "make the call where it is"),
    "other": (lambda: workflow.call_entity("Account.add", "cleo", 1), "make the call where it is"),
    "child": (lambda: workflow.call_child(sub), "call_child() inside of workflow.lock"),
    "start": (lambda: workflow.start_child(sub), "start_child() inside of workflow.lock"),
}


@workflow.define
async def made_before(which: str) -> str:
    made = MADE_BEFORE[which][0]()
    async with workflow.lock(ADA):
        try:
            await made
        except InvalidArgument as error:
            return str(error)
    return "nothing was refused"


@pytest.mark.parametrize("which", MADE_BEFORE)
def test_what_was_made_before_is_refused_where_a_block_awaits_it(which: str) -> None:
    async def main() -> None:
        async with environment(made_before, sub) as env:
            assert MADE_BEFORE[which][1] in await env.run(made_before, which, execution_timeout=60)
            await env.sleep(1)
            await nothing_is_locked(env, "ada")

    asyncio.run(main())


@workflow.define
async def begun_elsewhere(how: str) -> str:
    lock = workflow.lock(ADA)
    try:
        async with AsyncExitStack() as stack:
            begins = lock.__aenter__() if how == "begin" else stack.enter_async_context(lock)
            await asyncio.create_task(begins)
            await workflow.call_entity(Account.add, "ada", 1)
    except InvalidArgument as error:
        return str(error)
    return "nothing was refused"


@pytest.mark.parametrize("how", ["begin", "stack"])
def test_a_task_that_would_begin_a_block_and_end_is_refused(how: str) -> None:
    async def main() -> None:
        async with environment(begun_elsewhere) as env:
            told = await env.run(begun_elsewhere, how, execution_timeout=60)
            assert "asyncio.wait_for makes one" in told

    asyncio.run(main())


@workflow.define
async def in_a_stack() -> int:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(workflow.lock(ADA))
        return await workflow.call_entity(Account.add, "ada", 1)


@workflow.define
async def allowed() -> list[int]:
    async with workflow.lock(ADA) as lock:
        workflow.signal_entity(Account.add, "bob", 5)
        told = [await workflow.call_entity(Account.total, "cleo")]
        told.append(await workflow.call_entity(Account.add, "ada", 1))
    with pytest.raises(InvalidArgument, match="used before"):
        await _used_again(lock)
    told.append(await workflow.call_entity(Account.add, "cleo", 1))
    async with workflow.lock(BOB, ADA):
        told.append(await workflow.call_entity(Account.add, "bob", 1))
    return told


def test_what_is_allowed_in_and_behind_a_block() -> None:
    async def main() -> None:
        async with environment(allowed, in_a_stack) as env:
            await env.entity(Account, "cleo").call(Account.add, 0)
            assert await env.run(allowed) == [100, 101, 101, 106]
            assert await env.run(in_a_stack) == 102

    asyncio.run(main())


MANY = tuple(entity.at(Account, f"a{number}") for number in range(101))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((), "it was given 0 entities; give it 1 to 100"),
        (MANY, "it was given 101 entities"),
        ((ADA, "@Account@ada"), "'@Account@ada' is named twice"),
        (("ada",), "names no entity: give entity.at"),
        ((Account,), "names no entity"),
        ((EntityId("", ""),), "give a name of 1 to"),
        ((EntityId("Account@ada", "bob"),), "has an @"),
        ((EntityId("Account", "a" * 1_001),), "give an id of 1 to"),
        ((EntityId("Account", "\ud800"),), "half of a surrogate pair"),
    ],
)
def test_what_is_no_lock(given: tuple[Any, ...], says: str) -> None:
    @workflow.define
    async def wrong() -> str:
        try:
            workflow.lock(*given)
        except InvalidArgument as error:
            return str(error)
        return "nothing was refused"

    async def main() -> None:
        async with environment(wrong) as env:
            assert says in await env.run(wrong)

    asyncio.run(main())


def test_a_hundred_are_locked_at_once() -> None:
    @workflow.define
    async def many() -> int:
        async with workflow.lock(*MANY[:100]) as lock:
            return len({each for each in MANY[:100] if lock.number(each)})

    async def main() -> None:
        async with environment(many) as env:
            assert await env.run(many) == 100

    asyncio.run(main())


def test_an_operation_locks_nothing() -> None:
    async def main() -> None:
        async with Environment([], entities=[Account, Locker]) as env:
            with pytest.raises(Exception, match=r"workflow.lock\(\) in an entity"):
                await env.entity(Locker, "l").call(Locker.lock)

    asyncio.run(main())


def test_a_lock_of_an_entity_that_has_too_much_to_do_is_refused() -> None:
    @workflow.define
    async def asks() -> str:
        try:
            async with workflow.lock(ADA):
                return "locked"
        except CommandRejected as error:
            return str(error)

    async def main() -> None:
        async with environment(holds, asks, unread_events_max=3) as env:
            handle, ada = await env.start(holds, id="holder"), env.entity(Account, "ada")
            await env.sleep(1)
            for _ in range(3):
                await ada.signal(Account.add, 1)
            assert "(unread_events_max)" in await env.run(asks)
            await handle.raise_event("go")
            await handle.result()

    asyncio.run(main())


@workflow.define
async def gives_up_often() -> str:
    async with workflow.lock(ADA):
        for count in range(20):
            try:
                await asyncio.wait_for(workflow.call_entity(Account.add_slowly, "ada", 1), 0.1)
            except TimeoutError:
                pass
            except CommandRejected as error:
                return f"{count}: {error}"
    return "nothing was refused"


def test_calls_that_a_holder_gives_up_do_not_pile_up() -> None:
    """One runs, and the holder may let twice as many wait as others may."""

    async def main() -> None:
        async with environment(gives_up_often, unread_events_max=3) as env:
            told = await env.run(gives_up_often)
            assert told.startswith("7: ") and "has 6 events" in told

    asyncio.run(main())


@workflow.define
class Beside:
    @workflow.run
    async def run(self) -> str:
        async with workflow.lock(ADA):
            await workflow.call_entity(Account.add, "ada", 1)
            await workflow.wait_for_event("go")
            await workflow.call_entity(Account.add, "ada", 1)
        await workflow.wait_until(workflow.all_handlers_finished)
        return "done"

    @workflow.update
    async def locks(self) -> int:
        async with workflow.lock(BOB):
            return await workflow.call_entity(Account.add, "bob", 1)

    @workflow.update
    async def calls(self) -> int:
        await workflow.call_child(sub)
        return await workflow.call_entity(Account.add, "cleo", 1)

    @workflow.signal
    async def waits(self) -> None:
        await workflow.call_entity(Account.add, "ada", 1_000)


@pytest.mark.parametrize("cached", [0, 100])
def test_handlers_of_the_run_are_in_no_block_of_its_code(cached: int) -> None:
    async def main() -> None:
        async with environment(Beside, sub, cached_runs_max=cached) as env:
            handle = await env.start(Beside.run, id="holder")
            await env.sleep(1)
            assert await handle.update(Beside.locks) == 101
            assert await handle.update(Beside.calls) == 101
            await handle.raise_event("waits")
            await env.sleep(1)
            ada = env.entity(Account, "ada")
            assert await ada.call(Account.total) == 101, "what a handler calls waits for the block"
            await handle.raise_event("go")
            assert await handle.result() == "done"
            assert await ada.call(Account.total) == 1_102
            await nothing_is_locked(env, "ada", "bob", "cleo")

    asyncio.run(main())


@workflow.define
async def asks_for_too_much() -> str:
    try:
        async with workflow.lock(ADA, BOB):
            for _ in range(1_000):
                workflow.signal_entity(Account.add, "cleo", 1)
    except PayloadTooLarge:
        await workflow.wait_for_event("end")
        return "too much"
    return "nothing was refused"


def test_a_turn_that_is_full_gives_the_locks_back() -> None:
    async def main() -> None:
        limits = {"payload_bytes_max": 1_000, "turn_bytes_max": 10_000}
        async with environment(asks_for_too_much, **limits) as env:
            handle = await env.start(asks_for_too_much, id="much")
            await env.sleep(1)
            await nothing_is_locked(env, "ada", "bob")
            await handle.raise_event("end")
            assert await handle.result() == "too much"

    asyncio.run(main())


@workflow.define
async def gives_up_locks() -> str:
    for _ in range(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), workflow.lock(ADA):
                pass
    return "none is open"


def test_waits_that_were_given_up_are_not_open() -> None:
    async def main() -> None:
        async with environment(holds, gives_up_locks, children_open_max=3) as env:
            await env.start(holds, id="holder")
            await env.sleep(1)
            assert await env.run(gives_up_locks) == "none is open"

    asyncio.run(main())
