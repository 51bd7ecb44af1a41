"""Workers whose clocks are an hour apart. What a user can rely on:

- A timer fires once, when the clock of the process that owns its shard passes the due time, which
  was set by the clock of the owner at that time. As long as a shard stays where it is, a wrong
  clock does no harm: every wait takes as long as it should.
- A wait during which the shard moves to another process is off by the difference of the two
  clocks at the most: it ends early where the new clock is ahead, late where it is behind.
- Time within a run never goes back. After a move to a clock that is behind, it stands still until
  that clock has caught up, and the next wait is late by what was left.
- Nothing is lost, and nothing happens twice.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from processor import Client, Handle
from processor.kafka.topics.specs import expand
from processor.kafka.topics.upkeep import apply, connect, plan
from tests.kafka.evidence import record
from tests.kafka.probes import sleeps
from tests.kafka.processes import StartWorker
from tests.kafka.talking import ask, committed, first_answer

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S
AHEAD = f"--clock-ms={int(HOUR_S * 1000)}"
PARTITIONS = 2
SHORT_S = 0.5
LATE_S = 5.0
"""What a loaded machine may add to a wait."""


def test_a_wrong_clock_keeps_nobody_from_writing(kafka_servers: str, namespace: str) -> None:
    """Kafka refuses a sender's own time from an hour ahead on, and expires records by it."""
    admin = connect(kafka_servers)
    apply(admin, plan(admin, namespace, PARTITIONS, 1, ["default"]))
    producer = Producer({"bootstrap.servers": kafka_servers})
    refused: list[str] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            refused.append(f"{message.topic()}: {error.str()}")

    now_ms = int(time.time() * 1000)
    for topic in expand(namespace, ["default"]):
        for off_s in (-30 * DAY_S, 2 * HOUR_S):
            at_ms = now_ms + int(off_s * 1000)
            producer.produce(topic, b"", b"key", on_delivery=delivered, timestamp=at_ms)
    assert producer.flush(20) == 0
    assert not refused
    for topic in expand(namespace, ["default"]):
        for message in committed(kafka_servers, topic, 2):
            assert abs(message.timestamp()[1] - now_ms) < 60_000, topic


async def started(client: Client, id: str, first_s: float, then_s: float) -> Handle[list[float]]:
    handle = await client.start(sleeps, first_s, then_s, id=id, timeout=60)
    return client.handle(handle.id, workflow=sleeps)


async def assert_waits(handle: Handle[Any]) -> None:
    pending = (await handle.describe()).pending
    assert len(pending["timers"]) == 1, pending


def test_timers_on_clocks_an_hour_apart(
    kafka_servers: str, namespace: str, start_worker: StartWorker
) -> None:
    apply(connect(kafka_servers), plan(connect(kafka_servers), namespace, PARTITIONS, 1))
    ahead = start_worker(kafka_servers, 0, AHEAD)

    async def talk(client: Client) -> None:
        await first_answer(client)

        begun = time.monotonic()
        times = await (await started(client, "stays", SHORT_S, SHORT_S)).result(60)
        took_s = time.monotonic() - begun
        assert 2 * SHORT_S <= took_s < 2 * SHORT_S + LATE_S, "a wrong clock alone does no harm"
        assert times[0] - time.time() > HOUR_S - 60, "the worker's clock was an hour ahead"

        moved = await started(client, "moves back", SHORT_S, SHORT_S)
        waits = await started(client, "moves on", 1.0, HOUR_S / 2)
        await asyncio.to_thread(ahead.stop)
        right = start_worker(kafka_servers, 1)
        await first_answer(client)
        assert "ahead of this process's" in right.log
        await asyncio.sleep(2 * SHORT_S + 1.0)
        await assert_waits(moved)
        await assert_waits(waits)
        early = await started(client, "set by the right clock", HOUR_S / 2, SHORT_S)

        await asyncio.to_thread(right.stop)
        ahead.start(AHEAD)
        begun = time.monotonic()
        for handle in (moved, early):
            times = await handle.result(60)
            assert times == sorted(times), "time within a run never goes back"
            kinds = [event.type for event in await handle.history()]
            assert kinds.count("TimerFired") == 2, "each timer fires once"
        took_s = time.monotonic() - begun
        assert took_s < 15 + LATE_S, "they were due by the clock that is ahead"
        while len(await waits.history()) < 4:
            await asyncio.sleep(0.05)
        await assert_waits(waits)
        await waits.terminate("the case is over")
        record(
            "clocks an hour apart",
            "shards move from a clock that is an hour ahead to a right one, and back",
            2,
            "waits without a move took their time; those with one were off by the difference at "
            "the most; each timer fired once; time in a run never went back",
        )

    ask(kafka_servers, namespace, talk)
