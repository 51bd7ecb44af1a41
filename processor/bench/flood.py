"""Chains as fast as a shard takes them: all starts are in its input before the first is done.

No client waits for an answer: commands are produced, and results consumed, as a user's own Kafka
programs would do it. It shows what the shards can do where a closed loop shows the client as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from processor.bench.loops import (
    Executed,
    Fields,
    Load,
    WorkloadFailed,
    closed_loop,
    expect,
)
from processor.bench.meter import Meter
from processor.bench.workloads import CHAIN_STEPS, chain
from processor.client import Client
from processor.codec.records import encode
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun

if TYPE_CHECKING:
    from processor.kafka.clients.connection import KafkaSettings

__all__ = ("flood_embedded", "flood_kafka")

EMBEDDED_WIDTH = 1_000
SILENCE_S = 20.0


def fields(count: int, elapsed_s: float) -> tuple[Fields, Executed]:
    """Return the figures; a chain is a turn for its start and one for each activity."""
    return {
        "n": count,
        "wf_per_s": round(count / elapsed_s, 2),
        "turns_per_s": round(count * (CHAIN_STEPS + 1) / elapsed_s),
    }, {"echo": CHAIN_STEPS * count}


async def flood_embedded(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    """Keep a thousand in flight: an embedded shard has no input but its process's clients."""

    async def one(number: int) -> None:
        got = await client.run(chain, f"w{number}", False, id=f"{load.tag}-{number}")
        expect(got, f"done:w{number}", "chain")

    with meter:
        took, elapsed = await closed_loop(load.n, EMBEDDED_WIDTH, load.max_s, one)
    return fields(len(took), elapsed)


async def flood_kafka(
    server: str,
    namespace: str,
    kafka: Mapping[str, str] | None,
    client: Client,
    load: Load,
    meter: Meter,
) -> tuple[Fields, Executed]:
    """Produce all commands at once and wait for all results."""
    from processor.kafka.clients.connection import KafkaSettings

    with meter:
        connection = KafkaSettings(server, namespace, kafka or {})
        elapsed = await asyncio.to_thread(_flood, connection, load)
    return fields(load.n, elapsed)


def _flood(connection: KafkaSettings, load: Load) -> float:
    from confluent_kafka import Consumer, Producer, TopicPartition

    producer = Producer(connection.client_producer())
    results = connection.topic("results")
    consumer = Consumer(connection.consumer({"isolation.level": "read_committed"}))
    partitions = consumer.list_topics(results, timeout=10).topics[results].partitions
    ends = [TopicPartition(results, p) for p in partitions]
    for place in ends:
        place.offset = consumer.get_watermark_offsets(place, timeout=10)[1]
    consumer.assign(ends)
    consumer.consume(1, 0.2)  # what is fetched from here on is new
    commands = connection.topic("commands")
    begun = time.perf_counter()
    for number in range(load.n):
        payload = msgspec.json.encode([f"w{number}", load.queued])
        command = ClientCommand(f"{load.tag}-{number}", StartRun(chain.name, payload))
        producer.produce(commands, encode(command), command.workflow_id.encode())
        if number % 500 == 0:
            producer.poll(0)
    producer.flush(30)
    missing = load.n
    try:
        while missing > 0:
            records = consumer.consume(min(missing, 1_000), SILENCE_S)
            ended = sum(record.error() is None for record in records)
            if not ended:
                raise WorkloadFailed(f"{missing} of {load.n} chains did not end")
            missing -= ended
        return time.perf_counter() - begun
    finally:
        consumer.close()
