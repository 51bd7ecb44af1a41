"""Idempotency keys: what is sent again with one counts once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from processor import (
    Client,
    CommandRejected,
    InvalidArgument,
    KeyReused,
    WorkflowAlreadyStarted,
    WorkflowNotFound,
    entity,
    workflow,
)
from processor.core.data.cause import NamedRequest, identity, is_keyed, keyed, keyed_for
from processor.shard import dedup
from tests.embedded.approval import serving

__all__ = ("serving",)


@workflow.define
async def pages(so_far: list[int], each: int, count: int) -> list[int]:
    """Take so many events in each run of a chain."""
    for _ in range(each):
        so_far.append(await workflow.wait_for_event("paid", int))
        if len(so_far) == count:
            return so_far
    return workflow.continue_as_new(so_far, each, count)


@entity.define
class Purse:
    def __init__(self) -> None:
        self.money = 0

    def put(self, money: int) -> int:
        self.money += money
        return self.money

    def empty(self) -> int:
        self.money = 0
        return self.money


@workflow.define
class Listens:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_until(lambda: "end" in self.heard)
        return self.heard

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(what)


def test_an_event_with_a_key_counts_once_in_all_runs_of_a_chain(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(pages, [], 1, 4, id="a")
        other = client.handle("a")
        for number in (1, 2):
            for _ in range(2):
                await handle.raise_event("paid", number, key=f"evt-{number}")
                await other.raise_event("paid", number, key=f"evt-{number}")
        await handle.raise_event("paid", 3)
        await other.raise_event("paid", 9, key="evt-1")
        await other.raise_event("paid", 4, key="evt-4")
        assert await handle.result() == [1, 2, 3, 4]
        await other.raise_event("paid", 4, key="evt-4")
        with pytest.raises(CommandRejected):
            await other.raise_event("paid", 5, key="evt-5")

    serving(work, pages)


def test_a_signal_has_a_key_of_its_workflow_id(serving: Any) -> None:
    async def work(client: Client) -> None:
        for id in ("a", "b"):
            handle = await client.start(Listens.run, id=id)
            for _ in range(3):
                await handle.signal(Listens.hear, "once", key="k")
                await handle.signal("hear", "by name", key="l")
            await client.signal_with_start(Listens.run, id=id, key="m", signal=("hear", "too"))
            await client.signal_with_start(Listens.run, id=id, key="m", signal=("hear", "too"))
            await handle.signal(Listens.hear, "end")
            assert await handle.result() == ["once", "by name", "too", "end"]

    serving(work, Listens)


def test_what_is_refused_does_not_use_its_key_up(serving: Any) -> None:
    async def work(client: Client) -> None:
        for _ in range(2):
            with pytest.raises(WorkflowNotFound):
                await client.handle("a").raise_event("paid", 1, key="evt-1")
        handle = await client.start(pages, [], 1, 1, id="a")
        await handle.raise_event("paid", 1, key="evt-1")
        assert await handle.result() == [1]

    serving(work, pages)


def test_a_start_with_a_key_gives_the_run_that_it_has_started(serving: Any) -> None:
    async def work(client: Client) -> None:
        first = await client.start(pages, [], 1, 1, id="a", key="order-7")
        again = await client.start(pages, [5], 1, 1, id="a", key="order-7")
        assert (first.created, again.created) == (True, False)
        assert again.run_id == first.run_id
        with pytest.raises(WorkflowAlreadyStarted):
            await client.start(pages, [], 1, 1, id="a", key="order-8")
        await again.raise_event("paid", 1)
        assert await client.run(pages, [5], 1, 1, id="a", key="order-7") == [1]
        after = await client.start(pages, [5], 1, 2, id="a", key="order-8")
        assert after.run_id != first.run_id
        assert await client.run(pages, [5], 1, 1, id="a", key="order-7") == [1]
        await after.raise_event("paid", 6)
        assert await after.result() == [5, 6]

    serving(work, pages)


def test_a_start_and_an_event_may_have_one_key(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(pages, [], 1, 1, id="a", key="order-7")
        await handle.raise_event("paid", 1, key="order-7")
        assert await handle.result() == [1]

    serving(work, pages)


def test_a_key_alone_names_the_workflow_id(serving: Any) -> None:
    async def work(client: Client) -> None:
        first = await client.start(pages, [1], 1, 2, key="evt-1")
        other = await client.start("pages", [2], 1, 2, key="evt-1")
        assert (first.id, other.id, other.run_id) == ("pages/evt-1", "pages/evt-1", first.run_id)
        listens = await client.start(Listens.run, key="evt-1")
        assert listens.id == "Listens/evt-1"
        await listens.terminate()
        await first.terminate()

    serving(work, pages, Listens)


def test_an_event_with_the_key_of_another_one_is_refused(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(pages, [], 1, 2, id="a")
        await handle.raise_event("paid", 1, key="evt-1")
        for _ in range(2):
            with pytest.raises(KeyReused, match="was used for 'paid' before, and now for 'sent'"):
                await client.handle("a").raise_event("sent", 1, key="evt-1")
        await handle.raise_event("paid", 1, key="evt-1")
        await handle.raise_event("paid", 2, key="evt-2")
        assert await handle.result() == [1, 2]
        with pytest.raises(KeyReused, match="'paid' before, and now for 'sent'"):
            await client.handle("a").raise_event("sent", 1, key="evt-2")

    serving(work, pages)


def test_an_event_with_the_key_of_one_whose_long_name_begins_alike_is_refused(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(pages, [], 1, 1, id="a")
        await handle.raise_event("n" * 300 + "1", key="evt-1")
        await handle.raise_event("n" * 300 + "1", key="evt-1")
        with pytest.raises(KeyReused, match="was used for 'nnn"):
            await handle.raise_event("n" * 300 + "2", key="evt-1")
        await handle.terminate()

    serving(work, pages)


def test_a_start_with_the_key_of_another_one_is_refused(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(pages, [], 1, 1, id="a", key="k")
        with pytest.raises(KeyReused, match="'pages' before, and now for 'Listens'"):
            await client.start(Listens.run, id="a", key="k")
        with pytest.raises(KeyReused, match="'pages' before, and now for 'pages with paid'"):
            await client.signal_with_start("pages", [], 1, 1, id="a", key="k", signal=("paid", 1))
        await handle.raise_event("paid", 1)
        assert await client.run(pages, [], 1, 1, id="a", key="k") == [1]
        with pytest.raises(KeyReused, match="'pages' before, and now for 'Listens'"):
            await client.start(Listens.run, id="a", key="k")

    serving(work, pages, Listens)


def test_a_start_with_a_key_that_is_forgotten_is_no_start_of_another_workflow(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "KEPT", 1)
    monkeypatch.setattr(dedup, "KEPT_MAX", 1)

    async def work(client: Client) -> None:
        handle = await client.start(pages, [], 1, 2, id="a", key="k")
        for number in (1, 2):
            await handle.raise_event("paid", number, key=f"evt-{number}")
        await handle.result()
        assert not (await client.start(pages, [], 1, 1, id="a", key="k")).created
        with pytest.raises(KeyReused, match="'pages' before, and now for 'Listens'"):
            await client.start(Listens.run, id="a", key="k")

    serving(work, pages, Listens)


@workflow.define
class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.ended = False

    @workflow.run
    async def run(self, runs: int) -> int:
        await workflow.wait_until(lambda: self.ended)
        return self.total if runs == 1 else workflow.continue_as_new(runs - 1)

    @workflow.update
    def add(self, count: int) -> int:
        self.total += count
        return self.total

    @workflow.update
    def drop(self) -> int:
        self.total = 0
        return self.total

    @workflow.signal
    def end(self) -> None:
        self.ended = True


@workflow.define
async def drops(to: str) -> str:
    try:
        return str(await workflow.handle(to).update(Counter.drop, id="u"))
    except KeyReused as error:
        return str(error)


def test_an_update_with_the_id_of_another_one_is_refused(serving: Any) -> None:
    told = "'u' is that of update 'add' of run .* and cannot be that of 'drop': give each"

    async def work(client: Client) -> None:
        handle = await client.start(Counter.run, 2, id="a")
        assert await handle.update(Counter.add, 5, id="u") == 5
        for _ in range(3):  # an open run; one that follows it; a closed one
            with pytest.raises(KeyReused, match=told):
                await client.handle("a").update(Counter.drop, id="u")
            assert re.search(told, await client.run(drops, "a"))
            assert await client.handle("a").update(Counter.add, 5, id="u") == 5
            if (await client.handle("a").describe()).status.is_open:
                with pytest.raises(KeyReused, match=told):
                    await client.update_with_start(
                        Counter.run, 1, id="a", update=(Counter.drop,), update_id="u"
                    )
                await client.handle("a").signal(Counter.end)

    serving(work, Counter, drops)


def test_a_call_of_an_entity_with_the_key_of_another_one_is_refused(serving: Any) -> None:
    async def work(client: Client) -> None:
        purse = client.entity(Purse, "ada")
        assert await purse.call(Purse.put, 5, key="k") == 5
        with pytest.raises(KeyReused, match="'Purse with put' before, and now for 'Purse with e"):
            await purse.call(Purse.empty, key="k")
        await purse.signal(Purse.put, 5, key="k")
        with pytest.raises(KeyReused, match="'Purse with put' before, and now for 'Purse with e"):
            await purse.signal(Purse.empty, key="k")
        assert await purse.call(Purse.put, 5, key="k") == 5
        assert await purse.call(Purse.put, 0) == 10

    serving(work, entities=[Purse])


def test_wrong_keys_are_refused(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = client.handle("a")
        for key in ("", 5, "x" * 1_001):
            with pytest.raises(InvalidArgument, match="raise_event: key"):
                await handle.raise_event("paid", 1, key=key)  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument, match="start: key"):
                await client.start(pages, [], 1, 1, id="a", key=key)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="give update_id"):
            await client.update_with_start(Listens.run, key="k", update=("hear", "x"))

    serving(work, pages, Listens)


def test_a_key_that_makes_no_workflow_id_says_so(serving: Any) -> None:
    async def work(client: Client) -> None:
        with pytest.raises(
            InvalidArgument, match="start: key: it makes the workflow id, name/key: "
        ):
            await client.start(pages, [], 1, 1, key="x" * 1_000)

    serving(work, pages)


def test_keys_of_two_workflow_ids_are_two() -> None:
    assert keyed("event", "a\0b", "c", "x") != keyed("event", "a", "b\0c", "x")
    assert is_keyed(keyed("event", "a", "b", "x"))
    assert len(keyed("event", "a", "b", "ä" * 500).id.encode()) <= 255
    for long in ("ä" * 100, "n" * 200, "n" * 199 + "ä"):
        ones = keyed("event", "a", "b", f"{long}1"), keyed("event", "a", "b", f"{long}2")
        assert ones[0] != ones[1], "they are told apart by all of their names"
        assert identity(ones[0]) == identity(ones[1])
        assert all(len(each.id.encode()) <= 255 for each in ones)
    assert keyed_for(keyed("event", "a", "b", "ä" * 100)) == "ä" * 100
    assert not is_keyed(NamedRequest("key/4711")), "it is the id of a stranger's"
