"""Where workloads run: embedded in this process, or on Kafka with a worker process of its own.

Each measurement has a namespace of its own, which is deleted afterwards.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from processor.bench.asking import run_query, run_update, warm_up_query, warm_up_update
from processor.bench.entities import run_entity, warm_up_entity
from processor.bench.flood import flood_embedded, flood_kafka
from processor.bench.loops import LOOPS, Load, Loop, WorkloadFailed, warm_up
from processor.bench.meter import Meter
from processor.bench.process import PROGRAM, WorkerProcess, await_shards, status_of
from processor.bench.served import SERVED
from processor.client import Client
from processor.config import Settings
from processor.errors import CommandRejected
from processor.worker import Worker

__all__ = (
    "BenchHost",
    "delete_namespace",
    "embedded",
    "make_namespace",
    "measure",
    "new_namespace",
    "on_kafka",
)

PARTITIONS = 8
REPLICATION_MAX = 3
PATIENCE = Settings(request_timeout_s=30.0)


@dataclass(slots=True)
class BenchHost:
    """A runtime that serves the workloads, and a client of it."""

    client: Client
    folder: Path
    flood: Loop
    settings: dict[str, Any]
    servers: Sequence[int] = ()
    namespace: str = ""
    workers: list[WorkerProcess] = field(default_factory=list)
    own: Worker | None = None

    def meter(self) -> Meter:
        pids = [worker.pid for worker in self.workers] or [os.getpid()]
        return Meter(self.folder, self.servers, pids)

    def executions(self) -> dict[str, int]:
        """Return how often each activity has run so far. Blocks."""
        total: Counter[str] = Counter()
        for status in self.statuses():
            total.update(status["executions"])
        return total

    def statuses(self) -> list[dict[str, Any]]:
        """Return how each worker is. Blocks."""
        if self.own is not None:
            return [status_of(self.own)]
        return [worker.status() for worker in self.workers]


def new_namespace() -> str:
    return f"bench-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[BenchHost]:
    """Serve from this process, with the log on local disk (an fsync for each commit)."""
    server = f"embedded:{folder / 'embedded'}"
    async with (
        Worker(server, **SERVED) as worker,
        Client(server, settings=PATIENCE) as client,
    ):
        settings = {"client": "in the worker's process"}
        yield BenchHost(client, folder, flood_embedded, settings, own=worker)


@asynccontextmanager
async def on_kafka(
    server: str,
    folder: Path,
    *,
    namespace: str | None = None,
    partitions: int = PARTITIONS,
    processes: int = 1,
    broker_pids: Sequence[int] = (),
    program: str = PROGRAM,
    kafka: Mapping[str, str] | None = None,
) -> AsyncIterator[BenchHost]:
    """Serve from worker processes, each with its share of the partitions.

    ``kafka`` are further properties of librdkafka, for all clients.
    """
    namespace = namespace or new_namespace()
    await asyncio.to_thread(make_namespace, server, namespace, partitions, kafka)
    workers = [
        WorkerProcess(server, namespace, folder, slot, program, kafka) for slot in range(processes)
    ]
    try:
        for worker in workers:
            worker.start()
        await asyncio.to_thread(await_shards, workers, partitions)
        async with Client(server, namespace=namespace, settings=PATIENCE, kafka=kafka) as client:
            settings = {"partitions": partitions, "processes": processes}
            flood = partial(flood_kafka, server, namespace, kafka)
            yield BenchHost(client, folder, flood, settings, broker_pids, namespace, workers)
    finally:
        for worker in workers:
            await asyncio.to_thread(worker.stop)
        await asyncio.to_thread(delete_namespace, server, namespace, kafka)


def make_namespace(
    server: str, namespace: str, partitions: int, kafka: Mapping[str, str] | None = None
) -> None:
    """Make the topics as `processor topics apply` would; none may be there before. Blocks."""
    from processor.kafka.topics import upkeep as topics

    admin = topics.connect(server, kafka)
    cluster = admin.list_topics(timeout=topics.REQUEST_TIMEOUT_S)
    if any(topic.startswith(f"{namespace}.") for topic in cluster.topics):
        raise CommandRejected(
            f"namespace {namespace!r} has topics on {server} already, and a measurement deletes "
            "those that it used. Name a namespace that does not exist"
        )
    brokers = len(cluster.brokers)
    changes = topics.plan(admin, namespace, partitions, min(REPLICATION_MAX, brokers))
    topics.apply(admin, changes)


def delete_namespace(server: str, namespace: str, kafka: Mapping[str, str] | None = None) -> None:
    """Delete the topics and consumer groups of a namespace that was only measured. Blocks."""
    from processor.kafka.topics import upkeep as topics

    admin = topics.connect(server, kafka)
    names = [name for name in admin.list_topics().topics if name.startswith(f"{namespace}.")]
    if names:
        for future in admin.delete_topics(names, operation_timeout=10).values():
            future.result()
    listed = admin.list_consumer_groups().result()
    groups = [group.group_id for group in listed.valid]
    own = [group for group in groups if group.startswith(f"{namespace}.")]
    if own:
        for deleted in admin.delete_consumer_groups(own).values():
            deleted.exception()  # a member may still be leaving: Kafka then expires the group


_LOOPS: dict[str, Loop] = {**LOOPS, "query": run_query, "update": run_update, "entity": run_entity}
_WARM_UPS = {"query": warm_up_query, "update": warm_up_update, "entity": warm_up_entity}


async def measure(host: BenchHost, name: str, load: Load, timeout_s: float) -> dict[str, Any]:
    """Warm up, run a workload (or "flood"), check what was executed, and return its fields.

    An activity may have run more often than the workload asked for (at least once), never less.
    """
    async with asyncio.timeout(timeout_s):
        await warm_up(host.client, name, load)
        if (warm_up_too := _WARM_UPS.get(name)) is not None:
            await warm_up_too(host.client, load)
        before = await asyncio.to_thread(host.executions)
        meter = host.meter()
        loop = host.flood if name == "flood" else _LOOPS[name]
        fields, wanted = await loop(host.client, load, meter)
        after = await asyncio.to_thread(host.executions)
    extra = 0
    for activity, count in wanted.items():
        executed = after.get(activity, 0) - before.get(activity, 0)
        if executed < count:
            raise WorkloadFailed(f"{activity} ran {executed} times; {count} results depend on it")
        extra += executed - count
    report = meter.report()
    if name == "chain" and "cpu_s" in report:
        fields["cpu_s_per_1k"] = round(report["cpu_s"] / fields["n"] * 1000, 2)
    return {**fields, **report, "extra_attempts": extra}
