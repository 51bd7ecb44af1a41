"""Lists and counts by a query: what was answered before is found, also after the rows are gone."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    InvalidArgument,
    ProcessorError,
    RetryPolicy,
    ShardUnavailable,
    Worker,
    activity,
    workflow,
)
from processor.client import RunCount
from processor.testing import Environment
from processor.views.fold import VERSION
from tests.embedded.approval import serving

__all__ = ("serving",)


@activity.define(retry=RetryPolicy(initial_interval=0.01, maximum_interval=1_000))
async def stumbles() -> None:
    raise ValueError("it stumbles")


@workflow.define
async def order(step: str) -> Any:
    workflow.upsert_attributes({"step": step})
    if step == "fails":
        await stumbles()
    if step == "waits":
        await workflow.wait_for_event("go")
        workflow.upsert_attributes({"step": "went"})
    return step


@workflow.define
async def counts(number: int) -> int:
    if number < 3:
        workflow.continue_as_new(number + 1)
    return number


async def found(client: Client, query: str, limit: int | None = None) -> list[str]:
    return [run.workflow_id async for run in client.list(query, limit=limit)]


def test_runs_are_found_as_soon_as_they_are_acknowledged(serving: Any) -> None:
    async def work(client: Client) -> None:
        assert await client.count() == RunCount(0)
        for number in range(5):
            attributes: Any = {"customer": f"c{number % 2}", "sum": number}
            await client.start(order, "waits", id=f"w{number}", attributes=attributes)
            assert (await client.count("sum >= 0")).count == number + 1
        assert await client.run(order, "done", id="d", attributes={"customer": "c0"}) == "done"
        assert await found(client, "customer = 'c0' ORDER BY workflow_id") == [
            "d",
            "w0",
            "w2",
            "w4",
        ]
        ids = await found(client, "step = 'waits' AND sum > 1 ORDER BY sum DESC", 2)
        assert ids == ["w4", "w3"]
        assert await found(client, "status = 'completed' AND workflow = 'order'") == ["d"]
        handle = client.handle("w0")
        await handle.raise_event("go")
        await handle.result()
        assert sorted(await found(client, "closed IS NOT NULL")) == ["d", "w0"]
        assert await found(client, "step = 'went'") == ["w0"]
        groups = (await client.count("GROUP BY status")).groups
        assert [(each.values, each.count) for each in groups] == [
            (("running",), 4),
            (("completed",), 2),
        ]
        (run,) = [run async for run in client.list("workflow_id = 'd'")]
        described = await client.handle("d").describe()
        for name in ("run_id", "workflow", "status", "started", "closed", "events", "attributes"):
            assert getattr(run, name) == getattr(described, name), name
        assert len([run async for run in client.list(workflow="order")]) == 6

    serving(work, order)


def test_a_query_finds_all_runs_of_a_chain(serving: Any) -> None:
    async def work(client: Client) -> None:
        assert await client.run(counts, 0, id="chain", attributes={"kept": True}) == 3
        runs = [run async for run in client.list("workflow_id = 'chain' AND kept = TRUE")]
        assert sorted(run.status for run in runs) == ["completed", *["continued"] * 3]
        assert len([run async for run in client.list()]) == 1

    serving(work, counts)


def test_more_runs_than_a_page(serving: Any) -> None:
    async def work(client: Client) -> None:
        starts = (client.start(order, "waits", id=f"{number:03}") for number in range(230))
        await asyncio.gather(*starts)
        ids = await found(client, "ORDER BY workflow_id")
        assert ids == [f"{number:03}" for number in range(230)]
        assert len(await found(client, "status = 'running'", 150)) == 150

    serving(work, order)


def test_what_is_wrong_is_said_at_the_call(serving: Any, caplog: Any) -> None:
    async def work(client: Client) -> None:
        with pytest.raises(InvalidArgument, match=r"list: query: .* \(column 10\)"):
            await found(client, "status = running")
        with pytest.raises(InvalidArgument, match="count: query: a count has no ORDER BY"):
            await client.count("ORDER BY started")
        with pytest.raises(InvalidArgument, match="say status and workflow in the query"):
            [run async for run in client.list("", status="running")]
        with pytest.raises(InvalidArgument, match="list: query: a list has no GROUP BY"):
            await found(client, "GROUP BY status")
        with caplog.at_level(logging.WARNING, "processor.client"):
            assert await found(client, "custmer = 'ada'") == []
        assert "list: query: no run has an attribute named 'custmer' now" in caplog.text

    serving(work, order)


def test_activities_that_fail_are_a_problem() -> None:
    async def work() -> None:
        async with Environment([order], [stumbles]) as env:
            await env.start(order, "fails", id="a")
            await env.start(order, "waits", id="b")
            await env.sleep(0.5)
            (run,) = [run async for run in env.list("problem IS NOT NULL")]
            assert run.workflow_id == "a"
            assert run.problem == "activity: stumbles: ValueError: it stumbles"

    asyncio.run(work())


def test_rows_that_are_gone_are_folded_anew(tmp_path: Path) -> None:
    async def work(step: str, before: list[str]) -> None:
        server = f"embedded:{tmp_path / 'state'}"
        async with Worker(server, workflows=[order]), Client(server) as client:
            assert sorted(await found(client, "status = 'running'")) == before
            await client.start(order, "waits", id=step, attributes={"customer": step})
            assert await found(client, f"customer = '{step}'") == [step]

    views = tmp_path / "state" / "views"
    asyncio.run(work("a", []))
    asyncio.run(work("b", ["a"]))
    for file in views.iterdir():
        file.unlink()
    asyncio.run(work("c", ["a", "b"]))
    (views / f"runs-0.v{VERSION}.sqlite").write_bytes(b"no database" * 999)
    asyncio.run(work("d", ["a", "b", "c"]))


def test_rows_that_are_far_behind_say_so_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        server, now = f"embedded:{tmp_path / 'state'}", iter(range(0, 1 << 30, 1_000))
        async with Worker(server, workflows=[order]), Client(server) as client:
            for number in range(20):
                await client.run(order, "done", id=f"{number}")
            monkeypatch.setattr("processor.views.search._GROUP", 5)
            monkeypatch.setattr("processor.embedded.view.monotonic", lambda: next(now))
            with pytest.raises(ShardUnavailable, match=r"list: query: the rows in .* Ask again"):
                await found(client, "status = 'completed'")
            monkeypatch.undo()
            assert len(await found(client, "status = 'completed'")) == 20

    asyncio.run(work())


def test_rows_that_cannot_be_made_say_why(tmp_path: Path) -> None:
    async def work() -> None:
        server = f"embedded:{tmp_path / 'state'}"
        async with Worker(server, workflows=[order]), Client(server) as client:
            (tmp_path / "state" / "views").write_text("in the way")
            with pytest.raises(
                ProcessorError, match=r"count: query: the rows in .* cannot be used"
            ):
                await client.count()

    asyncio.run(work())


async def _on_kafka() -> None:
    client = Client("127.0.0.1:9")
    with pytest.raises(InvalidArgument, match="count: query: only a view answers queries: run"):
        await client.count("status = 'running'")
    with pytest.raises(InvalidArgument, match=r"Without a query, client\.list"):
        await found(client, "status = 'running'")


def test_on_kafka_it_is_said_that_nobody_answers() -> None:
    asyncio.run(_on_kafka())
