"""Connections on a broker: each record counts once and in order, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from processor import Client, connect
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.connecting.status import ConnectionUnknown, status_of
from processor.kafka.topics.dead_letters import DeadLetters
from tests.kafka.connections import (
    PARTITIONS,
    letters,
    make,
    noted,
    notes,
    numbered,
    produce,
    serving,
    until_noted,
    until_read,
)
from tests.kafka.evidence import record
from tests.kafka.harness import recreate
from tests.kafka.processes import StartWorker
from tests.kafka.talking import ask, first_answer
from tests.kafka.wallets import Ledger

KEYS = 6
KILLS = int(os.environ.get("CONNECT_KILLS", "4"))


class Connecting:
    """A process of ``processor connect``."""

    def __init__(self, servers: str, namespace: str, topic: str, folder: Path, slot: int) -> None:
        where = "--server", servers, "--namespace", namespace
        what = "--entity", "Ledger.note", "--key", "value.key", "--arg", "value.number"
        self._command = [sys.executable, "-m", "processor", "connect", topic, *what, *where]
        self.log_path = folder / f"connect-{slot}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None, "started before"
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        return self.process.wait(30)

    def pause(self, number: signal.Signals) -> None:
        assert self.process is not None, "started before"
        self.process.send_signal(number)


@pytest.fixture
def topic(made: str, admin: AdminClient) -> Iterator[str]:
    """A topic of the user's."""
    name = f"{made}-numbers"
    make(admin, name)
    yield name
    admin.delete_topics([name])


