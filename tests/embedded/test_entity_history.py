"""The last operations of an entity: kept for audit, whatever becomes of a process, and bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    InvalidArgument,
    QueryFailed,
    Settings,
    UpdateFailed,
    UpdateRejected,
    Worker,
    entity,
)
from processor.codec.inputs import decode_command
from processor.core.data.failure import Failure
from processor.core.nouns.external import EventReceived
from processor.core.nouns.update import OperationEnded, UpdateAccepted
from processor.testing import Environment
from processor.workflow._entities.history import EntityHistory


@entity.define(history=3)
class Till:
    sum: int = 0

    def pay(self, amount: int, text: str = "") -> int:
        if amount < 0:
            raise ApplicationError("no debts", type="Refused", details="x" * 5_000)
        self.sum += amount
        return self.sum

    async def pay_later(self, amount: int) -> int:
        await asyncio.sleep(60)
        return self.pay(amount)

    def echo(self, text: str) -> str:
        return text


@entity.define
class Plain:
    sum: int = 0

    def pay(self, amount: int) -> int:
        self.sum += amount
        return self.sum


def test_the_last_operations_are_kept_in_order() -> None:
    async def main() -> None:
        async with Environment([], entities=[Till, Plain], max_cached_runs=0) as env:
            till = env.entity(Till, "a")
            assert await till.history() == []
            await till.signal(Till.pay, 1)
            await till.signal(Till.pay, 2, "two")
            assert await till.call(Till.pay_later, 3, key="three") == 6
            with pytest.raises(UpdateFailed):
                await till.call(Till.pay, -1, key="four")
            await till.signal("pay", {"not": "a number"})
            assert [each.operation for each in await till.history()] == ["pay_later", "pay", "pay"]
            later, failed, unfit = await till.history()
            assert (later.id, later.arguments, later.result) == ("three", [3], 6)
            assert (failed.id, failed.failure) == ("four", "Refused: no debts")
            assert (unfit.id, unfit.arguments, unfit.result) == ("", [{"not": "a number"}], None)
            assert unfit.failure is not None and unfit.failure.startswith("UpdateRejected: ")
            assert later.ended <= failed.ended <= env.now()
            with pytest.raises(UpdateRejected):
                await env.entity("Till", "a").call("nothing")
            assert (await till.history())[-1] == unfit, "what is refused at once never ran"
            await till.call(Till.echo, "y" * 2_000)
            long = (await till.history())[-1]
            assert (long.arguments, long.result, long.bytes_left_out) == (None, None, 2_002 + 2_004)
            with pytest.raises(QueryFailed, match=r"keeps no operations .*\(history=10\)"):
                await env.entity(Plain, "a").history()

    asyncio.run(main())


def test_the_history_of_an_entity_outlives_its_process_and_follows_its_class(
    tmp_path: Path,
) -> None:
    server = f"embedded:{tmp_path}"

    async def ends(cls: type[Any], amount: int) -> list[Any]:
        async with Worker(server, entities=[cls]), Client(server) as client:
            till = client.entity("Till", "a")
            for number in range(amount):
                await till.call("pay", number)
            return [each.arguments for each in await till.history()]

    @entity.define(name="Till", history=2)
    class Fewer(Till):
        pass

    async def main() -> None:
        assert await ends(Till, 5) == [[2], [3], [4]]
        assert await ends(Till, 0) == [[2], [3], [4]]
        assert await ends(Fewer, 0) == [[3], [4]]
        assert await ends(Fewer, 1) == [[4], [0]]

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, 100])
def test_the_history_is_told_also_where_the_state_fits_no_more(tmp_path: Path, cached: int) -> None:
    server = f"embedded:{tmp_path}"

    @entity.define(name="Till", history=3)
    class Listed:
        sum: list[int] = []  # noqa: RUF012

        def pay(self, amount: int) -> None:
            self.sum.append(amount)

    async def main() -> None:
        async with Worker(server, entities=[Till]), Client(server) as client:
            await client.entity("Till", "a").call("pay", 5)
        worker = Worker(server, entities=[Listed], settings=Settings(cached_runs_max=cached))
        async with worker, Client(server) as client:
            till = client.entity(Listed, "a")
            assert [each.arguments for each in await till.history()] == [[5]]
            await till.signal(Listed.pay, 6)
            while (await till.describe()).parked is None:
                await asyncio.sleep(0.01)
            assert [each.arguments for each in await till.history()] == [[5]]
            with pytest.raises(QueryFailed, match="does not fit the class"):
                await till.state()

    asyncio.run(main())


def test_the_history_of_an_entity_has_a_bound() -> None:
    @entity.define(history=100)
    class Long:
        def note(self, text: str) -> None:
            """Do nothing."""

    async def main() -> None:
        async with Environment([], entities=[Long]) as env:
            long = env.entity(Long, "a")
            for number in range(60):
                await long.call(Long.note, f"{number:900}")
            kept = [int(each.arguments[0]) for each in await long.history()]
            assert kept == [*range(60 - len(kept), 60)] and 15 <= len(kept) <= 22

    asyncio.run(main())
    for wrong in (-1, 101, 2.5, True):
        with pytest.raises(InvalidArgument, match=r"@entity\.define: history: "):
            entity.define(history=wrong)  # type: ignore[arg-type]


def test_a_value_that_cannot_be_read_hides_no_other_operation() -> None:
    signal = b'{"type": "event", "name": "echo", "payload": 1e999}'
    call = b'{"type": "update", "id": "odd", "name": "echo", "arguments": [1e999]}'

    async def main() -> None:
        async with Environment([], entities=[Till]) as env:
            till = env.entity(Till, "a")
            await till.call(Till.pay, 1)
            for json in (signal, call):
                command = decode_command(b"@Till@a", json)
                await env._calls.accepted(command.workflow_id, command.body)
            paid, signalled, called = await till.history()
            assert (paid.arguments, paid.result) == ([1], 1)
            for odd, id, bytes in ((signalled, "", 5), (called, "odd", 7)):
                assert (odd.operation, odd.id, odd.arguments) == ("echo", id, None)
                assert odd.failure is not None and "out of range" in odd.failure
                assert odd.bytes_left_out == bytes

    asyncio.run(main())


def test_what_is_kept_of_one_operation_has_bounds() -> None:
    history = EntityHistory(2, ())
    failure = Failure("application", "T" * 500, "m" * 500, b"1" * 5_000, traceback="t" * 500)
    history.note(EventReceived("pay", b"5"), 7, b"6", failure)
    history.note(UpdateAccepted("c", "pay", b"x" * 1_000, False), 8, b"y" * 1_001, None)
    assert history.all == (
        OperationEnded("pay", "", 7, b"5", None, Failure("application", "T" * 300, "m" * 300)),
        OperationEnded("pay", "c", 8, b"x" * 1_000, None, None, 1_001),
    )
    assert EntityHistory(1, history.all).all == history.all[1:]
    assert EntityHistory(0, history.all).all == (), "the class keeps none any more"
