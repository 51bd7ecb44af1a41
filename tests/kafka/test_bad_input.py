"""Bad input stops nothing: it gets a clear error or a dead letter, and its neighbours end."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Awaitable
from threading import Event, Thread
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer

from examples.orders import order_processing
from processor import Client, PayloadTooLarge, ProcessorError
from processor.codec.records import decode_as, encode
from processor.core.attempts import STARTS_MAX
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun
from processor.core.records.effects import DeadLetter
from processor.kafka.clients.connection import partition_of
from tests.kafka.conftest import PARTITIONS
from tests.kafka.evidence import Evidence
from tests.kafka.poison import carries, misbehaves, spreads
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import (
    ask,
    dead_letters,
    first_answer,
    quick,
    until_finished,
)
from tests.orders import DONE

pytestmark = pytest.mark.timeout(300)

NEIGHBOURS = 40
KB = 1_000
TWO_WORKERS = tuple[WorkerProcess, WorkerProcess]


def poison_commands() -> list[tuple[int, bytes | None, bytes | None, str]]:
    """Return partition, key, value, and what the dead letter's reason has to say."""
    ours = next(f"p-{n}" for n in range(100) if partition_of(f"p-{n}", PARTITIONS) == 0)
    start = encode(ClientCommand(ours, StartRun("order_processing")))
    unknown_version = start[:2] + bytes(8) + start[10:]
    unnamed = encode(ClientCommand(ours, StartRun("nothing")))
    nobody = encode(ClientCommand(ours, RaiseEvent("paid")))
    key, event, deep = (
        ours.encode(),
        b'{"type":"event","name":"n"}',
        b"[" * 500_000 + b"]" * 500_000,
    )
    return [
        (0, key, b"\x00\x01\x02 not Avro", "not a command"),
        (0, key, b"", ""),
        (0, key, start[: len(start) // 2], ""),
        (0, key, unknown_version, ""),
        (0, key, b'{"type": "dance"}', "dance"),
        (0, key, os.urandom(1_900_000), ""),
        (0, b"another", start, "key"),
        (0, None, start, "key"),
        (1, key, start, "partition 0"),
        (0, key, None, "no value"),
        (0, key, unnamed, "WorkflowNotRegistered"),
        (0, key, nobody, "WorkflowNotFound"),
        (0, key, b'{"type":"event","name":"n","payload":' + deep + b"}", "not valid JSON"),
        (0, os.urandom(1_500_000), event, "is not UTF-8"),
        (0, b"\0" * 1_900_000, event, ""),
        (0, b64encode(os.urandom(900_000)), event, ""),
    ]


@pytest.mark.usefixtures("workers")
def test_poison_commands(kafka_servers: str, made: str, evidence: Evidence) -> None:
    """Each poison command, three times, in a stream of good ones."""
    producer = Producer({"bootstrap.servers": kafka_servers, "message.max.bytes": 2_000_000})
    buried: dict[tuple[int, int], str] = {}
    poison = poison_commands() * 3

    def produce(partition: int, key: bytes | None, value: bytes | None, why: str) -> None:
        def landed(error: KafkaError | None, message: Message) -> None:
            assert error is None
            buried[partition, message.offset() or 0] = why

        producer.produce(f"{made}.commands", value, key, partition, landed)
        assert producer.flush(10) == 0

    async def talk(client: Client) -> int:
        await first_answer(client)
        ended = 0
        for number, each in enumerate(poison):
            await asyncio.to_thread(produce, *each)
            ended += await client.run(order_processing, quick(1), id=f"good-{number}") == DONE
        return ended

    ended = ask(kafka_servers, made, talk)
    found = {}
    for value in dead_letters(kafka_servers, made, len(poison)):
        letter = decode_as(DeadLetter, value)
        assert letter.topic == "commands"
        found[letter.partition, letter.offset] = letter.reason
    assert found.keys() == buried.keys()
    for place, why in buried.items():
        assert found[place] and why in found[place], (place, why, found[place])
    evidence.note(
        "commands not Avro, cut, of an unknown version, huge, without value, key or workflow",
        len(poison),
        "each in dead-letters with its reason and offset; the good ones between them end",
        succeeded=ended,
        asked=len(poison),
    )


def test_poison_activities(
    kafka_servers: str, made: str, workers: TWO_WORKERS, evidence: Evidence
) -> None:
    """Each in a crowd of orders. Workers that die are started again, as by any supervisor.

    Those that end their workers come last: they would cost the others their attempts.
    """
    done = Event()
    deaths = 0

    def supervise() -> None:
        nonlocal deaths
        while not done.wait(0.1):
            for worker in workers:
                if not worker.is_running:
                    deaths += 1
                    worker.start()

    async def talk(client: Client) -> tuple[list[str], list[Any]]:
        await first_answer(client)

        async def crowd(first: int, *bad: Awaitable[str]) -> tuple[list[str], list[Any]]:
            orders = (
                client.run(order_processing, quick(n, follow_up_s=1.0), id=f"o-{n}")
                for n in range(first, first + NEIGHBOURS // 2)
            )
            return await asyncio.gather(
                asyncio.gather(*bad), asyncio.gather(*orders, return_exceptions=True)
            )

        said, ended = await crowd(
            0,
            client.run(misbehaves, "never_returns"),
            client.run(misbehaves, "loops_in_a_thread"),
            client.run(misbehaves, "holds_the_event_loop"),
            client.run(misbehaves, "returns_an_object"),
            client.run(misbehaves, "returns", 20_000 * KB),
        )
        said_of_dead, ended_beside = await crowd(
            NEIGHBOURS // 2,
            client.run(misbehaves, "ends_its_worker", id="ends-eager"),
            client.run(misbehaves, "ends_its_worker", 0, True, id="ends-queued"),
        )
        await asyncio.to_thread(until_finished, kafka_servers, f"{made}.activities.default")
        return said + said_of_dead, ended + ended_beside

    supervisor = Thread(target=supervise)
    supervisor.start()
    try:
        said, ended = ask(kafka_servers, made, talk, 200)
    finally:
        done.set()
        supervisor.join()
    print(said, deaths)
    expected = (
        ("ActivityTimedOut", "start-to-close time-out"),
        ("ActivityTimedOut", "start-to-close time-out"),
        ("ActivityFailed", "held it"),
        ("SchemaMismatch", "a value of type object cannot become JSON"),
        ("PayloadTooLarge", "20,000,002 bytes; the limit is 1,000,000"),
        ("ActivityTimedOut", "attempt 2 was lost with the process that ran it"),
        ("ActivityTimedOut", f"was started {STARTS_MAX} times in attempt 1 and never ended"),
    )
    for text, words in zip(said, expected, strict=True):
        assert all(word in text for word in words), (text, words)
    # One death may end both; a first start may be lost with the worker before it is reported.
    assert STARTS_MAX <= deaths <= STARTS_MAX + 1 + 2
    evidence.note(
        "activities that end their worker, never return, hold the interpreter or the event loop, "
        "return what cannot be encoded, or 20 MB",
        deaths,
        "each ends as an error of its own; workers died so often and then no more, and the orders "
        "beside them ended",
        succeeded=ended.count(DONE),
        asked=len(ended),
    )


@pytest.mark.usefixtures("workers")
def test_payload_sizes(kafka_servers: str, made: str, evidence: Evidence) -> None:
    """900 KB passes everywhere; 1.1 MB and 20 MB are refused where they are given."""

    async def talk(client: Client) -> int:
        await first_answer(client)
        fits, too_large = "x" * 900 * KB, ("x" * 1_100 * KB, "x" * 20_000 * KB)
        asked = 0
        for number in range(3):
            handle = await client.start(carries, fits, 900 * KB, id=f"fits-{number}")
            for value in too_large:
                with pytest.raises(PayloadTooLarge, match="the limit is 1,000,000"):
                    await handle.raise_event("more", value)
                with pytest.raises(PayloadTooLarge, match="the limit is 1,000,000"):
                    await client.start(carries, value, 1)
            await handle.raise_event("more", fits)
            assert len(await handle.result(120)) == 900 * KB
            asked += 1
        for size in (1_100 * KB, 20_000 * KB):
            handle = await client.start(carries, "x", size)
            await handle.raise_event("more", "x")
            with pytest.raises(ProcessorError) as failed:
                await handle.result(120)
            assert "the limit is 1,000,000" in f"{failed.value} {failed.value.__cause__}"
            said = await client.run(misbehaves, "returns", size)
            assert said.startswith("PayloadTooLarge") and "the limit is 1,000,000" in said
            said = await client.run(spreads, 1, size)
            assert "the limit is 1,000,000" in said
            asked += 3
        said = await client.run(spreads, 20, 900 * KB)
        assert "one turn cannot ask for 17 things" in said and "15,000,000" in said
        assert await client.run(spreads, 16, 900 * KB) == str(16 * 900 * KB)
        assert await client.run(order_processing, quick(1), id="fine") == DONE
        return asked + 3

    asked = ask(kafka_servers, made, talk)
    evidence.note(
        "900 KB, 1.1 MB and 20 MB as argument, event, result; a fan-out of 18 MB in one turn",
        asked,
        "900 KB passes; more is PayloadTooLarge at who gave it; the shard goes on",
        succeeded=asked,
        asked=asked,
    )
