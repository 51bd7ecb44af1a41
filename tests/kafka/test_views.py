"""Views that Faust feeds on a real broker: a fold of the log, whatever is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from processor import Client, InvalidArgument, ProcessorError
from processor.api import HttpOptions
from processor.api.running import served
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import watermarks_of
from processor.kafka.shards.identity import describe_shard_topics
from processor.kafka.shards.log import KafkaLogReader
from processor.kafka.topics.upkeep import apply, plan
from processor.policy import Status
from processor.views.fold import Row
from processor.views.rows import Rows, open_rows, read_rows, row_of
from processor.views.schema import COLUMNS
from processor.views.stream.folds import RunsFold
from tests.kafka.conftest import PARTITIONS
from tests.kafka.feeding import WITHIN_S, FeederProcess
from tests.kafka.harness import until as holds
from tests.kafka.probes import collects, queued_double
from tests.kafka.processes import StartWorker, WorkerProcess, at_work
from tests.kafka.talking import ask

until = partial(holds, timeout_s=WITHIN_S)
StartFeeder: TypeAlias = Callable[[int], FeederProcess]


@pytest.fixture
def feeders(kafka_servers: str, made: str, tmp_path: Path) -> Iterator[StartFeeder]:
    started: list[FeederProcess] = []

    def start(slot: int = 0) -> FeederProcess:
        feeder = FeederProcess(kafka_servers, made, tmp_path, slot)
        started.append(feeder)
        feeder.start()
        return feeder

    yield start
    for feeder in started:
        feeder.end()


class Log:
    """The log of a namespace, and what a fresh fold makes of it."""

    def __init__(self, servers: str, namespace: str, admin: AdminClient) -> None:
        self.connection = KafkaSettings(servers, namespace)
        self.id = describe_shard_topics(admin, self.connection)[0]["events"]
        self._admin = admin

    def end(self, partition: int) -> int:
        return self._reader(partition).bounds()[1]

    def folded(self) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for partition in range(PARTITIONS):
            fresh = open_rows(None, partition, self.id)
            reader = self._reader(partition)
            records = list(reader.read(*reader.bounds()))
            RunsFold(self.connection.events, fresh).take(records)
            rows |= all_rows(fresh)
            fresh.close()
        return rows

    def _reader(self, partition: int) -> KafkaLogReader:
        return KafkaLogReader(self.connection, partition, self._watermarks)

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        consumer = Consumer(self.connection.consumer())
        try:
            return watermarks_of(consumer, TopicPartition(topic, partition))
        finally:
            consumer.close()


def all_rows(rows: Rows) -> dict[str, Row]:
    found = rows.connection.execute(f"SELECT {', '.join(COLUMNS)} FROM runs").fetchall()
    return {row.run_id: row for row in map(row_of, found)}


@contextmanager
def opened(log: Log, *feeders: FeederProcess) -> Iterator[Mapping[int, Rows]]:
    """Yield the rows of each partition of this log, of the feeder that is furthest."""
    with ExitStack() as stack:
        parts: dict[int, Rows] = {}
        for feeder in feeders:
            for rows in read_rows(feeder.views_dir / log.connection.namespace):
                stack.callback(rows.close)
                known = parts.get(rows.partition)
                if rows.log == log.id and (known is None or known.position < rows.position):
                    parts[rows.partition] = rows
        yield parts


def in_views(log: Log, *feeders: FeederProcess) -> dict[str, Row]:
    with opened(log, *feeders) as parts:
        return {run_id: row for rows in parts.values() for run_id, row in all_rows(rows).items()}


def caught_up(log: Log, *feeders: FeederProcess) -> bool:
    with opened(log, *feeders) as parts:
        return len(parts) == PARTITIONS and all(
            rows.position >= log.end(partition) for partition, rows in parts.items()
        )


def test_rows_are_a_fresh_fold_of_the_log_whatever_is_killed(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    feeders: StartFeeder,
) -> None:
    """Also while no worker runs."""
    worker = start_worker(kafka_servers, 0)
    feeder = feeders(0)

    async def work(client: Client) -> None:
        await at_work(worker)
        for round in range(6):
            runs = [await client.start(queued_double, n) for n in range(20)]
            open_run = await client.start(collects, 3, id=f"open-{round}")
            await open_run.raise_event("passed", 1)
            for run in runs:
                await run.result(60)
            feeder.kill()
            feeder.start()

    ask(kafka_servers, made, work)
    worker.stop()

    async def search() -> None:
        views = feeder.views_dir
        async with Client(kafka_servers, namespace=made, views_dir=views) as client:
            shown = [run async for run in client.list("status = 'running'")]
            assert sorted(run.workflow_id for run in shown) == [f"open-{n}" for n in range(6)]
            groups = (await client.count("GROUP BY workflow")).groups
            assert {group.values: group.count for group in groups}[("queued_double",)] == 120
            first = [run async for run in client.list("ORDER BY started", limit=1)]
            assert first[0].workflow == "queued_double"
            async with (
                served(client, made, HttpOptions(port=0)) as server,
                httpx.AsyncClient(base_url=f"{server.url}/api/v1/namespaces/{made}") as http,
            ):
                query = {"query": "status = 'running' ORDER BY started", "limit": "4"}
                page = (await http.get("/instances", params=query)).json()
                more = {**query, "cursor": page["cursor"]}
                page["items"] += (await http.get("/instances", params=more)).json()["items"]
                shown_there = [run["workflow_id"] for run in page["items"]]
                assert shown_there == [f"open-{n}" for n in range(6)]
                counted = (await http.get("/count", params={"query": "closed IS NULL"})).json()
                assert counted["count"] == 6
                assert page["behind"] == counted["behind"] == 0

    log = Log(kafka_servers, made, admin)
    until(lambda: caught_up(log, feeder), "the view is not where the log ends")
    asyncio.run(search())
    fresh, rows = log.folded(), in_views(log, feeder)
    assert rows == fresh
    counts = [row.status for row in rows.values()]
    assert counts.count(Status.RUNNING) == 6
    assert counts.count(Status.COMPLETED) >= 120
    assert feeder.stop() == 0
    assert "ERROR" not in feeder.log


def test_processes_share_the_partitions(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    feeders: StartFeeder,
) -> None:
    worker = start_worker(kafka_servers, 0)
    first = feeders(0)
    until(lambda: first.log_path.exists() and first.log.count("from offset") == PARTITIONS, "began")
    second = feeders(1)
    until(lambda: second.log.count("from offset") >= PARTITIONS // 2, "the second has its share")

    async def work(client: Client) -> None:
        await at_work(worker)
        for run in [await client.start(queued_double, n) for n in range(40)]:
            await run.result(60)

    ask(kafka_servers, made, work)
    log = Log(kafka_servers, made, admin)
    until(lambda: caught_up(log, first, second), "together they are where the log ends")
    assert in_views(log, first, second) == log.folded()
    second.kill()
    until(lambda: caught_up(log, first), "the first takes over, from where it was itself")
    assert in_views(log, first) == log.folded()


async def doubled(worker: WorkerProcess, id: str, client: Client) -> None:
    """Let a worker play a run, once it is at work."""
    await at_work(worker)
    await (await client.start(queued_double, 1, id=id)).result(60)


def make_again(admin: AdminClient, namespace: str, *topics: str) -> None:
    """Delete topics of a namespace, and make them again."""
    for future in admin.delete_topics([*topics]).values():
        future.result()
    until(lambda: not {*topics} & {*_topics(admin, namespace)}, "the topics are gone")
    apply(admin, plan(admin, namespace, PARTITIONS, 1))


def test_a_log_that_is_made_again_is_another_one(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    feeders: StartFeeder,
) -> None:
    feeder = feeders(0)
    worker = start_worker(kafka_servers, 0)
    ask(kafka_servers, made, partial(doubled, worker, "before"))
    log = Log(kafka_servers, made, admin)
    until(lambda: caught_up(log, feeder), "the view is not where the log ends")
    worker.stop()
    feeder.stop()
    make_again(admin, made, *_topics(admin, made))

    async def search() -> None:
        views = feeder.views_dir
        async with Client(kafka_servers, namespace=made, views_dir=views) as client:
            with pytest.raises(ProcessorError, match=r"is ahead of the log: .* made again"):
                await client.count()

    asyncio.run(search())
    worker = start_worker(kafka_servers, 1)
    feeder.start()
    ask(kafka_servers, made, partial(doubled, worker, "after"))
    log = Log(kafka_servers, made, admin)
    until(lambda: caught_up(log, feeder), "the view is not where the log ends")
    assert {row.workflow_id for row in in_views(log, feeder).values()} == {"after"}


def test_a_log_that_is_made_again_while_it_is_read_ends_the_feeder(
    made: str, admin: AdminClient, feeders: StartFeeder
) -> None:
    feeder = feeders(0)
    until(lambda: "up to date" in feeder.log, "the view is where the log ends")
    make_again(admin, made, f"{made}.events")
    assert feeder.ended() != 0
    assert f"{made}.events was deleted" in feeder.log
    assert "start this process again, and what it keeps is made anew" in feeder.log


def test_a_log_that_lost_records_ends_the_feeder(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    feeders: StartFeeder,
) -> None:
    feeder, worker = feeders(0), start_worker(kafka_servers, 0)
    ask(kafka_servers, made, partial(doubled, worker, "before"))
    log = Log(kafka_servers, made, admin)
    until(lambda: caught_up(log, feeder), "the view is where the log ends")
    feeder.stop()
    ask(kafka_servers, made, partial(doubled, worker, "after"))
    worker.stop()
    _delete_records(admin, log)
    feeder.start()
    assert feeder.ended() != 0
    assert "were deleted before they were taken" in feeder.log
    assert "Run `processor views rebuild`" in feeder.log


def _delete_records(admin: AdminClient, log: Log) -> None:
    """Delete all that a log has, which its topic does not allow as it is."""
    deletes = ConfigEntry(
        "cleanup.policy", "compact,delete", incremental_operation=AlterConfigOpType.SET
    )
    events = log.connection.events
    topic = ConfigResource(ConfigResource.Type.TOPIC, events, incremental_configs=[deletes])
    for changed in admin.incremental_alter_configs([topic]).values():
        changed.result()
    ends = [TopicPartition(events, each, log.end(each)) for each in range(PARTITIONS)]
    for deleted in admin.delete_records(ends).values():
        deleted.result()


def _topics(admin: AdminClient, namespace: str) -> list[str]:
    topics = admin.list_topics(timeout=10).topics
    return [name for name in topics if name.startswith(f"{namespace}.")]


def test_one_folder_has_one_feeder(feeders: StartFeeder) -> None:
    first = feeders(0)
    until(lambda: first.log_path.exists() and first.log.count("from offset") == PARTITIONS, "began")
    other = feeders(0)
    assert other.ended() == 3
    assert f"is fed by process {first.pid}" in other.log


def test_a_search_finds_what_was_acknowledged_before_it(
    kafka_servers: str, made: str, start_worker: StartWorker, feeders: StartFeeder
) -> None:
    worker, feeder = start_worker(kafka_servers, 0), feeders(0)

    async def main() -> None:
        await at_work(worker)
        until(lambda: "up to date" in feeder.log, "the view is up to date")
        views = feeder.views_dir
        async with Client(kafka_servers, namespace=made, views_dir=views) as client:
            for number in range(20):
                await client.start(collects, 1, id=f"run-{number}")
                found = await client.count("workflow = 'collects'")
                assert found.count == number + 1

    asyncio.run(main())


def test_a_folder_without_a_view_says_what_to_run(
    kafka_servers: str, made: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Client(kafka_servers, namespace=made, views_dir=tmp_path / "none") as client:
            with pytest.raises(ProcessorError, match="has no rows of any partition: run `proc"):
                await client.count()
        async with Client(kafka_servers, namespace=made) as client:
            with pytest.raises(InvalidArgument, match="run `processor views run`, and give"):
                await client.count()

    asyncio.run(main())
