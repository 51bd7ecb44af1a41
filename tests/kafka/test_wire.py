"""What strangers see: topics that the official Avro package reads, and commands from a console."""

from __future__ import annotations

import asyncio
import io
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from examples.orders import order_processing
from processor import Client, Settings, Worker, WorkflowAlreadyStarted, workflow
from processor.core.questions import ReadShard
from processor.data import data_dir
from processor.dev.kafka_jars import find_java, kafka_jars
from tests.kafka.talking import PATIENT
from tests.orders import ACTIVITIES, DONE, SCENARIOS, play

ROOT = Path(__file__).parent.parent.parent


def run(servers: str, namespace: str, folder: Path, talk: Any) -> Any:
    async def main() -> Any:
        worker = Worker(
            servers,
            namespace=namespace,
            workflows=[order_processing, alarms],
            activities=ACTIVITIES,
            create_topics=True,
            partitions=2,
            state_dir=folder,
            settings=Settings(turns_in_flight_max=1),
        )
        async with (
            worker,
            asyncio.timeout(90),
            Client(servers, namespace=namespace, settings=PATIENT) as client,
        ):
            return await talk(client)

    return asyncio.run(main())


@workflow.define
async def alarms() -> None:
    """Many timers at one moment: a shard that has room for one turn sends the others to itself."""
    await asyncio.gather(*(workflow.sleep(0.2) for _ in range(8)))


def schemas() -> dict[bytes, avro.schema.Schema]:
    """Every published schema by its fingerprint, as a stranger would compute it."""
    found = {}
    for path in data_dir("schemas").glob("published/*/*.avsc"):
        schema = fastavro.schema.load_schema(str(path))
        canonical = fastavro.schema.to_parsing_canonical_form(schema)
        fingerprint = fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")
        found[bytes.fromhex(fingerprint)] = avro.schema.parse(path.read_text())
    return found


def contents(servers: str, topic: str, partitions: int) -> list[bytes | None]:
    """Return all values of a topic, None where it is a tombstone."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "stranger"})
    records: list[bytes | None] = []
    try:
        for partition in range(partitions):
            place = TopicPartition(topic, partition, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([place])
            while end and consumer.position([place])[0].offset < end:
                message = consumer.poll(5)
                assert message is not None and message.error() is None
                records.append(message.value())
    finally:
        consumer.close()
    return records


def test_topics_are_read_with_the_official_avro_package(
    kafka_servers: str, namespace: str, admin: AdminClient, tmp_path: Path
) -> None:
    async def talk(client: Client) -> None:
        for scenario in SCENARIOS:
            await play(client, scenario, scenario.name)
        with pytest.raises(WorkflowAlreadyStarted):
            await client.start(alarms, id=SCENARIOS[0].name, reuse="reject")
        for partition in range(2):
            await client._calls.ask("", ReadShard(), partition=partition)  # it writes a mark
        await client.run(alarms)
        await asyncio.sleep(0.5)

    run(kafka_servers, namespace, tmp_path, talk)
    known = schemas()
    seen: Counter[str] = Counter()
    for topic in ("commands", "events", "timers"):
        for data in contents(kafka_servers, f"{namespace}.{topic}", 2):
            if data is None:
                seen[f"{topic}: tombstone"] += 1
                continue
            assert data[:2] == b"\xc3\x01", "Avro's single-object encoding"
            schema = known[data[2:10]]
            decoder = avro.io.BinaryDecoder(io.BytesIO(data[10:]))
            decoded = avro.io.DatumReader(schema, schema).read(decoder)
            assert isinstance(decoded, dict)
            seen[f"{topic}: {schema.name}"] += 1  # type: ignore[attr-defined]
    print(seen)
    assert seen["events: Turn"] > 45
    assert seen["events: AttemptRecord"] > 8
    assert seen["events: Answered"] == 1
    assert seen["events: Mark"] == 2
    assert seen["events: tombstone"] > 0, "of what the marks cover, and other records replaced"
    assert seen["events: Claim"] == 2
    assert seen["commands: ClientCommand"] > 12
    assert seen["timers: TimerDue"] > 5


@pytest.mark.timeout(120)
def test_started_from_kafkas_console_producer(
    kafka_servers: str, namespace: str, tmp_path: Path
) -> None:
    jars = kafka_jars()
    script = tmp_path / "kafka-console-producer.sh"
    tool = "org.apache.kafka.tools.ConsoleProducer"
    script.write_text(f'#!/bin/sh\nexec {find_java()} -cp "{jars}/*" {tool} "$@"\n')
    script.chmod(0o755)

    async def talk(client: Client) -> str:
        await asyncio.to_thread(
            subprocess.run,
            [str(ROOT / "examples/start_with_console.sh"), kafka_servers, "order-8", namespace],
            env={"KAFKA_CONSOLE_PRODUCER": str(script), "PATH": "/usr/bin:/bin"},
            check=True,
            timeout=60,
        )
        while not [run async for run in client.list()]:
            await asyncio.sleep(0.05)
        return str(await client.handle("order-8").result(30))

    assert run(kafka_servers, namespace, tmp_path / "state", talk) == DONE
