"""What a run costs while its code is in memory: it waits for an event, in the worker's cache.

The worker's growth from a tenth of the runs to all of them; below the cache's bound (10,000).
"""

from __future__ import annotations

import argparse
import asyncio
import uuid
from typing import Any

from benchmarks.sleepers import sample
from benchmarks.where import emit, host_of, options, scratch
from processor.bench.hosts import BenchHost
from processor.bench.loops import closed_loop
from processor.bench.workloads import signal


async def start_waiting(host: BenchHost, first: int, end: int, tag: str) -> None:
    async def one(number: int) -> None:
        await host.client.start(signal, 1, id=f"{tag}-{first + number}")

    await closed_loop(end - first, 100, 120, one)


async def run(given: argparse.Namespace) -> dict[str, Any]:
    tag, few = uuid.uuid4().hex[:8], given.n // 10
    with scratch() as folder:
        async with host_of(given, folder) as host:
            await start_waiting(host, 0, few, tag)
            before = await sample(host, few)
            await start_waiting(host, few, given.n, tag)
            after = await sample(host, given.n)
    more = given.n - few
    return {
        "n": given.n,
        "rss_bytes_per_run": round((after.rss_mb - before.rss_mb) * 2**20 / more),
        "heap_blocks_per_run": round((after.heap_blocks - before.heap_blocks) / more, 1),
        "rss_mb": round(after.rss_mb),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--n", type=int, default=9_000, help="below the cache's 10,000 a shard")
    given = parser.parse_args()
    emit(given, "live-runs", **asyncio.run(run(given)))


if __name__ == "__main__":
    main()
