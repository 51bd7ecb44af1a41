"""How long work stands still when a worker is killed (SIGKILL).

``same_member_s``: the process is started again under its static member id, at once.
``other_process_s``: nobody starts it again; a second worker takes its shards over.

Both are the client's view: from the kill until a new workflow on every shard has its result.
``shards_s`` is when all shards ran again.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.where import broker_of, emit, options, scratch
from processor.bench.hosts import BenchHost, on_kafka
from processor.bench.loops import closed_loop
from processor.bench.process import WorkerProcess, await_shards
from processor.bench.workloads import chain
from processor.kafka.clients.connection import partition_of

WAIT_S = 60.0


async def work_everywhere(host: BenchHost, partitions: int) -> None:
    """Run one chain on each shard."""
    tag = uuid.uuid4().hex[:8]
    ids: dict[int, str] = {}
    for number in range(partitions * 50):
        id = f"{tag}-{number}"
        ids.setdefault(partition_of(id, partitions), id)
    runs = (host.client.run(chain, "x", False, id=id, timeout=WAIT_S) for id in ids.values())
    await asyncio.gather(*runs)


async def killed(
    server: str, folder: Path, partitions: int, *, restart: bool
) -> tuple[float, float]:
    """Return seconds until the shards ran again, and until there was a result of each."""
    async with on_kafka(server, folder, partitions=partitions) as host:

        async def one(number: int) -> None:
            await host.client.run(chain, "x", False)

        await closed_loop(300, 20, 10, one)
        victim, standby = host.workers[0], WorkerProcess(server, host.namespace, folder, 1)
        if not restart:  # a second member joins only now, so that the first has all the shards
            standby = await joined(host, standby, partitions)
        begun = time.monotonic()
        victim.kill()
        held = await asyncio.to_thread(shards_of, standby) if not restart else 0
        if restart:
            victim.start()
        waiting = asyncio.create_task(work_everywhere(host, partitions))
        survivors = [victim] if restart else [standby]
        await asyncio.to_thread(await_shards, survivors, partitions, WAIT_S)
        shards_s = time.monotonic() - begun
        await waiting
        assert held < partitions, "the survivor had all shards before the kill: nothing was taken"
        return shards_s, time.monotonic() - begun


async def joined(host: BenchHost, standby: WorkerProcess, partitions: int) -> WorkerProcess:
    """Start a second worker and wait until the two share the shards."""
    standby.start()
    host.workers.append(standby)
    deadline = time.monotonic() + WAIT_S
    while True:
        counts = [(await asyncio.to_thread(shards_of, worker)) for worker in host.workers]
        if all(counts) and sum(counts) == partitions:
            return standby
        if time.monotonic() > deadline:
            raise SystemExit(f"the shards are spread as {counts} after {WAIT_S:.0f} s")
        await asyncio.sleep(0.1)


def shards_of(worker: WorkerProcess) -> int:
    count: int = worker.status()["shards"]
    return count


async def run(given: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, list[tuple[float, float]]] = {"same_member": [], "other_process": []}
    with scratch() as folder:
        async with broker_of(given) as (server, _):
            for name, times in figures.items():
                for number in range(given.runs):
                    again = name == "same_member"
                    place = folder / f"{name}-{number}"
                    place.mkdir()
                    times.append(await killed(server, place, given.partitions, restart=again))
    return {
        "runs": given.runs,
        **{f"{name}_shards_s": middle(times, 0) for name, times in figures.items()},
        **{f"{name}_s": middle(times, 1) for name, times in figures.items()},
        **{
            f"{name}_worst_s": round(max(t[1] for t in times), 2) for name, times in figures.items()
        },
    }


def middle(times: list[tuple[float, float]], index: int) -> float:
    return round(median(each[index] for each in times), 2)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    emit(given, "takeover", **asyncio.run(run(given)))


if __name__ == "__main__":
    main()
