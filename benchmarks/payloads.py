"""Chains whose steps carry 1, 10 and 100 KB: each value goes out and comes back with each step."""

from __future__ import annotations

import argparse
import asyncio
import uuid
from typing import Any

from benchmarks.where import emit, host_of, options, scratch
from processor.bench.hosts import BenchHost
from processor.bench.loops import closed_loop, expect, latencies
from processor.bench.workloads import CHAIN_STEPS, chain

SIZES_KB = (1, 10, 100)


async def measure(host: BenchHost, size_kb: int, seconds: float, width: int) -> dict[str, Any]:
    payload = "x" * (size_kb * 1024)
    tag = uuid.uuid4().hex[:8]

    async def one(number: int) -> None:
        got = await host.client.run(chain, payload, False, id=f"{tag}-{number}")
        expect(len(got), len("done:") + len(payload), "the length of the payload")

    await closed_loop(20, 2, seconds, one)
    took, _ = await closed_loop(1_000_000, 1, seconds, one)
    p50_ms = latencies(took)["p50_ms"]
    with host.meter() as meter:
        took, elapsed = await closed_loop(1_000_000, width, seconds, one)
    rate = len(took) / elapsed
    return {
        "size_kb": size_kb,
        "p50_ms": p50_ms,
        "c": width,
        "wf_per_s": round(rate, 2),
        "payload_mb_per_s": round(rate * 2 * CHAIN_STEPS * len(payload) / 1e6, 1),
        "cpu_s_per_1k": round(meter.report().get("cpu_s", 0.0) / len(took) * 1000, 2),
    }


async def run(given: argparse.Namespace) -> None:
    with scratch() as folder:
        async with host_of(given, folder) as host:
            for size_kb in SIZES_KB:
                fields = await measure(host, size_kb, given.seconds, given.c)
                emit(given, "payloads", **fields)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--c", type=int, default=20, help="workflows in flight")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
