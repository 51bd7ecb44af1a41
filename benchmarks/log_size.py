"""What the log takes for an activity: chains are run, then every record of ``events`` is read.

``*_bytes`` are keys and values of the records of runs as they are written: turns, and where open
activities stand. ``disk_*`` are the broker's files, with its own framing and after compression
(batches are larger, and compress better, under load).
"""

from __future__ import annotations

import argparse
import asyncio
import uuid
from pathlib import Path
from typing import Any

from benchmarks.broker import warm_broker
from benchmarks.where import emit, options, scratch
from processor.bench.hosts import on_kafka
from processor.bench.loops import closed_loop
from processor.bench.workloads import CHAIN_STEPS, chain
from processor.codec.records import decode
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Turn

TURNS = CHAIN_STEPS + 1


async def measure(
    server: str, folder: Path, count: int, width: int, broker_dir: Path | None = None
) -> dict[str, Any]:
    """Run chains and return what they left in the log, and on the broker's disk if it is here."""
    async with on_kafka(server, folder, partitions=1) as host:
        tag = uuid.uuid4().hex[:8]

        async def one(number: int) -> None:
            await host.client.run(chain, f"w{number}", False, id=f"{tag}-{number}")

        await closed_loop(count, width, 60, one)
        turns, size = await asyncio.to_thread(turns_in, server, host.namespace)
        on_disk = 0 if broker_dir is None else bytes_in(broker_dir, f"{host.namespace}.events-0")
    assert turns == count * TURNS, f"{turns} turns in the log for {count} chains"
    fields = {
        "n": count,
        "c": width,
        "turn_bytes": round(size / turns, 1),
        "activity_bytes": round(size / (count * CHAIN_STEPS), 1),
    }
    if broker_dir is not None:
        fields["disk_turn_bytes"] = round(on_disk / turns, 1)
        fields["disk_activity_bytes"] = round(on_disk / (count * CHAIN_STEPS), 1)
    return fields


def bytes_in(broker_dir: Path, partition: str) -> int:
    """Return the size of a partition's segments."""
    return sum(path.stat().st_size for path in broker_dir.glob(f"**/{partition}/*.log"))


def turns_in(server: str, namespace: str) -> tuple[int, int]:
    """Return how many turns partition 0 of the log holds, and the bytes of its runs. Blocks."""
    from confluent_kafka import Consumer, TopicPartition

    from processor.kafka.clients.connection import KafkaSettings

    connection = KafkaSettings(server, namespace)
    consumer = Consumer(connection.consumer())
    try:
        place = TopicPartition(connection.events, 0, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        turns = size = read = 0
        while read < end:
            for message in consumer.consume(5_000, 5.0):
                key, value = message.key() or b"", message.value()
                read = (message.offset() or 0) + 1
                record = None if value is None else decode(value)
                turns += isinstance(record, Turn | Snapshot)
                if value is not None and isinstance(record, Turn | Snapshot | AttemptRecord):
                    size += len(key) + len(value)
        return turns, size
    finally:
        consumer.close()


async def run(given: argparse.Namespace) -> None:
    fsync = given.durability == "fsync"
    with scratch() as folder:
        async with warm_broker(folder, fsync=fsync, warm_up_s=given.broker_warm_up_s) as broker:
            work = folder / "work"
            work.mkdir()
            server, broker_dir = broker.bootstrap_servers, broker.data_dir
            fields = await measure(server, work, given.n, given.c, broker_dir)
    emit(given, "log-size", **fields)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--n", type=int, default=2_000, help="chains")
    parser.add_argument("--c", type=int, default=100, help="chains in flight")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
