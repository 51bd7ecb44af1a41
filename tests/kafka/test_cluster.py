"""Three brokers with replication 3: restarted one after another, and killed, under load.

``CLUSTER_RESTARTS=3`` restarts each of them in order; by default only the first is.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from processor import Client
from processor.cli.app import app
from processor.dev.local_broker import LocalCluster
from processor.kafka.topics.upkeep import connect
from tests.kafka.evidence import record
from tests.kafka.harness import until
from tests.kafka.load import Load, prove
from tests.kafka.own_broker import REPLICAS, own_cluster, prepare
from tests.kafka.processes import StartWorker, at_work
from tests.kafka.talking import ask

WIDTH = 2
"""Three brokers and two workers have little of a machine left."""

RESTARTED = int(os.environ.get("CLUSTER_RESTARTS", "1"))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with own_cluster(tmp_path / "cluster") as running:
        yield running


@pytest.mark.timeout(600)
def test_brokers_are_restarted_and_one_is_killed_together_with_a_worker(
    cluster: LocalCluster, namespace: str, start_worker: StartWorker
) -> None:
    servers = cluster.bootstrap_servers
    prepare(servers, namespace, REPLICAS)
    command = ["topics", "check", "--server", servers, "--namespace", namespace]
    until(lambda: CliRunner().invoke(app, command).exit_code == 0, "`topics check` is content")
    admin = connect(servers)
    workers = [start_worker(servers, slot) for slot in (0, 1)]
    stalls_s: list[float] = []

    async def talk(client: Client) -> None:
        await at_work(*workers)
        load = Load(client, namespace, width=WIDTH)
        async with load.running():
            for broker in cluster.brokers[:RESTARTED]:
                await load.rounds_more(load.width)
                await asyncio.to_thread(broker.stop)
                await load.rounds_more(load.width)
                await asyncio.to_thread(broker.start)
                await asyncio.to_thread(in_sync, admin, namespace)
            leader = await asyncio.to_thread(leader_of, admin, f"{namespace}.events")
            killed = next(each for each in cluster.brokers if each.node_id == leader)
            survivor, dead = workers
            taken_over = survivor.takeovers
            begun = time.monotonic()
            await asyncio.to_thread(killed.kill)
            await asyncio.to_thread(dead.kill)
            await at_work(survivor, takeovers=taken_over + 1)
            await load.rounds_more(load.width)
            stalls_s.append(time.monotonic() - begun)
            await asyncio.to_thread(killed.start)
            await load.rounds_more(load.width)
        proof = await prove(servers, load)
        assert survivor.is_running
        done = f"three brokers, replication 3, min.insync.replicas 2: {RESTARTED} restarted in "
        done += "order, then kill -9 of a leader of events and of a worker at once (time: until "
        done += "all lanes moved); `topics check` is content"
        record("a cluster under rolling restarts", done, RESTARTED + 1, proof, stalls_s)

    ask(servers, namespace, talk, 560)


def leader_of(admin: AdminClient, topic: str) -> int:
    return int(admin.list_topics(topic, timeout=20).topics[topic].partitions[0].leader)


def in_sync(admin: AdminClient, namespace: str, timeout_s: float = 120.0) -> None:
    """Wait until every replica of the namespace's topics is in sync, as one should in between."""
    deadline = time.monotonic() + timeout_s
    while True:
        topics = admin.list_topics(timeout=20).topics.items()
        behind = [
            f"{name}[{number}]"
            for name, topic in topics
            for number, partition in topic.partitions.items()
            if len(partition.isrs) < len(partition.replicas)
        ]
        if not behind:
            return
        assert time.monotonic() < deadline, f"not in sync: {behind}"
        time.sleep(0.2)
