"""Connections that are given hostile records, and functions that do what no function should."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from struct import Struct

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from crc32c import crc32c

from processor import Client, Worker, connect
from processor.codec.records import encode
from processor.codec.varint import varint
from processor.core.records.effects import DeadLetter
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.topics.dead_letters import DeadLetters
from processor.kafka.wire import places
from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import Security
from tests.kafka.connections import (
    Note,
    letters,
    make,
    notes,
    numbered,
    produce,
    serving,
    until_noted,
    until_read,
)
from tests.kafka.talking import PATIENT, first_answer
from tests.kafka.wallets import Ledger
from tests.wire.sent import Sent

ODD_HEADERS = b"\x02\x04\xff\xfe\x02v"
"""One header, as a record has it: a name of two bytes that are not UTF-8, and a value."""


def odd_batch(
    records: Sequence[Outgoing], time_ms: int, producer_id: int, epoch: int, sequence: int
) -> bytes:
    """A batch of one record with a header that no Python client writes."""
    ((_, _, key, value, _),) = records
    parts = [b"\0\0\0"]
    for each in (key or b"", value or b""):
        parts += (varint(len(each)), each)
    fields = b"".join((*parts, ODD_HEADERS))
    body = Struct(">hiqqqhii").pack(0, 0, time_ms, time_ms, producer_id, epoch, sequence, 1)
    body += varint(len(fields)) + fields
    return Struct(">qiibI").pack(0, 9 + len(body), -1, 2, crc32c(body)) + body


def produce_odd(servers: str, topic: str, value: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "record_batch", odd_batch)
        producer = WireProducer(servers, Security(), "a test")
        sent = Sent(producer)
        sent.send(0, value, topic=topic)
        sent.wait()
        producer.close()
        assert isinstance(sent.outcomes[value], int)


def test_a_header_whose_name_is_no_text_ends_no_process(
    kafka_servers: str, made: str, admin: AdminClient, tmp_path: Path
) -> None:
    """Asked for a second time, the client library has no objects for such names, and crashes."""
    topic = f"{made}-numbers"
    make(admin, topic, 1)
    produce(kafka_servers, topic, numbered("a", range(50)))
    ((_, odd),) = numbered("a", [50])
    produce_odd(kafka_servers, topic, odd)
    produce(kafka_servers, topic, numbered("a", [51]))
    produce_odd(kafka_servers, f"{made}.dead-letters", encode(DeadLetter("x", 0, 0, b"", b"", "")))

    def replay() -> list[str]:
        kept = DeadLetters(KafkaSettings(kafka_servers, made))
        assert [each.why_not for each in kept.read()] == ["it is no dead letter", ""]
        return [each.outcome for each in kept.replay(lambda each: not each.why_not)]

    async def main() -> None:
        async with serving(kafka_servers, made, tmp_path, notes(topic)) as client:
            await until_noted(client, "a", [*range(50), 51])
            await until_read(kafka_servers, made, topic)
            letter = (await asyncio.to_thread(letters, kafka_servers, made, 2))[1]
            assert (letter.topic, letter.offset, letter.value) == (topic, 50, odd)
            assert "a header has a name that is not UTF-8" in letter.reason
            assert await asyncio.to_thread(replay) == ["replayed"]
            await until_noted(client, "a", [*range(50), 51, 50])

    asyncio.run(main())


def test_a_function_that_ends_the_process_buries_its_record_alone(
    kafka_servers: str, made: str, admin: AdminClient, tmp_path: Path
) -> None:
    topic = f"{made}-numbers"
    make(admin, topic, 1)

    @connect.define(topic)
    def ending(record: connect.Record[Note]) -> connect.SignalEntity:
        if record.value["number"] == 1:
            sys.exit("a script, once")
        if record.value["number"] == 2:
            raise asyncio.CancelledError
        return connect.SignalEntity(Ledger.note, record.value["key"], record.value["number"])

    async def main() -> None:
        async with serving(kafka_servers, made, tmp_path, ending) as client:
            await asyncio.to_thread(produce, kafka_servers, topic, numbered("a", range(4)))
            await until_noted(client, "a", [0, 3])

    asyncio.run(main())
    exits, cancels = letters(kafka_servers, made, 2)
    assert f"connection {topic!r}: SystemExit: a script, once ({__file__}:" in exits.reason
    assert "CancelledError" in cancels.reason


def test_records_of_aborted_transactions_are_not_read(
    kafka_servers: str, made: str, admin: AdminClient, tmp_path: Path
) -> None:
    topic = f"{made}-numbers"
    make(admin, topic, 1)
    producer = Producer({"bootstrap.servers": kafka_servers, "transactional.id": topic})
    producer.init_transactions(20)
    for index, end in enumerate(
        (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)
    ):
        producer.begin_transaction()
        for key, value in numbered("a", range(10 * index, 10 * index + 10)):
            producer.produce(topic, value, key)
        assert producer.flush(20) == 0
        end(20)

    async def main() -> None:
        async with serving(kafka_servers, made, tmp_path, notes(topic)) as client:
            await until_noted(client, "a", [*range(10), *range(20, 30)])

    asyncio.run(main())


@pytest.mark.timeout(150)
def test_a_function_that_is_slow_comes_to_an_end(
    kafka_servers: str, made: str, admin: AdminClient, tmp_path: Path
) -> None:
    """All that waits takes it twice as long as the group waits for a member to poll."""
    topic = f"{made}-numbers"
    make(admin, topic, 1)
    produce(kafka_servers, topic, numbered("a", range(120)))
    asked: list[int] = []

    @connect.define(topic)
    def slow(record: connect.Record[Note]) -> connect.SignalEntity:
        time.sleep(0.1)
        asked.append(record.value["number"])
        return connect.SignalEntity(Ledger.note, record.value["key"], record.value["number"])

    async def main() -> None:
        async with asyncio.timeout(100):
            async with Worker(
                kafka_servers,
                namespace=made,
                entities=[Ledger],
                connections=[slow],
                state_dir=tmp_path / "state",
                kafka={"max.poll.interval.ms": "6000", "session.timeout.ms": "6000"},
            ):
                async with Client(kafka_servers, namespace=made, settings=PATIENT) as client:
                    await first_answer(client)
                    await until_noted(client, "a", range(120))
                    await until_read(kafka_servers, made, topic)

    asyncio.run(main())
    assert asked == [*range(120)], "none was asked about again"
