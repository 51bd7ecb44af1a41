"""Compaction at its worst: tiny segments that are cleaned at once, under load and takeovers."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from examples.consume_results import results
from examples.orders import order_processing
from processor import Client
from processor.codec.records import decode, encode
from processor.core.records.turn import Turn, turn_key
from processor.dev.local_broker import BrokerUnavailable, LocalBroker
from processor.kafka.topics.upkeep import apply, connect, plan
from tests.kafka.conftest import PARTITIONS
from tests.kafka.evidence import Evidence
from tests.kafka.harness import set_config, until
from tests.kafka.own_broker import short_lived
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer, quick
from tests.orders import DONE

pytestmark = pytest.mark.timeout(300)

NAMESPACE = "compacted"
EAGER = {
    "segment.bytes": "1048576",  # the smallest that Kafka takes
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1000",
    "delete.retention.ms": "1000",
}
ROUNDS = int(os.environ.get("COMPACTION_ROUNDS", "3"))
"""A kill -9 of one of the two workers, in turn, each."""

ORDERS = 40
GHOSTS = 10
"""Turns of an earlier owner, for each partition and round."""


@pytest.fixture(scope="module")
def eager_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker whose cleaner hardly rests."""
    cleaner = {
        "log.cleaner.backoff.ms": "200",
        "log.cleaner.delete.retention.ms": "1000",
        "log.segment.delete.delay.ms": "1000",
    }
    broker = LocalBroker(tmp_path_factory.mktemp("eager"), overrides=cleaner)
    try:
        with short_lived():
            broker.start()
    except BrokerUnavailable as error:
        pytest.skip(f"a cleaner can be set up on a local broker only: {error}")
    yield broker
    broker.kill()


@pytest.fixture
def namespace_of(eager_broker: LocalBroker) -> str:
    admin = connect(eager_broker.bootstrap_servers)
    name = f"{NAMESPACE}-{time.monotonic_ns()}"
    apply(admin, plan(admin, name, PARTITIONS, 1))
    compact_eagerly(admin, f"{name}.events")
    return name


def compact_eagerly(admin: AdminClient, topic: str) -> None:
    for name, value in EAGER.items():
        set_config(admin, topic, name, value)


class Log:
    """``events`` as it is now: what is kept of it."""

    def __init__(self, servers: str, topic: str) -> None:
        self._servers, self._topic = servers, topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "looks",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
            }
        )

    def written(self) -> int:
        """Return how many records were ever written."""
        places = (TopicPartition(self._topic, partition) for partition in range(PARTITIONS))
        return sum(self._consumer.get_watermark_offsets(place)[1] for place in places)

    def kept(self) -> list[tuple[int, bytes, bytes | None]]:
        """Return what is kept of each partition: its number, keys and values."""
        found = []
        for partition in range(PARTITIONS):
            self._consumer.assign([TopicPartition(self._topic, partition, 0)])
            while (message := self._consumer.poll(10)) is not None and message.error() is None:
                found.append((partition, message.key() or b"", message.value()))
        return found

    def haunt(self) -> int:
        """Write turns as an earlier owner would that does not know it is one: other content.

        Returns how many. The owner finds them in the gaps of its offsets and deletes them.
        """
        producer = Producer({"bootstrap.servers": self._servers})
        left = dict.fromkeys(range(PARTITIONS), GHOSTS)
        written = 0
        for partition, _, value in self.kept():
            turn = decode(value) if value else None
            if isinstance(turn, Turn) and turn.events and left[partition]:
                left[partition] -= 1
                ghost = replace(turn, epoch=turn.epoch - 1, events=turn.events[:1])
                key = turn_key(ghost.run_id, ghost.first, ghost.epoch)
                producer.produce(self._topic, encode(ghost), key, partition)
                written += 1
        assert producer.flush(10) == 0
        return written

    def close(self) -> None:
        self._consumer.close()


async def seen(client: Client) -> dict[str, Any]:
    found = {}
    await first_answer(client)
    async for run in client.list():
        history = await client.handle(run.workflow_id).history()
        found[run.workflow_id] = (run.run_id, run.status, [(e.type, e.fields) for e in history])
    return found


