"""Connections whose broker dies, whose letters are refused, or whose shards lag."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from processor import Client, Worker
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.connecting import headroom, source
from processor.kafka.connecting.status import ConnectionUnknown, status_of
from processor.kafka.topics.dead_letters import DeadLetters
from processor.kafka.topics.upkeep import connect
from tests.kafka.connections import (
    letters,
    make,
    notes,
    numbered,
    produce,
    serving,
    until_noted,
    until_read,
)
from tests.kafka.harness import delete_below, set_config
from tests.kafka.own_broker import OwnBroker, prepare
from tests.kafka.talking import PATIENT, committed, first_answer
from tests.kafka.wallets import Ledger


@pytest.mark.timeout(200)
def test_a_broker_that_dies_is_waited_for(
    breakable: OwnBroker, namespace: str, tmp_path: Path
) -> None:
    prepare(breakable.servers, namespace)
    topic = f"{namespace}-numbers"
    make(connect(breakable.servers), topic)

    async def main() -> None:
        async with serving(breakable.servers, namespace, tmp_path, notes(topic)) as client:
            for round in range(2):
                some = range(100 * round, 100 * round + 100)
                await asyncio.to_thread(produce, breakable.servers, topic, numbered("a", some))
                await asyncio.to_thread(produce, breakable.servers, topic, [("a", b"no JSON")])
                await asyncio.to_thread(breakable.broker.kill)
                await asyncio.sleep(2)
                await asyncio.to_thread(breakable.broker.start)
            await until_noted(client, "a", range(200))
            await until_read(breakable.servers, namespace, topic)

    asyncio.run(main())
    assert len(letters(breakable.servers, namespace, 2)) == 2


def test_a_letter_that_its_topic_refuses_is_cut_and_written_once(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = f"{made}-numbers"
    make(admin, topic, 1)
    values = [
        *numbered("a", range(3)),
        ("a", random.Random(1).randbytes(900_000)),
        *numbered("a", range(3, 6)),
    ]

    async def main() -> None:
        async with serving(kafka_servers, made, tmp_path, notes(topic)) as client:
            name = f"{made}.dead-letters"
            await asyncio.to_thread(set_config, admin, name, "max.message.bytes", "200000")
            await asyncio.to_thread(produce, kafka_servers, topic, values)
            await until_noted(client, "a", range(6))
            await until_read(kafka_servers, made, topic)

    asyncio.run(main())
    (letter,) = letters(kafka_servers, made, 1)
    assert (letter.topic, letter.offset) == (topic, 3)
    assert "of 900,000 bytes are here" in letter.reason
    assert "max.message.bytes" in caplog.text and "MSG_SIZE_TOO_LARGE" in caplog.text
    (kept,) = DeadLetters(KafkaSettings(kafka_servers, made)).read()
    assert kept.why_not == "the letter has only a part of the record"


def test_shards_that_nobody_has_are_waited_for(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = f"{made}-numbers"
    make(admin, topic, 1)
    monkeypatch.setattr(headroom, "BACKLOG_MAX", 60)
    monkeypatch.setattr(source, "BATCH_MAX", 5)

    async def main() -> None:
        await asyncio.to_thread(produce, kafka_servers, topic, numbered("a", range(150)))
        alone = Worker(
            kafka_servers, namespace=made, connections=[notes(topic)], shards=False, queues=[]
        )
        async with asyncio.timeout(150), alone:
            while "that it has not read" not in caplog.text:
                await asyncio.sleep(0.05)
            await asyncio.sleep(1)
            sent = await asyncio.to_thread(committed, kafka_servers, f"{made}.commands", 60)
            assert 60 <= len(sent) <= 65
            async with Worker(
                kafka_servers,
                namespace=made,
                entities=[Ledger],
                state_dir=tmp_path / "state",
                instance_id="one",
            ):
                async with Client(kafka_servers, namespace=made, settings=PATIENT) as client:
                    await first_answer(client)
                    await until_noted(client, "a", range(150), 100)

    asyncio.run(main())
    assert (
        f"in {made}.commands that it has not read, or nobody has it. Start workers" in caplog.text
    )


def test_records_that_are_deleted_before_they_are_read_are_said(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = f"{made}-numbers"
    make(admin, topic, 1)

    async def main() -> None:
        await asyncio.to_thread(produce, kafka_servers, topic, numbered("a", range(10)))
        async with serving(kafka_servers, made, tmp_path, notes(topic)) as client:
            await until_noted(client, "a", range(10))
            await until_read(kafka_servers, made, topic)
        await asyncio.to_thread(produce, kafka_servers, topic, numbered("a", range(10, 20)))
        await asyncio.to_thread(delete_below, admin, topic, 0, 15)
        async with serving(kafka_servers, made, tmp_path, notes(topic)) as client:
            await until_noted(client, "a", [*range(10), *range(15, 20)])

    begun = monotonic()
    asyncio.run(main())
    assert monotonic() - begun < 100
    assert "holds offsets 15 to 20, and 10 is read next: records were deleted" in caplog.text


def test_a_position_of_another_topic_is_none_and_one_without_an_id_was_set_by_hand(
    kafka_servers: str, made: str, admin: AdminClient, tmp_path: Path
) -> None:
    topics = {"other": f"{made}-other", "by hand": f"{made}-by-hand"}
    for metadata, (key, topic) in zip(("an-id-of-before", ""), topics.items(), strict=True):
        make(admin, topic, 1)
        produce(kafka_servers, topic, numbered(key, range(10)))
        group = {"bootstrap.servers": kafka_servers, "group.id": f"{made}.connect.{topic}"}
        reader = Consumer(group)
        place = TopicPartition(topic, 0, 6, metadata=metadata)
        reader.commit(offsets=[place], asynchronous=False)
        reader.close()

    async def main() -> None:
        connections = [notes(topic) for topic in topics.values()]
        async with serving(kafka_servers, made, tmp_path, *connections) as client:
            await until_noted(client, "other", range(10))
            await until_noted(client, "by hand", range(6, 10))

    asyncio.run(main())


def test_the_first_of_a_group_says_where_all_partitions_begin(
    kafka_servers: str, made: str, admin: AdminClient, tmp_path: Path
) -> None:
    """Else another one that is just beginning would take those of its own for later ones."""
    topic = f"{made}-numbers"
    make(admin, topic)
    produce(kafka_servers, topic, numbered("a", range(9)), 0)
    group = {
        "bootstrap.servers": kafka_servers,
        "group.id": f"{made}.connect.{topic}",
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
    }
    silent = Consumer(group)
    silent.subscribe([topic])

    async def main() -> None:
        async def poll() -> None:
            while True:
                await asyncio.to_thread(silent.poll, 0.1)

        polling = asyncio.ensure_future(poll())
        while not silent.assignment():
            await asyncio.sleep(0.05)
        async with serving(kafka_servers, made, tmp_path, notes(topic, begin="latest")):
            settings, own, begun = KafkaSettings(kafka_servers, made), 3, 0
            while own == 3 or begun < 3:
                own = len(silent.assignment())
                with suppress(ConnectionUnknown):
                    found = await asyncio.to_thread(status_of, settings, topic)
                    begun = len([each for each in found.partitions if each.topic == topic])
                await asyncio.sleep(0.1)
            assert 0 < own < 3, "the other member still has partitions, and committed nothing"
        polling.cancel()

    asyncio.run(main())
    silent.close()
