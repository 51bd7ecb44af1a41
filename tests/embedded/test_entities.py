"""Entities: one operation at a time, state that stays, and histories that do not grow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CommandRejected,
    InvalidArgument,
    QueryFailed,
    RequestExpired,
    Settings,
    UpdateFailed,
    UpdateRejected,
    Worker,
    WorkflowNotFound,
    activity,
    entity,
    workflow,
)
from processor.core.records.snapshot import EntitySnapshot
from processor.shard.turns import updating
from processor.testing import Environment
from tests.embedded.inside import records_in

RUNNING: list[str] = []
MOST: list[int] = []


@activity.define
async def work(name: str) -> str:
    RUNNING.append(name)
    MOST.append(len(RUNNING))
    await asyncio.sleep(0.001)
    RUNNING.remove(name)
    return name


@dataclass
class Line:
    text: str
    amount: int


@entity.define
class Account:
    balance: int = 0
    lines: list[Line] = []  # noqa: RUF012  # each object has a copy

    def deposit(self, amount: int, text: str = "") -> int:
        self.balance += amount
        self.lines.append(Line(text, amount))
        return self.balance

    def fail(self, amount: int) -> None:
        workflow.signal_entity(Account.deposit, "other", amount)
        self.balance += amount
        self.lines.append(Line("lost", amount))
        raise ApplicationError("no", type="Refused", details=amount)

    def break_down(self) -> None:
        self.balance = 99
        raise ZeroDivisionError("a bug")

    async def pay_out(self, amount: int) -> str:
        self.balance -= amount
        told = await work(f"{entity.info().key} {amount}")
        if self.balance < 0:
            raise ApplicationError("insufficient funds")
        return told

    async def leave_things(self) -> int:
        asyncio.get_running_loop().create_task(asyncio.sleep(1000))
        asyncio.get_running_loop().create_task(_calls())
        await asyncio.sleep(0)
        return self.balance

    def unwritable(self) -> None:
        self.balance = object()  # type: ignore[assignment]

    def tell(self, other: str, amount: int) -> None:
        workflow.signal_entity("Account.deposit", other, amount)

    async def call_other(self) -> int:
        return await workflow.call_entity(Account.deposit, "other", 1)

    async def asks(self) -> str:
        await workflow.wait_for_event("go")
        return "never"

    def close(self) -> str:
        entity.delete()
        return entity.info().operation

    @entity.read
    def total(self, factor: int = 1) -> int:
        self.lines.clear()
        return self.balance * factor

    @entity.read
    def writes(self) -> None:
        workflow.signal_entity(Account.deposit, "other", 1)


async def _calls() -> None:
    await work("left")


@workflow.define
async def transfer(source: str, target: str, amount: int) -> int:
    try:
        await workflow.call_entity(Account.pay_out, source, amount)
    except UpdateFailed as error:
        return -1 if isinstance(error.__cause__, ApplicationError) else -2
    await workflow.signal_entity(Account.deposit, target, amount, "transfer")
    return await workflow.call_entity(Account.total, target, 2)


@workflow.define
async def by_name(key: str) -> Any:
    workflow.signal_entity("Account.deposit", key, 1)
    return await workflow.call_entity("Account.deposit", key, 2, "text", result_type=int)


Serving = Callable[..., None]


@pytest.fixture(params=["simulated", "simulated, evicted", "cached", "evicted"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Serving:
    def serve(test: Callable[[Any], Awaitable[None]]) -> None:
        code: dict[str, Any] = {
            "workflows": [transfer, by_name],
            "activities": [work],
            "entities": [Account],
        }
        cached = 0 if "evicted" in request.param else 100

        async def main() -> None:
            if "simulated" in request.param:
                async with Environment(**code, max_cached_runs=cached) as client:
                    await test(client)
                return
            server = f"embedded:{tmp_path}"
            settings = Settings(cached_runs_max=cached)
            async with Worker(server, **code, settings=settings), Client(server) as other:
                await test(other)

        RUNNING.clear()
        MOST.clear()
        asyncio.run(main())

    return serve


def test_an_entity_is_there_when_it_is_called(serving: Serving) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        assert repr(ada) == "EntityHandle(name='Account', key='ada')" and ada.id == "@Account@ada"
        assert await ada.state() is None
        assert await ada.call(Account.total) == 0
        with pytest.raises(WorkflowNotFound):
            await ada.describe()
        assert await ada.call(Account.deposit, 5) == 5
        assert await ada.call(Account.deposit, 6, "b") == 11
        assert await ada.call("deposit", 1) == 12
        assert await ada.call(Account.total, 2) == 24, "a read changes a copy"
        state = await ada.state()
        assert isinstance(state, Account) and state.balance == 12
        assert state.lines == [Line("", 5), Line("b", 6), Line("", 1)]
        assert await client.entity(Account, "bob").state() is None
        assert Account.lines == []
        named = client.entity("Account", "ada")
        assert (await named.state())["balance"] == 12
        assert await named.call("total", result_type=int) == 12
        assert (await ada.describe()).workflow == "Account"
        assert [run.workflow_id async for run in client.list(workflow="Account")] == [ada.id]

    serving(test)


def test_a_plain_operation_that_fails_leaves_nothing(serving: Serving) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        with pytest.raises(UpdateFailed, match="no") as caught:
            await ada.call(Account.fail, 5)
        assert isinstance(caught.value.__cause__, ApplicationError)
        assert caught.value.__cause__.details == 5
        assert await ada.state() is None, "it did not come to be"
        assert await ada.call(Account.deposit, 1) == 1
        for operation in (Account.break_down, Account.unwritable):
            with pytest.raises(UpdateFailed):
                await ada.call(operation)
        assert await ada.call(Account.deposit, 1) == 2
        state = await ada.state()
        assert state is not None and len(state.lines) == 2
        assert await client.entity(Account, "other").state() is None

    serving(test)


def test_an_async_operation_restores_the_fields_and_not_what_it_did(serving: Serving) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        await ada.call(Account.deposit, 5)
        assert await ada.call(Account.pay_out, 2) == "ada 2"
        with pytest.raises(UpdateFailed, match="insufficient funds"):
            await ada.call(Account.pay_out, 20)
        assert await ada.call(Account.total) == 3
        assert MOST == [1, 1], "the activity ran"

    serving(test)


def test_one_operation_runs_at_a_time_in_order(serving: Serving) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        await ada.call(Account.deposit, 100)
        tasks: list[Any] = []
        for number in range(1, 6):
            tasks.append(asyncio.ensure_future(ada.call(Account.pay_out, number)))
            await asyncio.sleep(0)
            tasks.append(asyncio.ensure_future(ada.call(Account.deposit, 1)))
            await asyncio.sleep(0)
        told = await asyncio.gather(*tasks)
        assert set(MOST) == {1}
        assert await ada.call(Account.total) == 100 - 15 + 5
        assert told[0::2] == [f"ada {number}" for number in range(1, 6)]

    serving(test)


def test_workflows_call_and_signal_entities(serving: Serving) -> None:
    async def test(client: Client) -> None:
        await client.entity(Account, "ada").call(Account.deposit, 10)
        assert await client.run(transfer, "ada", "bob", 4) == 8
        assert await client.run(transfer, "ada", "bob", 40) == -1
        assert await client.run(transfer, "ada", "bob", 6) == 20
        assert await client.run(by_name, "bob") == 13
        state = await client.entity(Account, "bob").state()
        assert state is not None
        assert [each.text for each in state.lines] == ["transfer", "transfer", "", "text"]

    serving(test)


def test_a_signal_is_durable_and_its_failure_is_logged(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        with caplog.at_level(logging.WARNING):
            await ada.signal(Account.fail, 5)
            await client.entity("Account", "ada").signal("nothing", 5)
            await client.entity("Account", "ada").signal("deposit", "text")
            await ada.signal(Account.deposit, 5, "b", key="k")
            await ada.signal(Account.deposit, 5, "b", key="k")
            await ada.signal(Account.tell, "other", 3)
            assert await ada.call(Account.deposit, 1) == 6
        assert "operation 'fail', which a signal asked for, failed: Refused: no" in caplog.text
        assert "event 'nothing' does not fit" in caplog.text
        while await client.entity(Account, "other").call(Account.total) != 3:
            await asyncio.sleep(0.01)

    serving(test)


def test_a_call_with_a_key_counts_once(serving: Serving) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        assert await ada.call(Account.deposit, 5, key="k") == 5
        for number in range(5):
            assert await ada.call(Account.deposit, 5, key="k") == 5
            await ada.call(Account.deposit, number)
        assert await ada.call(Account.total) == 15
        assert await client.entity(Account, "bob").call(Account.deposit, 1, key="k") == 1

    serving(test)


@pytest.mark.parametrize(
    ("operation", "args", "error", "says"),
    [
        ("nothing", (), InvalidArgument, "'Account' has no 'nothing', but: "),
        (Account.deposit, ("x",), UpdateRejected, "Expected `int`, got `str`"),
        (Account.total, ("x",), Exception, "Expected `int`, got `str`"),
        (Account.call_other, (), UpdateFailed, "an operation of an entity cannot call"),
        (Account.asks, (), UpdateFailed, "wait in a workflow"),
        (Account.writes, (), QueryFailed, "may only read and compute"),
        (print, (), InvalidArgument, "is none of entity 'Account'"),
    ],
)
def test_what_cannot_be_asked_is_told_and_changes_nothing(
    serving: Serving, operation: Any, args: Any, error: Any, says: str
) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        await ada.call(Account.deposit, 1)
        with pytest.raises(error, match=says):
            await ada.call(operation, *args)
        assert await ada.call(Account.deposit, 1) == 2

    serving(test)


def test_a_name_that_the_worker_does_not_have_is_refused(serving: Serving) -> None:
    async def test(client: Client) -> None:
        named = client.entity("Account", "ada")
        with pytest.raises(UpdateRejected, match="there is no operation 'nothing'"):
            await named.call("nothing")
        await named.call("deposit", 1)
        with pytest.raises(UpdateRejected, match="entity 'Account' has: 'asks', 'break_down'"):
            await named.call("nothing")
        with pytest.raises(Exception, match="entity 'Other' is not registered"):
            await client.entity("Other", "a").call("nothing")
        with pytest.raises(InvalidArgument, match="ids that begin with @"):
            await client.start(transfer, "a", "b", 1, id="@Account@eve")
        with pytest.raises(CommandRejected, match="'Account' is an entity"):
            await client.start("Account", id="a")
        assert not await client.handle("@Account@ada").cancel(), "no operation runs"
        with pytest.raises(InvalidArgument, match=r"put @entity\.define on the class"):
            client.entity(Line, "a")

    serving(test)


def test_what_an_operation_leaves_open_is_given_up(serving: Serving) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        assert await ada.call(Account.leave_things) == 0
        run = await ada.describe()
        assert not run.pending["activities"] and not run.pending["timers"]
        assert await ada.call(Account.deposit, 1) == 1

    serving(test)


def test_a_deleted_state_is_gone_and_a_fresh_one_follows(serving: Serving) -> None:
    async def test(client: Client) -> None:
        ada = client.entity(Account, "ada")
        await ada.call(Account.deposit, 5)
        assert await ada.call(Account.close) == "close"
        assert await ada.state() is None
        assert await ada.call(Account.deposit, 1) == 1
        await client.handle(ada.id).terminate()
        assert await ada.state() is None
        assert await ada.call(Account.deposit, 2) == 2

    serving(test)


# --- histories that do not grow, and processes that end -------------------------------------------


def worker(path: Path, cls: Any = Account, **settings: Any) -> Worker:
    return Worker(
        f"embedded:{path}",
        workflows=[transfer],
        activities=[work],
        entities=[cls],
        settings=Settings(**settings),
    )


def test_the_history_of_a_thousand_operations_is_that_of_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path), Client(f"embedded:{tmp_path}") as client:
            count = client.entity(Account, "ada")
            await asyncio.gather(*[count.call(Account.pay_out, 0) for _ in range(3)])
            for _ in range(20):
                await asyncio.gather(*[count.call("deposit", 1) for _ in range(50)])
        async with worker(tmp_path), Client(f"embedded:{tmp_path}") as client:
            assert await client.entity(Account, "ada").call(Account.total) == 1_000

    asyncio.run(main())
    turns = [each for each in records_in(tmp_path) if isinstance(each, EntitySnapshot)]
    firsts = [each.first for each in turns]
    assert [each.previous for each in turns[1:]] == firsts[:-1], "each gives up the one before"
    assert len(turns) >= 1_000


@pytest.mark.parametrize("cached", [0, 100])
def test_an_entity_goes_on_where_a_process_ended(tmp_path: Path, cached: int) -> None:
    async def begin() -> None:
        async with worker(tmp_path, cached_runs_max=cached), Client(f"embedded:{tmp_path}") as one:
            ada = one.entity(Account, "ada")
            await ada.call(Account.deposit, 100)
            for number in (1, 2, 3):
                await ada.signal(Account.pay_out, number)
                await ada.signal(Account.deposit, 10)

    async def go_on() -> None:
        async with worker(tmp_path, cached_runs_max=cached), Client(f"embedded:{tmp_path}") as one:
            assert await one.entity(Account, "ada").call(Account.deposit, 0) == 100 - 6 + 30

    MOST.clear()
    asyncio.run(begin())
    RUNNING.clear()
    asyncio.run(go_on())


def test_an_outcome_that_is_not_kept_is_said_to_be_so(tmp_path: Path) -> None:
    """The call has run, once. Nobody is told that it has not."""

    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with worker(tmp_path, cached_runs_max=0), Client(server) as client:
            ada = client.entity(Account, "ada")
            assert await ada.call(Account.deposit, 5, key="k") == 5
            for _ in range(12):
                await ada.call(Account.deposit, 0)
            assert await ada.call(Account.deposit, 5, key="k") == 5, "it stands in the history"
            before, updating.EVENTS_MAX = updating.EVENTS_MAX, 4  # type: ignore[misc]
            try:
                with pytest.raises(RequestExpired, match="was taken, once"):
                    await ada.call(Account.deposit, 5, key="k")
            finally:
                updating.EVENTS_MAX = before  # type: ignore[misc]
            assert await ada.call(Account.total) == 5

    asyncio.run(main())