@pytest.mark.timeout(240)
def test_each_record_counts_once_and_in_order_while_processes_die(
    kafka_servers: str, made: str, topic: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Two processes share the topic; one is killed, or paused until another one has its place."""
    dice = random.Random(63)
    start_worker(kafka_servers, 0)
    both = [Connecting(kafka_servers, made, topic, tmp_path, slot) for slot in (0, 1)]
    for each in both:
        each.start()
    sent = dict.fromkeys((f"key-{number}" for number in range(KEYS)), 0)
    bad = 0

    def send_some() -> None:
        nonlocal bad
        values: list[tuple[str, bytes]] = []
        for key, count in sent.items():
            values += numbered(key, range(count, count + 20))
            sent[key] = count + 20
        values.insert(dice.randrange(len(values)), ("key-0", b"no JSON"))
        bad += 1
        produce(kafka_servers, topic, values)

    async def talk(client: Client) -> None:
        await first_answer(client)
        for kill in range(KILLS):
            victim = both[kill % 2]
            for _ in range(5):
                await asyncio.to_thread(send_some)
                await asyncio.sleep(dice.uniform(0.1, 0.5))
            if kill % 4 == 1:
                victim.pause(signal.SIGSTOP)
                await asyncio.sleep(8)  # its session ends, and the other one has all
                await asyncio.to_thread(send_some)
                victim.pause(signal.SIGCONT)
            else:
                await asyncio.to_thread(victim.end)
                await asyncio.sleep(dice.uniform(0, 2))
                victim.start()
        await asyncio.to_thread(send_some)
        for key, count in sent.items():
            await until_noted(client, key, range(count), 90)
        assert (await until_read(kafka_servers, made, topic)).processes >= 1

    try:
        ask(kafka_servers, made, talk, 220)
        buried = letters(kafka_servers, made, bad)
        assert len(buried) == len({(each.partition, each.offset) for each in buried}) == bad
        assert {each.topic for each in buried} == {topic}
        assert [each.end(signal.SIGTERM) for each in both] == [0, 0]
    finally:
        for each in both:
            if each.process is not None and each.process.poll() is None:
                each.end()
    held = (
        f"{sum(sent.values())} records of {KEYS} keys once and in order; {bad} dead letters, once"
    )
    record("connections", "kill -9, or a pause of 8 s, of one of two", KILLS, held)


def test_a_topic_is_waited_for_and_one_that_is_made_again_is_another_one(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = f"{made}-later"

    async def main() -> None:
        async with serving(kafka_servers, made, tmp_path, notes(topic)) as client:
            while f"topic {topic} does not exist, and is waited for: make it" not in caplog.text:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(make, admin, topic, 1)
            await asyncio.to_thread(produce, kafka_servers, topic, numbered("a", range(30)))
            await until_noted(client, "a", range(30))
            await until_read(kafka_servers, made, topic)
            await asyncio.to_thread(recreate, admin, topic, 1)
            # More than the old one had: the position in that one is no position in this one.
            await asyncio.to_thread(produce, kafka_servers, topic, numbered("b", range(50)))
            await until_noted(client, "b", range(50))
            for future in admin.create_partitions([NewPartitions(topic, 2)]).values():
                await asyncio.to_thread(future.result)
            await asyncio.to_thread(produce, kafka_servers, topic, numbered("c", range(9)), 1)
            await until_noted(client, "c", range(9))
            assert await noted(client, "a") == [*range(30)]
            status = await until_read(kafka_servers, made, topic)
            held = {(each.topic, each.partition): each.position for each in status.partitions}
            assert held[topic, 0] == 50 and held[topic, 1] == 9

    asyncio.run(main())


def test_a_group_that_begins_at_the_latest_record_misses_none_that_comes_later(
    kafka_servers: str, made: str, topic: str, admin: AdminClient, tmp_path: Path
) -> None:
    """Nor those of a partition that is added while nobody reads."""

    async def main() -> None:
        await asyncio.to_thread(produce, kafka_servers, topic, numbered("a", range(7)))
        connection = notes(topic, begin="latest", group="late")
        async with serving(kafka_servers, made, tmp_path, connection) as client:
            deadline = monotonic() + 30
            while monotonic() < deadline:
                with suppress(ConnectionUnknown):
                    settings = KafkaSettings(kafka_servers, made)
                    status = await asyncio.to_thread(status_of, settings, "late")
                    if len(status.partitions) == PARTITIONS + 1:
                        break
                await asyncio.sleep(0.1)
            await asyncio.to_thread(produce, kafka_servers, topic, numbered("b", range(7)))
            await until_noted(client, "b", range(7))
        for future in admin.create_partitions([NewPartitions(topic, PARTITIONS + 1)]).values():
            await asyncio.to_thread(future.result)
        await asyncio.to_thread(produce, kafka_servers, topic, numbered("c", range(7)), PARTITIONS)
        async with serving(kafka_servers, made, tmp_path, connection) as client:
            await until_noted(client, "c", range(7))
            assert await noted(client, "a") == []
            assert await noted(client, "b") == [*range(7)]

    asyncio.run(main())


def test_what_a_function_could_not_use_is_taken_by_its_connection_alone_once_it_is_replayed(
    kafka_servers: str, made: str, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = False
    seen: list[connect.Record[bytes]] = []

    @connect.define(topic, group="strict")
    def strict(record: connect.Record[bytes]) -> list[connect.SignalEntity]:
        number = int(record.value)
        if number == 1 and not fixed:
            raise LookupError("no such article")
        seen.append(record)
        return [connect.SignalEntity(Ledger.note, "strict", each) for each in (number, -number)]

    @connect.define(topic, group="other")
    def other(record: connect.Record[bytes]) -> connect.SignalEntity:
        return connect.SignalEntity("Ledger.note", "other", int(record.value))

    def replay() -> list[str]:
        found = DeadLetters(KafkaSettings(kafka_servers, made)).replay(lambda _: True)
        return [each.outcome for each in found]

    async def main() -> None:
        nonlocal fixed
        producer = Producer({"bootstrap.servers": kafka_servers})
        for number in (b"0", b"1", b"2"):
            headers: list[tuple[str, str | bytes | None]] = [("trace", b"t"), ("empty", None)]
            producer.produce(topic, number, b"key", 0, timestamp=1_234_567, headers=headers)
        assert producer.flush(20) == 0
        async with serving(kafka_servers, made, tmp_path, strict, other) as client:
            await until_noted(client, "strict", [0, 0, 2, -2])
            await until_noted(client, "other", [0, 1, 2])
            (letter,) = await asyncio.to_thread(letters, kafka_servers, made, 1)
            assert (letter.topic, letter.partition, letter.offset) == (topic, 0, 1)
            assert (letter.key, letter.value) == (b"key", b"1")
            assert letter.reason.startswith("connection 'strict': LookupError: no such article (")
            assert __file__ in letter.reason
            assert await asyncio.to_thread(replay) == ["replayed"]
            (again,) = (await asyncio.to_thread(letters, kafka_servers, made, 2))[1:]
            assert again == letter, "it is the letter of the same record, with the same reason"
            fixed = True
            assert await asyncio.to_thread(replay) == ["replayed before", "replayed"]
            await until_noted(client, "strict", [0, 0, 2, -2, 1, -1])
            await until_noted(client, "other", [0, 1, 2])
            assert await asyncio.to_thread(replay) == ["replayed before"] * 2

    asyncio.run(main())
    first, *_, last = seen
    assert (last.topic, last.partition, last.offset) == (topic, 0, 1)
    assert last.headers == first.headers == (("trace", b"t"), ("empty", None))
    assert last.timestamp == first.timestamp == datetime.fromtimestamp(1234.567, UTC)
    assert "It goes to" in caplog.text and "dead-letters replay" in caplog.text
