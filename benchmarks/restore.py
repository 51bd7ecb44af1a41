"""How fast a shard comes back from the log when its state directory is gone.

Chains fill the log, or the turns of one run that is still open (``--one-run``); the worker ends,
its tables are deleted (unless ``--keep-tables``), and a new one folds everything again. The time is
the shard's own, from the assignment until it takes inputs: claim and catch-up included.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import uuid
from pathlib import Path
from typing import Any

from benchmarks.log_size import turns_in
from benchmarks.where import broker_of, emit, options, scratch
from processor import Client, Worker
from processor.bench.hosts import BenchHost, embedded, on_kafka
from processor.bench.loops import Load, closed_loop
from processor.bench.process import await_shards
from processor.bench.workloads import ACTIVITIES, CHAIN_STEPS, WORKFLOWS, signal
from processor.embedded.disk import DiskLog, open_disk

WAIT_S = 120.0
FILL_S = 900.0


async def fill(host: BenchHost, given: argparse.Namespace) -> None:
    turns: int = given.n
    if given.one_run:
        handle = await host.client.start(signal, turns + 1, id=f"one-{uuid.uuid4().hex[:8]}")

        async def send(number: int) -> None:
            await handle.raise_event("event", number)

        await closed_loop(turns, 50, FILL_S, send)
        return
    count = turns // (CHAIN_STEPS + 1)
    load = Load(count, 1, f"fill-{uuid.uuid4().hex[:8]}")
    await host.flood(host.client, load, host.meter())


async def on_kafka_log(
    server: str, folder: Path, given: argparse.Namespace
) -> tuple[int, float, int]:
    """Return turns, seconds and bytes of the log."""
    async with on_kafka(server, folder, partitions=1) as host:
        await fill(host, given)
        worker = host.workers[0]
        await asyncio.to_thread(worker.stop)
        if not given.keep_tables:
            shutil.rmtree(worker.state_dir)
        worker.start()
        await asyncio.to_thread(await_shards, [worker], 1, WAIT_S)
        status = worker.status()
        _, size = await asyncio.to_thread(turns_in, server, host.namespace)
    return status["turns_folded"], status["takeover_s"], size


async def on_disk_log(folder: Path, given: argparse.Namespace) -> tuple[int, float, int]:
    async with embedded(folder) as host:
        await fill(host, given)
    path = folder / "embedded"
    if not given.keep_tables:
        shutil.rmtree(path / "tables-0")
    disk = open_disk(path / "log", sync=False)
    log = DiskLog(disk)
    size = sum(len(record.key) + len(record.value or b"") for record in log.read(*log.bounds()))
    disk.close()
    server = f"embedded:{path}"
    worker = Worker(server, workflows=WORKFLOWS, activities=ACTIVITIES)
    async with worker, Client(server):
        status = worker.shards[0]
        return status.turns_folded, status.takeover_s, size


async def run(given: argparse.Namespace) -> dict[str, Any]:
    with scratch() as folder:
        if given.runtime == "embedded":
            turns, seconds, size = await on_disk_log(folder, given)
        else:
            async with broker_of(given) as (server, _):
                turns, seconds, size = await on_kafka_log(server, folder, given)
    return {
        "n": turns,
        "restore_s": round(seconds, 3),
        "turns_per_s": round(turns / seconds),
        "mb_per_s": round(size / seconds / 1e6, 1),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--n", type=int, default=300_000, help="turns")
    parser.add_argument("--one-run", action="store_true", help="all of one run that is open")
    parser.add_argument("--keep-tables", action="store_true", help="a restart, no loss of the disk")
    given = parser.parse_args()
    emit(given, "restore", **asyncio.run(run(given)))


if __name__ == "__main__":
    main()
