"""Chain of five activities: latency one at a time, throughput with many in flight.

    python -m benchmarks.chain embedded: [--n 2000] [--c 100]
    python -m benchmarks.chain localhost:9092 --queued

One JSON line on standard output, in the shape of the peers' benchmarks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
import uuid

from processor import Client, Worker, activity, workflow

STEPS = 5
WARM_UP = 50


@activity.define
async def noop(value: int) -> int:
    return value


@workflow.define
async def chain(value: int) -> int:
    for _ in range(STEPS):
        value = await noop(value)
    return value


@workflow.define
async def queued_chain(value: int) -> int:
    for _ in range(STEPS):
        value = await noop.options(eager=False)(value)
    return value


async def one_at_a_time(client: Client, code: object, count: int) -> list[float]:
    took = []
    for number in range(count + WARM_UP):
        begun = time.perf_counter()
        await client.run(code, number)  # type: ignore[call-overload]
        took.append((time.perf_counter() - begun) * 1000)
    return sorted(took[WARM_UP:])


async def in_flight(client: Client, code: object, count: int, width: int) -> float:
    left = iter(range(count))

    async def one() -> None:
        for number in left:
            await client.run(code, number)  # type: ignore[call-overload]

    begun = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(width)))
    return count / (time.perf_counter() - begun)


async def measure(server: str, count: int, width: int, queued: bool) -> dict[str, object]:
    code = queued_chain if queued else chain
    with tempfile.TemporaryDirectory() as folder:
        at = f"embedded:{folder}" if server == "embedded:" else server
        namespace = f"bench-{uuid.uuid4().hex[:8]}"
        worker = Worker(
            at,
            namespace=namespace,
            workflows=[chain, queued_chain],
            activities=[noop],
            create_topics=True,
            partitions=4,
            state_dir=folder,
        )
        async with worker, Client(at, namespace=namespace) as client:
            took = await one_at_a_time(client, code, 200)
            cpu = resource.getrusage(resource.RUSAGE_SELF)
            rate = await in_flight(client, code, count, width)
            after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    return {
        "peer": "processor",
        "runtime": "embedded" if server == "embedded:" else "kafka",
        "workload": "queued chain" if queued else "chain",
        "c1_p50_ms": round(took[len(took) // 2], 2),
        "c1_p99_ms": round(took[int(len(took) * 0.99)], 2),
        "wf_per_s": round(rate),
        "turns_per_s": round(rate * (STEPS + 1)),
        "cpu_s_per_1k": round(cpu_s / count * 1000, 2),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("server")
    arguments.add_argument("--n", type=int, default=2_000)
    arguments.add_argument("--c", type=int, default=100)
    arguments.add_argument("--queued", action="store_true")
    given = arguments.parse_args()
    print(json.dumps(asyncio.run(measure(given.server, given.n, given.c, given.queued))))


if __name__ == "__main__":
    main()
