"""The state of an entity over releases: fields that come and go, and what does not fit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    CommandRejected,
    InvalidArgument,
    QueryFailed,
    Worker,
    WorkflowParked,
    entity,
    workflow,
)
from tests.embedded.test_entities import Account, Line, transfer, worker


def released(**more: Any) -> Any:
    """Return a class of the next release, with other fields."""
    names = {"__module__": __name__, **more}
    return entity.define(name="Account")(type("Account", (), names))


def add(self: Any, amount: int) -> Any:
    self.balance += amount
    return sorted(vars(self).items(), key=str)


def test_fields_come_and_go_with_releases(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with worker(tmp_path), Client(server) as client:
            await client.entity(Account, "ada").call(Account.deposit, 5, "first")
        types = {"balance": int, "owner": str}
        fields = {"__annotations__": types, "owner": "nobody", "balance": 7, "add": add}
        later = released(**fields)
        async with worker(tmp_path, later), Client(server) as client:
            told = await client.entity("Account", "ada").call("add", 1)
            assert ["balance", 6] in told and ["lines", [{"text": "first", "amount": 5}]] in told
            assert (await client.entity("Account", "ada").state())["owner"] == "nobody"
            assert (await client.entity("Account", "new").call("add", 1)) == [["balance", 8]]
        async with worker(tmp_path), Client(server) as client:
            ada = await client.entity(Account, "ada").state()
            assert ada is not None and ada.lines == [Line("first", 5)]
            assert vars(ada)["owner"] == "nobody", "the field of another release stays"

    asyncio.run(main())


def test_a_state_that_does_not_fit_parks_with_the_reason_and_a_migration_frees_it(
    tmp_path: Path,
) -> None:
    def of_dict(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "balance": str(fields["balance"])}

    text = {"__annotations__": {"balance": str}, "balance": "", "add": add}

    def more(self: Any) -> Any:
        self.balance += "!"
        return self.balance

    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with worker(tmp_path), Client(server) as client:
            await client.entity(Account, "ada").call(Account.deposit, 5)
        async with worker(tmp_path, released(**text, more=more)), Client(server) as client:
            ada = client.entity("Account", "ada")
            with pytest.raises(WorkflowParked):
                await ada.call("more", parked="raise", key="k")
            parked = (await ada.describe()).parked
            assert parked is not None
            assert "state of an entity 'Account' does not fit" in parked["error"]
            with pytest.raises(CommandRejected, match="is parked"):
                await ada.call("more")
            with pytest.raises(QueryFailed, match="does not fit the class"):
                await ada.state()
        moved = released(**text, more=more, moved=entity.migrate(of_dict))
        async with worker(tmp_path, moved), Client(server) as client:
            ada = client.entity("Account", "ada")
            assert await ada.call("more", key="k") == "5!"
            assert (await ada.state())["balance"] == "5!"
            assert (await ada.describe()).parked is None

    asyncio.run(main())


def test_the_code_of_an_operation_may_change_once_it_has_ended(tmp_path: Path) -> None:
    """Only one that runs is replayed."""

    async def other(self: Any, amount: int) -> str:
        await asyncio.sleep(0.001)
        return "other"

    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with worker(tmp_path), Client(server) as client:
            ada = client.entity(Account, "ada")
            await asyncio.gather(*[ada.call(Account.pay_out, 0) for _ in range(3)])
        async with worker(tmp_path, released(pay_out=other)), Client(server) as client:
            assert await client.entity("Account", "ada").call("pay_out", 1) == "other"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({}, "has no public method"),
        ({"__init__": lambda self, a: None, "add": add}, "without arguments"),
        ({"__slots__": ("a",), "add": add}, "__dict__"),
    ],
)
def test_a_class_that_is_no_entity_is_refused(members: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        entity.define(type("Bad", (), members))


def test_what_is_no_entity_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidArgument, match="put it on a class"):
        entity.define(add)  # type: ignore[type-var]
    with pytest.raises(InvalidArgument, match="has an @"):
        entity.define(name="a@b")(type("Bad", (), {"add": add}))
    with pytest.raises(InvalidArgument, match="cannot answer at once"):
        entity.read(Account.pay_out)
    with pytest.raises(InvalidArgument, match="no entity"):
        Worker("embedded:nowhere", entities=[Line])
    with pytest.raises(InvalidArgument, match="two workflow or entity definitions have the name"):
        Worker(
            "embedded:nowhere",
            workflows=[workflow.define(name="Account")(transfer.function)],
            entities=[Account],
        )
    with pytest.raises(RuntimeError, match="outside of"):
        entity.info()
    assert Account().deposit(5) == 5, "a test of the class needs no runtime"
