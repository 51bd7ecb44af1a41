"""Chain of five activities: latency one at a time, throughput with many in flight.

    python -m benchmarks.chain embedded: [--n 2000] [--c 100]
    python -m benchmarks.chain localhost:9092 --queued

One JSON line on standard output, in the shape of the peers' benchmarks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from processor import Client, Settings, Worker, activity, workflow

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


WORKFLOWS = [chain, queued_chain]


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


@asynccontextmanager
async def worker_at(server: str, namespace: str, folder: str) -> AsyncIterator[int]:
    """Run the worker: in this process where it is embedded, else as a process of its own."""
    if server.startswith("embedded:"):
        async with Worker(server, workflows=WORKFLOWS, activities=[noop]):
            yield os.getpid()
        return
    command = [sys.executable, "-m", "processor", "worker", "benchmarks.chain"]
    command += ["--server", server, "--namespace", namespace, "--state-dir", folder]
    command += ["--create-topics", "--partitions", "4"]
    with (Path(folder) / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220  a moment
    try:
        await asyncio.to_thread(wait_for_topics, server, namespace)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def wait_for_topics(server: str, namespace: str) -> None:
    from processor.kafka.topics import connect, missing_or_wrong

    admin = connect(server)
    deadline = time.monotonic() + 60
    while missing_or_wrong(admin, namespace):
        if time.monotonic() > deadline:
            raise SystemExit(f"the worker did not make the topics of {namespace} within 60 s")
        time.sleep(0.2)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(server: str, count: int, width: int, queued: bool) -> dict[str, object]:
    code = queued_chain if queued else chain
    with tempfile.TemporaryDirectory() as folder:
        at = f"embedded:{folder}" if server == "embedded:" else server
        namespace = f"bench-{uuid.uuid4().hex[:8]}"
        settings = Settings(request_timeout_s=30)
        async with (
            worker_at(at, namespace, folder) as pid,
            Client(at, namespace=namespace, settings=settings) as client,
        ):
            took = await one_at_a_time(client, code, 200)
            before_s = cpu_s(pid)
            rate = await in_flight(client, code, count, width)
            used_s = cpu_s(pid) - before_s
    return {
        "peer": "processor",
        "runtime": "embedded" if server == "embedded:" else "kafka",
        "workload": "queued chain" if queued else "chain",
        "c1_p50_ms": round(took[len(took) // 2], 2),
        "c1_p99_ms": round(took[int(len(took) * 0.99)], 2),
        "wf_per_s": round(rate),
        "turns_per_s": round(rate * (STEPS + 1)),
        "worker_cpu_s_per_1k": round(used_s / count * 1000, 2),
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
