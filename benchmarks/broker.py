"""The broker that is measured: one local Kafka, warm, with its process id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from processor.bench.hosts import on_kafka
from processor.bench.loops import closed_loop
from processor.bench.workloads import chain
from processor.dev.local_broker import LocalBroker

__all__ = ("FSYNC", "WARM_UP_S", "durability", "warm_broker")

FSYNC = {"log.flush.interval.messages": "1"}
"""Every append is flushed to disk before it is acknowledged."""

WARM_UP_S = 15.0


@asynccontextmanager
async def warm_broker(
    folder: Path, *, fsync: bool, warm_up_s: float = WARM_UP_S
) -> AsyncIterator[LocalBroker]:
    """Run a broker that has been used before: its JVM compiles what is used while it is used.

    In a fresh one the first tens of thousands of records cost several times what they cost later,
    which says nothing about a broker that serves. ``folder`` holds its data.
    """
    with LocalBroker(folder / "broker", overrides=FSYNC if fsync else {}) as broker:
        if warm_up_s:
            await warm_up(broker.bootstrap_servers, folder, warm_up_s)
        yield broker


async def warm_up(server: str, folder: Path, seconds: float) -> None:
    """Run chains, half of the time 100 at once, half one by one: the JVM compiles for either."""
    async with on_kafka(server, folder) as host:

        async def one(number: int) -> None:
            await host.client.run(chain, "x", number % 2 == 0)

        for in_flight in (100, 1):
            await closed_loop(1_000_000, in_flight, seconds / 2, one)


def durability(runtime: str, fsync: bool) -> str:
    """Say what an acknowledgement means, as a field of a line."""
    if runtime == "embedded":
        return "RocksDB log, fsync per commit"
    if fsync:
        return "one Kafka broker, log.flush.interval.messages=1 (fsync per append)"
    return "one Kafka broker at its defaults (survives kill -9, not a power cut)"
