"""A million workflows that sleep: starting them, what each costs while it sleeps, waking them.

All sleep until one moment, after the last has been started. Memory is the worker's growth between
the runs that fill its cache of live code and the last one: a run beyond the cache is a row on disk.
``heap_blocks_per_run`` are objects of Python; near 0 means that a sleeping run has none.
``rss_mb_of_a_million`` is the worker's memory with a million of them: by that growth, if fewer were
started.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any

from benchmarks.where import emit, host_of, options, scratch
from processor.bench.hosts import BenchHost
from processor.bench.loops import closed_loop
from processor.bench.workloads import sleeper

STARTS_AT_ONCE = 500
STARTS_PER_S_LEAST = 2_000
AHEAD_S = 40.0
"""A shard keeps timers in memory from 30 s before they are due."""

WAKE_S = 600.0


@dataclass(frozen=True, slots=True)
class Sample:
    runs: int
    rss_mb: float
    heap_blocks: int


async def sample(host: BenchHost, runs: int) -> Sample:
    statuses = await asyncio.to_thread(host.statuses)
    rss_mb = sum(status["rss_mb"] for status in statuses)
    return Sample(runs, rss_mb, sum(status["heap_blocks"] for status in statuses))


async def start_all(host: BenchHost, first: int, end: int, due_s: float, tag: str) -> float:
    """Start sleepers ``first`` to ``end``; return the seconds that it took."""

    async def one(number: int) -> None:
        await host.client.start(sleeper, due_s, id=f"{tag}-{first + number}")

    return (await closed_loop(end - first, STARTS_AT_ONCE, WAKE_S, one))[1]


async def woken(host: BenchHost, count: int, due_s: float, already: int = 0) -> float:
    """Wait until ``count`` more have woken; return the seconds from when they were due."""
    before = 0
    while True:
        done = (await asyncio.to_thread(host.executions)).get("woken", 0) - already
        assert time.time() >= due_s or not done, f"{done} sleepers woke early"
        if done >= count:
            return time.time() - due_s
        if time.time() > due_s + WAKE_S and done == before:
            raise SystemExit(f"{count - done} of {count} sleepers did not wake")
        before = done
        await asyncio.sleep(0.05)


async def run(given: argparse.Namespace) -> dict[str, Any]:
    tag = uuid.uuid4().hex[:8]
    cached = min(given.n // 3, 25_000)
    with scratch() as folder:
        async with host_of(given, folder) as host:
            now_s = time.time()
            await start_all(host, 0, 1, now_s, f"{tag}-warm")
            await woken(host, 1, now_s)
            empty = await sample(host, 0)
            due_s = time.time() + given.n / STARTS_PER_S_LEAST + AHEAD_S
            starting_s = await start_all(host, 0, cached, due_s, tag)
            filled = await sample(host, cached)
            starting_s += await start_all(host, cached, given.n, due_s, tag)
            asleep = await sample(host, given.n)
            assert time.time() < due_s, "they woke before all were started: the machine is slow"
            waking_s = await woken(host, given.n, due_s, already=1)
            awake = await sample(host, 0)
    beyond = given.n - cached
    return {
        "n": given.n,
        "starts_per_s": round(given.n / starting_s),
        "wakes_per_s": round(given.n / waking_s),
        "wake_all_s": round(waking_s, 2),
        "rss_mb_empty": round(empty.rss_mb),
        "rss_mb_asleep": round(asleep.rss_mb),
        "rss_mb_awake": round(awake.rss_mb),
        "rss_bytes_per_run": round((asleep.rss_mb - filled.rss_mb) * 2**20 / beyond),
        "rss_mb_of_a_million": round(
            asleep.rss_mb + (asleep.rss_mb - filled.rss_mb) / beyond * (1_000_000 - given.n)
        ),
        "heap_blocks_per_run": round((asleep.heap_blocks - filled.heap_blocks) / beyond, 3),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="from 30,000 on: see above")
    given = parser.parse_args()
    emit(given, "sleepers", **asyncio.run(run(given)))


if __name__ == "__main__":
    main()
