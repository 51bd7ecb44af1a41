"""Updates: what handlers of a run do when they are asked, and who gets what comes of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CommandRejected,
    Handle,
    InvalidArgument,
    SchemaMismatch,
    Status,
    UpdateFailed,
    UpdateNotFound,
    UpdateRejected,
    UpdateUnfinished,
    Worker,
    WorkflowNotFound,
    WorkflowParked,
    workflow,
)
from processor.testing import Environment
from tests.embedded.approval import echo, serving

__all__ = ("serving",)


@workflow.define
class Counter:
    def __init__(self, first: int) -> None:
        self.total = first
        self.open = True
        self.gate = False

    @workflow.run
    async def run(self, first: int) -> int:
        await workflow.wait_until(lambda: not self.open)
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.total

    @workflow.update
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @add.validator
    def check_amount(self, amount: int) -> None:
        if amount < 0:
            raise ValueError("below nothing")
        if amount == 13:
            asyncio.get_running_loop().call_soon(print)
        if amount == 14:
            workflow.set_status("spoiled")

    @workflow.update
    async def add_slowly(self, amount: int, note: str = "") -> str:
        self.total += int(await workflow.call_activity(echo, str(amount), start_to_close=5))
        return f"{self.total}{note}"

    @workflow.update
    async def wait(self) -> str:
        await workflow.wait_until(lambda: self.gate)
        return "waited"

    @workflow.update(name="fail-it")
    async def fail(self, kind: str) -> None:
        await asyncio.sleep(0)
        if kind == "application":
            raise ApplicationError("not today", type="Later", details={"days": 2})
        if kind == "bug":
            raise ValueError("a bug")
        raise asyncio.CancelledError("gave up")

    @workflow.update(dynamic=True)
    def anything(self, name: str, *args: Any) -> list[Any]:
        return [name, *args]

    @workflow.update
    def close(self) -> str:
        self.open = False
        return "closed"

    @workflow.update
    def unencodable(self) -> Any:
        return object()

    @workflow.signal
    def let_go(self) -> None:
        self.gate = True

    @workflow.query
    def now(self) -> int:
        return self.total


def test_results_come_back_in_their_order(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Counter.run, 1, id="a")
        assert await handle.update(Counter.add, 2) == 3
        assert await handle.update(Counter.add_slowly, 4, "!") == "7!"
        assert await handle.update("add", 1) == 8
        assert await handle.update("some-other", 1, "x") == ["some-other", 1, "x"]
        assert await handle.update(Counter.close) == "closed"
        assert await handle.result() == 8
        assert await handle.query(Counter.now) == 8

    serving(work, Counter)


def test_what_a_validator_refuses_leaves_nothing_in_the_history(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Counter.run, 1, id="a")
        for amount, why in (
            (-1, "ValueError: below nothing"),
            (13, "woke a task"),
            (14, "the status"),
        ):
            with pytest.raises(UpdateRejected, match=why):
                await handle.update(Counter.add, amount)
        with pytest.raises(SchemaMismatch, match="update 'add' of run"):
            await handle.update("add", "two")
        assert [each.type for each in await handle.history()] == ["WorkflowStarted"]
        assert await handle.update(Counter.add, 1) == 2

    serving(work, Counter)


def test_an_error_of_a_handler_goes_to_who_asked(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Counter.run, 1, id="a")
        with pytest.raises(UpdateFailed, match="failed: not today") as failed:
            await handle.update(Counter.fail, "application")
        cause = failed.value.__cause__
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.details) == ("Later", {"days": 2})
        with pytest.raises(UpdateFailed, match="gave up"):
            await handle.update("fail-it", "cancelled")
        with pytest.raises(UpdateFailed, match="the result of update 'unencodable'"):
            await handle.update(Counter.unencodable)
        assert await handle.update(Counter.add, 1) == 2

    serving(work, Counter)


def test_a_bug_in_a_handler_parks_the_run_and_who_waits_hears_of_it(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Counter.run, 1, id="a")
        with pytest.raises(WorkflowParked, match="a bug"):
            await handle.update(Counter.fail, "bug", parked="raise")
        with pytest.raises(CommandRejected, match="is parked, so update 'add' was not taken"):
            await handle.update(Counter.add, 1)
        await handle.terminate()

    serving(work, Counter)


def test_an_id_makes_an_update_count_once_also_after_the_end(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Counter.run, 1, id="a")
        for _ in range(3):
            assert await handle.update(Counter.add, 2, id="once") == 3
        first = await handle.start_update(Counter.wait, id="later")
        again = await handle.start_update(Counter.wait, id="later")
        with pytest.raises(TimeoutError, match=r"no outcome of update 'later' of 'a' within 0\.05"):
            await again.result(0.05)
        found = client.handle("a").update_handle("later", result_type=str)
        waits = asyncio.create_task(found.result())
        await handle.signal(Counter.let_go)
        assert await waits == await first.result() == await again.result() == "waited"
        await handle.update(Counter.close)
        assert await handle.result() == 3
        assert await handle.update(Counter.add, 2, id="once") == 3
        assert await client.handle("a").update_handle("later").result() == "waited"
        with pytest.raises(UpdateNotFound, match="no update with the id 'never'"):
            await client.handle("a").update_handle("never").result()
        with pytest.raises(CommandRejected, match="is completed: update 'add' was not taken"):
            await handle.update(Counter.add, 2, id="new")
        with pytest.raises(CommandRejected, match="is completed"):
            await handle.update(Counter.add, 2)

    serving(work, Counter)


def test_so_many_run_at_once_and_the_next_is_refused(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Counter.run, 1, id="a")
        running = [await handle.start_update(Counter.wait) for _ in range(10)]
        pending = (await handle.describe()).pending
        assert pending is not None
        assert [each["name"] for each in pending["updates"]] == ["wait"] * 10
        with pytest.raises(CommandRejected, match=r"runs 10 updates already \(updates_running_max"):
            await handle.update(Counter.add, 1)
        await handle.signal(Counter.let_go)
        assert [await each.result() for each in running] == ["waited"] * 10
        assert await handle.update(Counter.add, 1) == 2

    serving(work, Counter)


@workflow.define
class EndsEarly:
    def __init__(self, keep: bool) -> None:
        self.done = False

    @workflow.run
    async def run(self, keep: bool) -> str:
        await workflow.wait_until(lambda: self.done)
        return "over"

    @workflow.update
    def finish(self) -> str:
        self.done = True
        return "in the same turn"

    @workflow.update(unfinished="abandon")
    async def never(self) -> None:
        await workflow.wait_until(lambda: False)

    @workflow.update
    async def never_warned(self) -> None:
        await workflow.wait_until(lambda: False)


def test_a_result_is_delivered_though_the_run_ends_in_the_same_turn(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(EndsEarly.run, True, id="a")
        assert await handle.update(EndsEarly.finish) == "in the same turn"
        assert await handle.result() == "over"

    serving(work, EndsEarly)


def test_one_that_has_not_ended_when_the_run_does_is_unfinished(
    serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(EndsEarly.run, True, id="a")
        waits = await handle.start_update(EndsEarly.never, id="n")
        waiting = asyncio.create_task(waits.result())
        await asyncio.sleep(0.05)
        assert await handle.update(EndsEarly.finish) == "in the same turn"
        with pytest.raises(UpdateUnfinished, match="is completed, and the handler of update 'n'"):
            await waiting
        with pytest.raises(UpdateUnfinished):
            await waits.result()
        assert not [each for each in caplog.records if "handlers run" in each.message]
        handle = await client.start(EndsEarly.run, True, id="b")
        waits = await handle.start_update(EndsEarly.never_warned)
        await handle.update(EndsEarly.finish)
        await handle.result()
        assert [each for each in caplog.records if "'never_warned'" in each.getMessage()]
        handle = await client.start(EndsEarly.run, True, id="c")
        waits = await handle.start_update(EndsEarly.never)
        await handle.terminate()
        with pytest.raises(UpdateUnfinished, match="is terminated"):
            await waits.result()

    with caplog.at_level(logging.WARNING):
        serving(work, EndsEarly)


@workflow.define
async def by_functions() -> list[int]:
    seen: list[int] = []

    async def push(value: int) -> int:
        await asyncio.sleep(0)
        seen.append(value)
        return len(seen)

    def check(value: int) -> None:
        if value > 100:
            raise ApplicationError("too much")

    workflow.on_update("push", push, validator=check)
    workflow.on_update("stop", lambda: seen.append(-1))
    await workflow.wait_until(lambda: -1 in seen)
    return seen


def test_functions_take_updates_while_they_run(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(by_functions, id="a")
        assert await handle.update("push", 5) == 1
        with pytest.raises(UpdateRejected, match="too much"):
            await handle.update("push", 101)
        with pytest.raises(UpdateRejected, match="no update 'pop'; the workflow has: 'push', 'st"):
            await handle.update("pop")
        assert await handle.update("stop") is None
        assert await handle.result() == [5, -1]

    serving(work, by_functions)


def test_before_the_code_begins_updates_wait(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(by_functions, id="a", delay=0.4)
        pushed = await handle.start_update("push", 5)
        refused = await handle.start_update("push", 500)
        unknown = await handle.start_update("pop")
        assert await pushed.result() == 1
        with pytest.raises(UpdateRejected, match="too much"):
            await refused.result()
        with pytest.raises(UpdateRejected, match="there is no update 'pop'"):
            await unknown.result()
        await handle.update("stop")
        assert await handle.result() == [5, -1]

    serving(work, by_functions)


@workflow.define
class AtOnce:
    def __init__(self, first: int) -> None:
        self.items = [first]

    @workflow.run
    async def run(self, first: int) -> list[int]:
        if len(self.items) > 1:
            return self.items
        await workflow.wait_until(lambda: len(self.items) > 2)
        return self.items

    @workflow.update
    def push(self, item: int) -> int:
        self.items.append(item)
        return len(self.items)

    @push.validator
    def small(self, item: int) -> None:
        if item > 100:
            raise ValueError("too large")

    @workflow.signal
    def put(self, item: int) -> None:
        self.items.append(item)


def test_an_update_with_a_start_is_there_before_the_code(serving: Any) -> None:
    async def work(client: Client) -> None:
        pushed = await client.update_with_start(AtOnce.run, 1, id="a", update=(AtOnce.push, 2))
        assert pushed == 2
        assert await client.handle("a").result() == [1, 2]
        with pytest.raises(UpdateRejected, match="ValueError: too large"):
            await client.update_with_start(AtOnce.run, 1, id="b", update=(AtOnce.push, 101))
        handle: Handle[Any] = client.handle("b")
        assert (await handle.describe()).status is Status.RUNNING
        pushed = await client.update_with_start(
            AtOnce.run, 7, id="b", update=("push", 3), update_id="u"
        )
        assert pushed == 2
        again = await client.update_with_start(
            AtOnce.run, 7, id="b", update=("push", 3), update_id="u"
        )
        assert again == 2
        await handle.update(AtOnce.push, 4)
        assert await handle.result() == [1, 3, 4]

    serving(work, AtOnce)


def test_a_signal_with_a_start_is_there_before_the_code(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.signal_with_start(AtOnce.run, 1, id="a", signal=(AtOnce.put, 5))
        assert await handle.result() == [1, 5]
        handle = await client.start(AtOnce.run, 1, id="b")
        found = await client.signal_with_start(AtOnce.run, 9, id="b", signal=("put", 2))
        assert (found.created, found.run_id) == (False, handle.run_id)
        await client.signal_with_start(AtOnce.run, 9, id="b", signal=("put", 3))
        assert await handle.result() == [1, 2, 3]

    serving(work, AtOnce)


def test_updates_outlive_a_restart(tmp_path: Any) -> None:
    async def work() -> None:
        path = f"embedded:{tmp_path}/state"
        worker = Worker(path, workflows=[Counter], activities=[echo])
        async with worker, Client(path) as client:
            handle = await client.start(Counter.run, 1, id="a")
            await handle.update(Counter.add, 2, id="one")
            await handle.start_update(Counter.wait, id="two")
        worker = Worker(path, workflows=[Counter], activities=[echo])
        async with worker, Client(path) as client:
            handle = client.handle("a", workflow=Counter.run)
            assert await handle.update(Counter.add, 2, id="one") == 3
            await handle.signal(Counter.let_go)
            assert await handle.update_handle("two").result() == "waited"
            await handle.update(Counter.close)
            assert await handle.result() == 3

    asyncio.run(work())


def test_time_is_skipped_while_an_update_waits() -> None:
    @workflow.define
    class Sleeps:
        @workflow.run
        async def run(self) -> None:
            await workflow.wait_until(lambda: False)

        @workflow.update
        async def nap(self, hours: int) -> str:
            await asyncio.sleep(hours * 3600)
            return "rested"

    async def work() -> None:
        async with Environment(workflows=[Sleeps]) as client:
            handle = await client.start(Sleeps.run, id="a")
            assert await handle.update(Sleeps.nap, 8) == "rested"

    asyncio.run(work())


def test_wrong_calls_are_refused() -> None:
    async def work() -> None:
        async with Environment(workflows=[Counter], activities=[echo]) as client:
            handle: Any = await client.start(Counter.run, 1, id="a")
            untyped: Any = client
            with pytest.raises(InvalidArgument, match="is no handler of updates"):
                await handle.update(Counter.now)
            with pytest.raises(InvalidArgument, match="update: id"):
                await handle.update(Counter.add, 1, id="")
            with pytest.raises(InvalidArgument, match="give a handler and its arguments in a tup"):
                await untyped.update_with_start(Counter.run, 1, update="add")
            with pytest.raises(TypeError, match="unexpected keyword argument 'idd'"):
                await untyped.signal_with_start(Counter.run, 1, signal=("x",), idd=1)
            with pytest.raises(WorkflowNotFound):
                await client.handle("none").update("add", 1)

    asyncio.run(work())
    with pytest.raises(InvalidArgument, match="is async, but a validator only reads"):

        class _Async:
            @workflow.update
            def one(self) -> None: ...

            @one.validator
            async def check(self) -> None: ...

    with pytest.raises(InvalidArgument, match="has a validator already"):

        class _Twice:
            @workflow.update
            def one(self) -> None: ...

            @one.validator
            def check(self) -> None: ...

            @one.validator
            def check_too(self) -> None: ...


@workflow.define
class Strict(Counter):
    def check_amount(self, amount: int) -> None:
        if amount > 5:
            raise ValueError("above five")


def test_a_subclass_has_a_validator_of_its_own(serving: Any) -> None:
    async def work(client: Client) -> None:
        strict = await client.start(Strict.run, 1, id="a")
        with pytest.raises(UpdateRejected, match="above five"):
            await strict.update(Strict.add, 6)
        assert await strict.update(Strict.add, -1) == 0
        counter = await client.start(Counter.run, 1, id="b")
        assert await counter.update(Counter.add, 6) == 7

    serving(work, Strict, Counter)


def test_a_class_is_tested_as_a_plain_object() -> None:
    counter = Counter(1)
    assert counter.add(4) == 5
    with pytest.raises(ValueError, match="below nothing"):
        counter.check_amount(-1)
