"""Tables of users that Faust feeds on a real broker, whatever is killed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from processor import Client, InvalidArgument, ProcessorError, TableStopped
from processor.cli import app
from tests.kafka.feeding import FeederProcess
from tests.kafka.probes import collects, queued_double
from tests.kafka.processes import StartWorker, at_work
from tests.kafka.talking import PATIENT

from .test_views import Log, caught_up, until

ROUNDS, EACH = 4, 10
COUNTED = {
    "collects": {"begun": ROUNDS, "ended": 0, "sum": 0},
    "queued_double": {
        "begun": ROUNDS * EACH,
        "ended": ROUNDS * EACH,
        "sum": ROUNDS * sum(2 * n for n in range(EACH)),
    },
}


def test_tables_are_fed_once_each_whatever_is_killed(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    worker = start_worker(kafka_servers, 0)
    feeder = FeederProcess(kafka_servers, made, tmp_path)
    log = Log(kafka_servers, made, admin)
    where = "--server", kafka_servers, "--namespace", made, "--views-dir", str(feeder.views_dir)

    async def work() -> None:
        await at_work(worker)
        async with Client(kafka_servers, namespace=made, settings=PATIENT) as client:
            for round in range(ROUNDS):
                await client.start(collects, 3, id=f"open-{round}")
                for run in [await client.start(queued_double, n) for n in range(EACH)]:
                    await run.result(60)
                feeder.kill()
                if round:  # first without tables, which are behind the rows then
                    feeder.verb = "run", "--module", "tests.kafka.counted"
                feeder.start()

    async def ask() -> None:
        views_dir = feeder.views_dir
        async with Client(kafka_servers, namespace=made, views_dir=views_dir) as client:
            assert {row.key: row.value async for row in client.view("by_workflow")} == COUNTED
            with pytest.raises(TableStopped, match=r"'stops' stands still, .*it cannot count"):
                [row async for row in client.view("stops")]
            with pytest.raises(ProcessorError, match=r"no table 'none' of any .* --module MODULE"):
                [row async for row in client.view("none")]
        async with Client(kafka_servers, namespace=made) as client:
            with pytest.raises(InvalidArgument, match="only a view answers"):
                [row async for row in client.view("by_workflow")]

    feeder.start()
    try:
        asyncio.run(work())
        worker.kill()
        until(lambda: caught_up(log, feeder), "the view is where the log ends")
        until(lambda: _lag(where)["by_workflow"] == 0, "the table is where the log ends")
        asyncio.run(ask())
        shown = CliRunner().invoke(app, ["views", "show", "by_workflow", "--json", *where])
        lines = [json.loads(line) for line in shown.stdout.splitlines()]
        assert {each["key"]: each["value"] for each in lines} == COUNTED
        assert "table stops stops at offset" in feeder.log
        assert "The other tables and the rows of runs go on" in feeder.log
        text = CliRunner().invoke(app, ["views", "status", *where]).stdout
        assert "it cannot count" in " ".join(text.split())
    finally:
        feeder.end()


def _lag(where: tuple[str, ...]) -> dict[str, int]:
    shown = CliRunner().invoke(app, ["views", "status", "--json", *where])
    return {each["name"]: each["lag"] for each in json.loads(shown.stdout)["tables"]}
