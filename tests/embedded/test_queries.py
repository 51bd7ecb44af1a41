"""Queries: what they may do, which runs answer, and that they change nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    QueryFailed,
    SchemaMismatch,
    Status,
    Worker,
    workflow,
)
from processor.testing import Environment
from tests.embedded.approval import Approval, serving

__all__ = ("serving",)


@pytest.mark.parametrize("ends", [False, True], ids=["open", "closed"])
def test_what_a_query_may_not_do_is_refused_and_changes_nothing(serving: Any, ends: bool) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Approval.run, "x", id="a")
        await handle.signal(Approval.nobody)
        if ends:
            await handle.signal(Approval.set_needed, 1)
            await handle.result()
        events = len(await handle.history())
        with pytest.raises(QueryFailed, match=r"query 'asks' asked for .*; it may only read"):
            await handle.query(Approval.asks)
        with pytest.raises(QueryFailed, match=r"began or woke a task at .*approval.py:\d+"):
            await handle.query(Approval.wakes)
        with pytest.raises(QueryFailed, match="no such thing") as failed:
            await handle.query(Approval.fails)
        assert isinstance(failed.value.__cause__, ApplicationError)
        assert failed.value.__cause__.type == "Missing"
        with pytest.raises(QueryFailed, match="no query 'none'; the workflow has: 'asks', 'draws'"):
            await handle.query("none")
        with pytest.raises(SchemaMismatch, match="argument 'count'"):
            await handle.query("first", "two")
        assert (await handle.query("draws"))[1] == "a"
        assert await handle.query(Approval.standing) == ["nobody"]
        assert len(await handle.history()) == events
        if not ends:
            await handle.signal(Approval.set_needed, 2)
            await handle.signal(Approval.vote, "Ada")
            assert await handle.result() == "x: nobody, Ada"

    serving(work, Approval)


@workflow.define
class Draws:
    def __init__(self) -> None:
        self.drawn: list[float] = []

    @workflow.run
    async def run(self) -> list[float]:
        for _ in range(3):
            await workflow.wait_for_event("next")
            self.drawn.append(workflow.random().random())
        return self.drawn

    @workflow.query
    def draws(self) -> float:
        return workflow.random().random()

    @workflow.query
    def begins(self) -> None:
        asyncio.Event()
        asyncio.get_running_loop().create_future()


def test_a_query_takes_nothing_of_what_the_run_draws(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=[Draws]), Client(server) as client:
            handle = await client.start(Draws.run, id="a")
            for _ in range(2):
                await handle.raise_event("next")
                await handle.query(Draws.draws)
                await handle.query(Draws.begins)
            await handle.query(Draws.draws)
        async with Worker(server, workflows=[Draws]), Client(server) as client:
            handle = client.handle("a", workflow=Draws.run)
            await handle.raise_event("next")
            result = await handle.result()
            assert len(set(result)) == 3
            assert (await handle.describe()).status is Status.COMPLETED

    asyncio.run(main())


def test_queries_say_which_runs_they_are_not_for(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Approval.run, "x", id="a")
        await handle.signal(Approval.nobody)
        standing = ["nobody"]
        assert await handle.query(Approval.standing, reject="not-open") == standing
        await handle.terminate("enough")
        with pytest.raises(QueryFailed, match="is terminated, which reject='not-open' excludes"):
            await handle.query(Approval.standing, reject="not-open")
        with pytest.raises(QueryFailed, match="reject='not-completed'"):
            await handle.query(Approval.standing, reject="not-completed")
        assert await handle.query(Approval.standing) == standing

    serving(work, Approval)


CLEANED: list[bool] = []
CHANGED: list[str] = []


@workflow.define
class Changes:
    """A handler of it waits when it ends, and tells where it is unwound."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_for_event("next")
        if "in the middle" in CHANGED:
            workflow.publish("records", None, 1)
        await workflow.wait_for_event("next")
        if "at the end" in CHANGED:
            workflow.publish("records", None, 1)

    @workflow.signal(unfinished="abandon")
    async def waits(self) -> None:
        try:
            await workflow.wait_for_event("never")
        finally:
            CLEANED.append(workflow.in_workflow())

    @workflow.query
    def any(self) -> int:
        return 1


@pytest.mark.parametrize("where", ["in the middle", "at the end"])
def test_code_that_does_not_fit_is_unwound_at_once(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is left to Python, which would run the clean-up anywhere."""

    async def main() -> None:
        async with Environment([Changes]) as env:
            handle = await env.start(Changes.run)
            await handle.signal(Changes.waits)
            await handle.raise_event("next")
            await handle.raise_event("next")
            await handle.result()
            monkeypatch.setattr("tests.embedded.test_queries.CHANGED", [where])
            CLEANED.clear()
            with pytest.raises(
                QueryFailed, match=r"its code cannot be replayed: .*RecordPublished"
            ):
                await handle.query(Changes.any)
            assert CLEANED == [True]

    asyncio.run(main())
