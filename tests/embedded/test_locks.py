"""Locks: a workflow works with several entities alone, and nothing stays locked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CommandRejected,
    InvalidArgument,
    LockLost,
    RetryPolicy,
    Settings,
    Worker,
    WorkflowError,
    WorkflowFailed,
    entity,
    workflow,
)
from processor.testing import Environment


@entity.define
class Account:
    balance: int = 100

    def add(self, amount: int) -> int:
        if self.balance + amount < 0:
            raise ApplicationError("insufficient funds")
        self.balance += amount
        return self.balance

    async def add_slowly(self, amount: int) -> int:
        await asyncio.sleep(10)
        return self.add(amount)

    @entity.read
    def total(self) -> int:
        return self.balance


ADA, BOB = entity.at(Account, "ada"), entity.at(Account, "bob")
_ADD: Any = Account.add


@workflow.define
async def transfer(source: str, target: str, amount: int) -> list[int]:
    ends = entity.at(Account, source), entity.at("Account", target)
    async with workflow.lock(*ends) as lock:
        if await workflow.call_entity(Account.total, source) < amount:
            return []
        await workflow.call_entity(Account.add, source, -amount)
        await workflow.sleep(1)
        await workflow.call_entity("Account.add_slowly", target, amount)
        return [lock.number(each) for each in ends]


@workflow.define
async def holds(how: str = "event") -> str:
    async with workflow.lock("@Account@ada", BOB):
        await workflow.call_entity(Account.add, "ada", 1)
        match how:
            case "event":
                await workflow.wait_for_event("go")
            case "continued":
                workflow.continue_as_new("event")
            case "fails":
                raise ApplicationError("no")
    return how


@workflow.define
async def tries_again() -> str:
    async with workflow.lock(ADA):
        if workflow.info().attempt < 3:
            raise ApplicationError("not yet")
    return "at last"


def environment(*workflows: Any, **settings: Any) -> Environment:
    return Environment([*workflows], entities=[Account], settings=Settings(**settings))


@pytest.mark.parametrize("cached", [0, 100])
def test_transfers_of_many_at_once_lose_nothing(cached: int) -> None:
    async def main() -> None:
        async with environment(transfer, cached_runs_max=cached) as env:
            names = "ada", "bob", "cleo"
            pairs = [(a, b) for a in names for b in names if a != b] * 3
            told = await asyncio.gather(
                *(env.run(transfer, *pair, 10 * n) for n, pair in enumerate(pairs))
            )
            assert any(told) and not all(told)
            totals = [await env.entity(Account, each).call(Account.total) for each in names]
            assert sum(totals) == 300 and min(totals) >= 0
            for place, name in enumerate(names):
                numbers = [
                    each[place_of(pair, name)]
                    for pair, each in zip(pairs, told, strict=True)
                    if each and name in pair
                ]
                assert len({*numbers}) == len(numbers), f"a number is used once: {place} {numbers}"
            await nothing_is_locked(env, *names)

    asyncio.run(main())


def place_of(pair: tuple[str, str], name: str) -> int:
    return pair.index(name)


async def nothing_is_locked(env: Any, *names: str) -> None:
    for name in names:
        pending = (await env.entity(Account, name).describe()).pending
        assert pending["lock"] is None and not pending["lock_waiting"], f"{name}: {pending}"
        assert await env.entity(Account, name).call(Account.add, 0) is not None


def test_others_wait_in_order_until_the_block_ends() -> None:
    async def main() -> None:
        async with environment(holds, transfer) as env:
            handle = await env.start(holds, id="holder")
            await env.sleep(1)
            ada = env.entity(Account, "ada")
            await ada.signal(Account.add, -50)
            late = asyncio.ensure_future(ada.call(Account.add, 7))
            waits = await env.start(transfer, "ada", "bob", 1, id="waits")
            await env.sleep(1)
            assert await ada.call(Account.total) == 101, "reads are answered"
            assert not late.done()
            pending = (await ada.describe()).pending
            lock = pending["lock"]
            assert (lock["workflow_id"], lock["run_id"]) == ("holder", handle.run_id)
            assert [each["workflow_id"] for each in pending["lock_waits"]] == ["waits"]
            held = (await handle.describe()).pending["locks"]
            assert [each["entity"] for each in held] == ["@Account@ada", "@Account@bob"]
            assert held[0]["number"] == lock["number"]
            waiting = (await env.handle("waits").describe()).pending["locks"]
            assert [each["number"] for each in waiting] == [None], "one after the other"
            await handle.raise_event("go")
            assert await handle.result() == "event"
            assert await late == 101 - 50 + 7
            assert await waits.result()
            await nothing_is_locked(env, "ada", "bob")

    asyncio.run(main())


Ends = Callable[[Any], Coroutine[Any, Any, Any]]


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("event", lambda handle: handle.cancel("enough")),
        ("event", lambda handle: handle.terminate("enough")),
        ("event", lambda handle: asyncio.sleep(0)),
        ("fails", None),
        ("continued", lambda handle: handle.raise_event("go")),
    ],
    ids=["cancelled", "terminated", "timed out", "failed", "continued"],
)
def test_the_end_of_a_run_frees_what_it_holds(how: str, end: Ends | None) -> None:
    async def main() -> None:
        async with environment(holds) as env:
            handle = await env.start(holds, how, id="holder", execution_timeout=60)
            await env.sleep(1)
            if how == "event":
                assert (await env.entity(Account, "bob").describe()).pending["lock"] is not None
            if end is not None:
                await end(handle)
            if how == "continued":
                assert await handle.result() == "event"
            else:
                with pytest.raises(WorkflowError):
                    await handle.result()
            await env.sleep(1)
            await nothing_is_locked(env, "ada", "bob")

    asyncio.run(main())


def test_each_attempt_of_a_run_has_a_lock_of_its_own() -> None:
    async def main() -> None:
        async with environment(tries_again) as env:
            retry = RetryPolicy(initial_interval=1)
            assert await env.run(tries_again, id="again", retry=retry) == "at last"
            await env.sleep(1)
            await nothing_is_locked(env, "ada")

    asyncio.run(main())


@workflow.define
async def gives_up() -> str:
    try:
        async with asyncio.timeout(5), workflow.lock(ADA, BOB):
            return "locked"
    except TimeoutError:
        return "given up"


@workflow.define
async def gives_up_at_once() -> str:
    async def locks() -> None:
        async with workflow.lock(ADA):
            await asyncio.sleep(100)

    task = asyncio.ensure_future(locks())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return "never asked"


def test_a_lock_that_nobody_waits_for_any_more_is_withdrawn() -> None:
    async def main() -> None:
        async with environment(holds, gives_up, gives_up_at_once) as env:
            handle = await env.start(holds, id="holder")
            await env.sleep(1)
            assert await env.run(gives_up) == "given up"
            assert await env.run(gives_up_at_once) == "never asked"
            waiting = await env.start(gives_up, id="ends")
            await env.sleep(1)
            assert (await env.entity(Account, "ada").describe()).pending["lock_waiting"] == 1
            await waiting.terminate()
            await env.sleep(1)
            assert (await env.entity(Account, "ada").describe()).pending["lock_waiting"] == 0
            await handle.raise_event("go")
            assert await handle.result() == "event"
            await nothing_is_locked(env, "ada", "bob")
            assert await env.run(gives_up) == "locked"

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, 100])
@pytest.mark.parametrize("gone", [0, 1, 2])
def test_who_waits_no_more_leaves_the_others_in_line(gone: int, cached: int) -> None:
    async def main() -> None:
        async with environment(holds, cached_runs_max=cached) as env:
            ada, names = env.entity(Account, "ada"), ["first", "second", "third"]
            await env.start(holds, id="holder")
            for name in names:
                await env.start(holds, id=name)
                await env.sleep(1)
                await ada.signal(Account.add, 10)
            await env.handle(names.pop(gone)).terminate()
            await env.sleep(1)
            waits = (await ada.describe()).pending["lock_waits"]
            assert [each["workflow_id"] for each in waits] == names
            for name in ("holder", *names):
                held = (await ada.describe()).pending["lock"]
                assert held["workflow_id"] == name
                await env.handle(name).raise_event("go")
                assert await env.handle(name).result() == "event"
                await env.sleep(1)
            assert await ada.call(Account.add, 0) == 133
            await nothing_is_locked(env, "ada", "bob")

    asyncio.run(main())


@workflow.define
async def locks_a_part(how: str) -> str:
    try:
        async with asyncio.timeout(5), workflow.lock(ADA, BOB):
            return "locked"
    except (TimeoutError, CommandRejected):
        await workflow.wait_for_event("end")
    return how


@pytest.mark.parametrize("how", ["timed out", "refused"])
def test_who_does_not_get_all_keeps_none(how: str) -> None:
    """The run goes on, so that its end frees nothing."""

    @workflow.define
    async def holds_bob() -> None:
        async with workflow.lock(BOB):
            await workflow.wait_for_event("go")

    async def main() -> None:
        async with environment(holds_bob, locks_a_part, unread_events_max=1) as env:
            await env.start(holds_bob, id="holder")
            await env.sleep(1)
            if how == "refused":
                await env.entity(Account, "bob").signal(Account.add, 1)
            handle = await env.start(locks_a_part, how, id="part")
            await env.sleep(10)
            await nothing_is_locked(env, "ada")
            await env.handle("holder").raise_event("go")
            await env.sleep(1)
            await nothing_is_locked(env, "bob")
            await handle.raise_event("end")
            assert await handle.result() == how

    asyncio.run(main())


@workflow.define
async def loses(how: str) -> str:
    try:
        async with workflow.lock(ADA, BOB) as lock:
            await workflow.call_entity(Account.add, "ada", 1)
            await workflow.wait_for_event("go")
            if how == "calls":
                await workflow.call_entity(Account.add, "ada", 1)
            assert lock.number(ADA)
    except LockLost as error:
        return str(error)
    return "quiet"


@pytest.mark.parametrize("how", ["calls", "ends"])
@pytest.mark.parametrize("then", ["unlocked", "locked by another", "terminated"])
def test_an_operator_frees_an_entity(how: str, then: str) -> None:
    async def main() -> None:
        async with environment(holds, loses) as env:
            handle, ada = await env.start(loses, how, id="holder"), env.entity(Account, "ada")
            await env.sleep(1)
            number = (await ada.describe()).pending["lock"]["number"]
            if then == "terminated":
                await env.handle("@Account@ada").terminate("enough")
            else:
                assert not await ada.unlock(number=number + 1)
                assert await ada.unlock("stuck", number=number)
                assert not await ada.unlock()
            if then == "locked by another":
                await env.start(holds, id="other")
                await env.sleep(1)
            await handle.raise_event("go")
            told = await handle.result()
            if how == "ends":
                assert told == "quiet"
            else:
                assert "'@Account@ada'" in told and str(number) in told and "lock them" in told
                by = {"unlocked": "nobody holds it", "locked by another": "'other' holds it"}
                assert by.get(then, "has ended") in told
            if then == "locked by another":
                assert await env.handle("other").describe()
                assert (await ada.describe()).pending["lock"]["workflow_id"] == "other"
                await env.handle("other").raise_event("go")
                await env.handle("other").result()
            assert await ada.call(Account.add, 0) in (100, 101, 102)
            await nothing_is_locked(env, "ada", "bob")

    asyncio.run(main())


def test_nobody_unlocks_what_is_not_there() -> None:
    async def main() -> None:
        async with environment() as env:
            ada = env.entity(Account, "ada")
            await ada.call(Account.add, 0)
            assert not await ada.unlock()
            with pytest.raises(InvalidArgument, match="number"):
                await ada.unlock(number=0)

    asyncio.run(main())


def test_a_call_that_waits_when_the_lock_is_freed_is_not_taken() -> None:
    """Its entity is busy with a call before, which the holder gave up waiting for."""

    async def gives_up(lock: Any) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(workflow.call_entity(Account.add_slowly, "ada", 1), 1)
        await workflow.call_entity(Account.add, "ada", 10)

    @workflow.define
    async def hurries() -> str:
        async with workflow.lock(ADA) as lock:
            try:
                await gives_up(lock)
            except LockLost as error:
                return str(error)
        return "not lost"

    async def main() -> None:
        async with environment(hurries) as env:
            handle, ada = await env.start(hurries, id="holder"), env.entity(Account, "ada")
            await env.sleep(3)
            assert await ada.unlock()
            assert "was freed" in await handle.result()
            assert await ada.call(Account.total) == 101, "what ran goes on to its end"

    asyncio.run(main())


@entity.define
class Line:
    def __init__(self) -> None:
        self.said: list[str] = []

    async def add(self, word: str) -> list[str]:
        await asyncio.sleep(10)
        self.said.append(word)
        return self.said


@workflow.define
async def calls_in_order() -> list[str]:
    async with workflow.lock(entity.at(Line, "l")):
        for word in ("a", "b", "c"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(workflow.call_entity(Line.add, "l", word), 1)
        return await workflow.call_entity(Line.add, "l", "d")


def test_calls_that_the_holder_does_not_wait_for_run_in_order() -> None:
    async def main() -> None:
        async with Environment([calls_in_order], entities=[Line]) as env:
            assert await env.run(calls_in_order) == ["a", "b", "c", "d"]

    asyncio.run(main())


# --- over restarts ----------------------------------------------------------------------------


def test_locks_go_on_where_a_process_ended(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    def worker() -> Worker:
        settings = Settings(cached_runs_max=0)
        return Worker(server, workflows=[holds, transfer], entities=[Account], settings=settings)

    async def begin() -> None:
        async with worker(), Client(server) as client:
            await client.start(holds, id="holder")
            while not (await client.handle("holder").describe()).pending["waiting"]:
                await asyncio.sleep(0.01)
            await client.start(transfer, "ada", "bob", 5, id="waits")
            ada = client.entity(Account, "ada")
            while (await ada.describe()).pending["lock_waiting"] != 1:
                await asyncio.sleep(0.01)
            await ada.signal(Account.add, 1)

    async def go_on() -> None:
        async with worker(), Client(server) as client:
            ada = client.entity(Account, "ada")
            pending = (await ada.describe()).pending
            assert pending["lock"]["workflow_id"] == "holder" and pending["lock_waiting"] == 1
            await client.handle("holder").raise_event("go")
            assert await client.handle("holder").result() == "event"
            await client.handle("waits").terminate()
            with pytest.raises(WorkflowError):
                await client.handle("waits").result()
            await ada.call(Account.add, 0)
            await nothing_is_locked(client, "ada", "bob")

    asyncio.run(begin())
    asyncio.run(go_on())


def test_a_workflow_that_fails_after_a_misuse_frees_its_locks() -> None:
    @workflow.define
    async def fails() -> None:
        async with workflow.lock(ADA, BOB):
            await workflow.call_entity(_ADD, "ada", -1_000)

    async def main() -> None:
        async with environment(fails) as env:
            with pytest.raises(WorkflowFailed, match="insufficient funds"):
                await env.run(fails)
            await env.sleep(1)
            await nothing_is_locked(env, "ada", "bob")

    asyncio.run(main())
