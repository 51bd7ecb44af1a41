"""Reads need no worker: descriptions and histories are in the view while no worker answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from processor import Client, RunDescription, ShardUnavailable, WorkflowNotFound
from processor.api import HttpOptions
from processor.api.running import served
from processor.cli import app
from processor.cli.commands.inspection import description_lines
from processor.client.descriptions import RunHistory, standing
from processor.views.rows import Rows, open_rows, read_rows
from processor.views.stream.folds import RunsFold
from tests.kafka.feeding import WITHIN_S, FeederProcess
from tests.kafka.probes import collects, queued_double
from tests.kafka.processes import StartWorker, at_work
from tests.views.test_kills import dump
from tests.views.test_reading import without_code

from .test_views import Log, caught_up, until

OPEN, CLOSED = 4, 8
Told: TypeAlias = dict[str, tuple[RunDescription, RunHistory]]


@pytest.fixture
def feeder(kafka_servers: str, made: str, tmp_path: Path) -> Iterator[FeederProcess]:
    process = FeederProcess(kafka_servers, made, tmp_path)
    process.start()
    yield process
    process.end()


async def told(client: Client, ids: list[str]) -> Told:
    handles = [client.handle(id) for id in ids]
    return {each.id: (await each.describe(), await each.history()) for each in handles}


async def told_by_worker(client: Client, ids: list[str]) -> Told:
    """Return what is told once no view has to."""
    end = time.monotonic() + WITHIN_S
    found = await told(client, ids)
    while any(run.view is not None for run, _ in found.values()):
        assert time.monotonic() < end, "a worker answers"
        await asyncio.sleep(0.2)
        found = await told(client, ids)
    return found


async def check_without_worker(client: Client, made: str, log: Log, theirs: Told) -> None:
    ours = await told(client, [*theirs])
    for id, (run, events) in theirs.items():
        shown, history = ours[id]
        assert without_code(shown) == without_code(run)
        assert history == events
        assert shown.view is not None and shown.view.behind == 0
        assert shown.view.position == log.end(shown.shard)
        assert history.view is not None and history.view.position == shown.view.position
    lines = dict(description_lines(ours["open-0"][0]))
    assert "no worker answered; where the code waits, only a worker knows" in lines["told by"]
    assert "no worker answers for it, and a view does" in standing(ours["open-0"][0])
    with pytest.raises(WorkflowNotFound, match="the view has no run of workflow id 'none'"):
        await client.handle("none").describe()
    assert (await client.count("status = 'running'")).count == OPEN
    found = [run.workflow_id async for run in client.list("closed IS NOT NULL")]
    assert sorted(found) == [f"closed-{n}" for n in range(CLOSED)]
    listed = {run.workflow_id: run async for run in client.list()}
    assert listed.keys() == theirs.keys()
    assert listed["closed-3"].result == theirs["closed-3"][0].result
    assert all(run.view is not None and run.view.behind == 0 for run in listed.values())
    async with (
        served(client, made, HttpOptions(port=0)) as server,
        httpx.AsyncClient(base_url=f"{server.url}/api/v1/namespaces/{made}") as http,
    ):
        seen = (await http.get("/instances/closed-3")).json()
        assert (seen["status"], seen["result"], seen["view"]["behind"]) == ("completed", 6, 0)
        items = (await http.get("/instances", params={"status": "running"})).json()["items"]
        assert [each["view"]["behind"] for each in items] == [0] * OPEN
        none = await http.get("/instances/closed-3/result")
        assert (none.status_code, none.json()["type"]) == (503, "ShardUnavailable")
        assert "it is completed, says the view" in none.json()["detail"]
        page = (await http.get("/instances/closed-3/history")).json()
        assert page["view"]["behind"] == 0
        assert [each["type"] for each in page["items"]] == [
            event.type for event in theirs["closed-3"][1]
        ]


def test_runs_are_told_while_no_worker_is_there(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    feeder: FeederProcess,
) -> None:
    worker = start_worker(kafka_servers, 0)
    ids = [*(f"open-{n}" for n in range(OPEN)), *(f"closed-{n}" for n in range(CLOSED))]
    log = Log(kafka_servers, made, admin)

    async def work(client: Client) -> None:
        await at_work(worker)
        for number in range(OPEN):
            handle = await client.start(collects, 3, id=f"open-{number}")
            await handle.raise_event("passed", number)
            feeder.kill()
            feeder.start()
        runs = [await client.start(queued_double, n, id=f"closed-{n}") for n in range(CLOSED)]
        for run in runs:
            await run.result(60)

    async def main() -> None:
        views_dir = feeder.views_dir
        async with Client(kafka_servers, namespace=made, views_dir=views_dir) as client:
            await work(client)
            theirs = await told_by_worker(client, ids)
            worker.kill()
            until(lambda: caught_up(log, feeder), "the view is not where the log ends")
            await check_without_worker(client, made, log, theirs)
            worker.start()
            await at_work(worker)
            again = await told_by_worker(client, ids)
            for id, (run, events) in theirs.items():
                assert without_code(again[id][0]) == without_code(run)
                assert again[id][0].pending == run.pending
                assert again[id][1] == events

    asyncio.run(main())
    worker.kill()
    where = "--server", kafka_servers, "--namespace", made, "--views-dir", str(feeder.views_dir)
    shown = CliRunner().invoke(app, ["describe", "closed-3", "--json", *where])
    assert (shown.exit_code, json.loads(shown.stdout)["view"]["behind"]) == (0, 0)
    for asked in (["history", "closed-3"], ["list"]):
        lines = CliRunner().invoke(app, [*asked, *where]).stdout
        assert "no worker answered" in " ".join(lines.split())
    feeder.kill()
    for rows in read_rows(feeder.views_dir / made):
        with closing(rows), closing(fresh_fold(log, rows.partition)) as fresh:
            assert dump(rows)[2:] == dump(fresh)[2:]


def fresh_fold(log: Log, partition: int) -> Rows:
    fresh = open_rows(None, partition, log.id, histories=True)
    reader = log._reader(partition)
    RunsFold(log.connection.events, fresh).take(list(reader.read(*reader.bounds())))
    return fresh


def test_without_a_view_it_says_what_is_missing(
    kafka_servers: str, made: str, tmp_path: Path
) -> None:
    async def main() -> None:
        views_dir = tmp_path / "none"
        async with Client(kafka_servers, namespace=made, views_dir=views_dir) as client:
            with pytest.raises(ShardUnavailable) as raised:
                await client.handle("a").describe()
            assert "Perhaps no worker of this namespace runs" in str(raised.value)
            assert "The view cannot answer either: describe of 'a': " in str(raised.value)
            assert "run `processor views run" in str(raised.value)

    asyncio.run(main())