def test_eager_compaction(
    eager_broker: LocalBroker, namespace_of: str, tmp_path: Path, evidence: Evidence
) -> None:
    """Workers are killed under load while the log is compacted behind them; nothing is lost.

    In the end both state directories are deleted, and what is left of the log gives the same runs.
    """
    servers = eager_broker.bootstrap_servers
    workers = [WorkerProcess(servers, namespace_of, tmp_path, slot) for slot in (0, 1)]
    ended: list[str] = []
    asked: list[str] = []
    ghosts = 0

    async def one(client: Client, id: str) -> None:
        asked.append(id)
        order = quick(1, follow_up_s=0.0, payment_failures=1)
        handle = await client.start(order_processing, order, id=id, timeout=60)
        assert await handle.result(90) == DONE
        ended.append(id)

    async def load(client: Client) -> dict[str, Any]:
        nonlocal ghosts
        await first_answer(client)
        for round in range(ROUNDS):
            victim = workers[round % 2]
            orders = [one(client, f"order-{round}-{number}") for number in range(ORDERS)]
            running = asyncio.gather(*orders)
            await asyncio.sleep(0.2)
            victim.kill()
            victim.start()
            await running
            await asyncio.sleep(1.1)  # the segment is old enough to be closed by the next record
            ghosts += await asyncio.to_thread(log.haunt)
            last = [one(client, f"order-{round}-after-{number}") for number in range(8)]
            await asyncio.gather(*last)
        return await seen(client)

    log = Log(servers, f"{namespace_of}.events")
    try:
        for worker in workers:
            worker.start()
        before = ask(servers, namespace_of, load, 150)

        until(lambda: len(log.kept()) <= log.written() - ghosts, "the cleaner", 30)
        for worker in workers:
            worker.kill()
            shutil.rmtree(worker.state_dir)
            worker.start()
        assert ask(servers, namespace_of, seen) == before
        written, kept = log.written(), len(log.kept())
    finally:
        log.close()
        for worker in workers:
            worker.end()
    published = [result["workflow_id"] for result in results(servers, namespace_of, 3.0)]
    assert sorted(published) == sorted(ended), "each result is published exactly once"
    evidence.note(
        f"cleaned under load, with kill -9 and {ghosts} turns of earlier owners: {kept} of "
        f"{written} records kept",
        ROUNDS,
        f"{len(before)} runs with their histories, from empty state directories as well",
        succeeded=len(ended),
        asked=len(asked),
    )


def test_a_store_older_than_the_tombstones(
    eager_broker: LocalBroker, namespace_of: str, tmp_path: Path, evidence: Evidence
) -> None:
    """It is rebuilt and not resumed if others wrote meanwhile; a younger one is resumed."""
    servers = eager_broker.bootstrap_servers
    worker = WorkerProcess(servers, namespace_of, tmp_path, 0)
    other = WorkerProcess(servers, namespace_of, tmp_path, 1)
    admin = connect(servers)

    async def work(client: Client) -> None:
        await first_answer(client)
        orders = (client.run(order_processing, quick(n), id=f"o-{n}") for n in range(20))
        assert await asyncio.gather(*orders) == [DONE] * 20

    try:
        worker.start()
        ask(servers, namespace_of, work)
        before = ask(servers, namespace_of, seen)
        worker.kill()
        other.start()
        assert ask(servers, namespace_of, seen) == before
        other.kill()
        time.sleep(1.1)  # longer than delete.retention.ms
        worker.start()
        assert ask(servers, namespace_of, seen) == before
        assert worker.log.count("keeps tombstones for 0.0 hours") == PARTITIONS
        set_config(admin, f"{namespace_of}.events", "delete.retention.ms", "604800000")
        worker.kill()
        worker.start()
        assert ask(servers, namespace_of, seen) == before
        assert worker.log.count("rebuilding it from the log") == PARTITIONS
    finally:
        worker.end()
        other.end()
    evidence.note(
        "a store away for longer than delete.retention.ms",
        PARTITIONS,
        "wiped and rebuilt, the runs are the same; a younger one was resumed",
        succeeded=len(before),
        asked=20,
    )
