"""What is refused inside of a lock's block, and what is no lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from processor import CommandRejected, InvalidArgument, entity, workflow
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


MISUSES: dict[str, tuple[Callable[[Any], Coroutine[Any, Any, Any]], str]] = {
    "other": (lambda _: workflow.call_entity(Account.add, "cleo", 1), "is not locked here"),
    "twice": (lambda _: _called_twice(), "has not answered the call before"),
    "signal": (lambda _: _signals(), "the signal would wait"),
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
        async with environment(allowed) as env:
            await env.entity(Account, "cleo").call(Account.add, 0)
            assert await env.run(allowed) == [100, 101, 101, 106]

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
