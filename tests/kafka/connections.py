"""How tests of connections talk: records into a topic, ledgers that note what came, and status."""

from __future__ import annotations

import asyncio
import faulthandler
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, TypedDict

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from processor import Client, ShardUnavailable, Worker, connect
from processor.codec.records import decode_as
from processor.core.records.effects import DeadLetter
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.connecting.status import ConnectionStatus, status_of
from tests.kafka.talking import committed, first_answer
from tests.kafka.wallets import Ledger

__all__ = (
    "PARTITIONS",
    "letters",
    "make",
    "noted",
    "notes",
    "numbered",
    "produce",
    "serving",
    "until_noted",
    "until_read",
)

PARTITIONS = 3


def make(admin: AdminClient, topic: str, partitions: int = PARTITIONS) -> None:
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result()


def produce(
    servers: str, topic: str, values: Sequence[tuple[str, bytes]], partition: int = -1
) -> None:
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
    for key, value in values:
        producer.produce(topic, value, key, partition)
    assert producer.flush(20) == 0


def numbered(key: str, numbers: Sequence[int]) -> list[tuple[str, bytes]]:
    return [(key, json.dumps({"key": key, "number": each}).encode()) for each in numbers]


async def noted(client: Client, key: str) -> list[int]:
    while True:
        try:
            found = await client.entity(Ledger, key).state()
            return [] if found is None else found.noted
        except ShardUnavailable:
            await asyncio.sleep(0.1)


async def until_noted(
    client: Client, key: str, numbers: Sequence[int], within_s: float = 60
) -> None:
    deadline = monotonic() + within_s
    while (found := await noted(client, key)) != [*numbers]:
        assert monotonic() < deadline, f"{key}: {found}, not {[*numbers]}"
        assert len(found) <= len(numbers), f"{key}: {found} came, not {[*numbers]}"
        await asyncio.sleep(0.1)


async def until_read(servers: str, namespace: str, group: str) -> ConnectionStatus:
    deadline = monotonic() + 60
    while True:
        status = await asyncio.to_thread(status_of, KafkaSettings(servers, namespace), group)
        if not sum(each.lag for each in status.partitions):
            return status
        if monotonic() >= deadline:
            faulthandler.dump_traceback()  # it runs in this process: where does its thread stand?
            raise AssertionError(status)
        await asyncio.sleep(0.2)


def letters(servers: str, namespace: str, count: int) -> list[DeadLetter]:
    found = committed(servers, f"{namespace}.dead-letters", count)
    return [decode_as(DeadLetter, each.value() or b"") for each in found if each.value()]


class Note(TypedDict):
    key: str
    number: int


def notes(topic: str, **how: Any) -> connect.Connection[Note]:
    """A connection to ledgers: what a number asks for is the same in each process."""

    @connect.define(topic, **how)
    def noting(record: connect.Record[Note]) -> connect.SignalEntity | None:
        note = record.value
        return connect.SignalEntity(Ledger.note, note["key"], note["number"])

    return noting


@asynccontextmanager
async def serving(
    servers: str, namespace: str, folder: Path, *connections: connect.Connection[Any]
) -> AsyncIterator[Client]:
    """A worker with connections, and a client."""
    how: dict[str, Any] = {"namespace": namespace}
    worker = Worker(
        servers,
        entities=[Ledger],
        connections=connections,
        state_dir=folder / "state",
        instance_id="one",
        **how,
    )
    async with asyncio.timeout(170), worker, Client(servers, **how) as client:
        await first_answer(client)
        yield client
