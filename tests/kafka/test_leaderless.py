"""A topic of a user's whose partition has no leader: it is waited for, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from processor import Client, Settings, Worker, workflow
from processor.client import RunDescription
from processor.codec.records import decode_as
from processor.core.records.effects import DeadLetter, RunResult
from processor.dev.local_broker import LocalCluster
from processor.kafka.topics.upkeep import apply, connect, plan
from processor.node.publishing import undeliverable
from tests.kafka.conftest import PARTITIONS
from tests.kafka.harness import until
from tests.kafka.own_broker import REPLICAS, own_cluster
from tests.kafka.talking import committed

PATIENT_S, SHORT_S = 100.0, 5.0
"""A broker that starts again may take half a minute beside a busy machine's other work."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with own_cluster(tmp_path / "cluster") as running:
        yield running


@workflow.define
async def publishes(topics: list[str]) -> str:
    for topic in topics:
        workflow.publish(topic, "k", workflow.info().workflow_id)
    return "done"


class Topics:
    """``lost`` is on the last broker alone, ``kept`` on all."""

    def __init__(self, cluster: LocalCluster, namespace: str) -> None:
        self.servers = cluster.bootstrap_servers
        self.admin: AdminClient = connect(self.servers)
        self.namespace = namespace
        self.lost, self.kept = f"{namespace}-lost", f"{namespace}-kept"
        apply(self.admin, plan(self.admin, namespace, PARTITIONS, REPLICAS))
        last = cluster.brokers[-1].node_id
        topics = [NewTopic(self.lost, 1, replica_assignment=[[last]])]
        topics.append(NewTopic(self.kept, 1, REPLICAS))
        for future in self.admin.create_topics(topics).values():
            future.result()
        until(lambda: self.leader() == last, "both topics")

    def leader(self) -> int:
        found = self.admin.list_topics(self.lost, timeout=20).topics[self.lost].partitions
        return found[0].leader if found else -1

    def values(self, topic: str, count: int) -> list[bytes]:
        return [message.value() or b"" for message in self.records(topic, count)]

    def records(self, topic: str, count: int) -> list[Message]:
        return committed(self.servers, topic, count)

    def results(self, count: int) -> set[str]:
        found = self.records(f"{self.namespace}.results", count)
        return {decode_as(RunResult, message.value() or b"").workflow_id for message in found}

    def letters(self, count: int) -> list[DeadLetter]:
        found = self.records(f"{self.namespace}.dead-letters", count)
        return [decode_as(DeadLetter, message.value() or b"") for message in found]

    def bury_something(self) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for partition in range(PARTITIONS):
            producer.produce(f"{self.namespace}.commands", b"junk", b"k", partition)
        assert producer.flush(20) == 0


@pytest.mark.timeout(300)
def test_a_topic_without_a_leader_is_waited_for_and_holds_nobody_up(
    cluster: LocalCluster,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(undeliverable, "_LEADER_S", PATIENT_S)
    topics, last = Topics(cluster, namespace), cluster.brokers[-1]

    async def runs(client: Client, id: str, *names: str) -> None:
        assert await client.run(publishes, list(names), id=id) == "done"

    async def described(client: Client, id: str, count: int = 0) -> RunDescription:
        async with asyncio.timeout(60):
            while True:
                run = await client.handle(id).describe()
                if run.undelivered is not None and run.undelivered["count"] >= count:
                    return run
                await asyncio.sleep(0.2)

    async def talk() -> None:
        worker = Worker(
            topics.servers,
            namespace=namespace,
            workflows=[publishes],
            state_dir=tmp_path / "worker",
        )
        patient = Settings(request_timeout_s=60)  # what brokers and workers do is looked at here
        client = Client(topics.servers, namespace=namespace, settings=patient)
        async with worker, client:
            await runs(client, "first", topics.lost, topics.kept)
            assert await asyncio.to_thread(topics.values, topics.lost, 1) == [b'"first"']

            await asyncio.to_thread(last.kill)
            await asyncio.to_thread(until, lambda: topics.leader() < 0, "no leader", 60.0)
            await runs(client, "short", topics.lost, topics.kept)
            run = await described(client, "short")
            assert run.undelivered is not None and run.undelivered["count"] == 0
            assert f"a record for topic {topics.lost!r} waits" in run.undelivered["reasons"][0]
            await asyncio.to_thread(last.start)
            assert await asyncio.to_thread(topics.values, topics.lost, 2) == [
                b'"first"',
                b'"short"',
            ]
            assert (await client.handle("short").describe()).undelivered is None

            monkeypatch.setattr(undeliverable, "_LEADER_S", SHORT_S)
            await asyncio.to_thread(last.kill)
            await asyncio.to_thread(until, lambda: topics.leader() < 0, "no leader", 60.0)
            await runs(client, "lost", topics.lost, topics.kept)
            await runs(client, "other", topics.kept)
            await asyncio.to_thread(topics.bury_something)
            found = await asyncio.to_thread(topics.letters, PARTITIONS)
            assert [each.value for each in found] == [b"junk"] * PARTITIONS
            run = await described(client, "lost", 1)
            assert run.undelivered is not None and run.undelivered["count"] == 1
            assert topics.lost in run.undelivered["reasons"][0]
            assert await asyncio.to_thread(topics.results, 4) == {"first", "short", "lost", "other"}
            assert len(await asyncio.to_thread(topics.values, topics.kept, 4)) == 4
            *_, letter = await asyncio.to_thread(topics.letters, PARTITIONS + 1)
            assert (letter.topic, letter.value) == (topics.lost, b'"lost"')

            await runs(client, "next", topics.lost, topics.kept)
            assert await asyncio.to_thread(topics.results, 5) >= {"next"}
            await asyncio.to_thread(last.start)
            await asyncio.to_thread(until, lambda: topics.leader() > 0, "a leader", 60.0)
            number = 0
            while len(await asyncio.to_thread(topics.values, topics.lost, 2)) == 2:
                number += 1
                await runs(client, f"again-{number}", topics.lost)
                await asyncio.sleep(1.0)

    asyncio.run(asyncio.wait_for(talk(), 280))
    assert "a partition has no leader" in caplog.text
