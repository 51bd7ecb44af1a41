"""One workload on one of our runtimes; one JSON line, in the shape of the peers' scripts.

    python -m benchmarks.run chain --runtime kafka --c 100
    python -m benchmarks.run signal --runtime embedded --n 2000
    python -m benchmarks.run order --runtime kafka --queued --server localhost:9092

Exit status 1, and an ``error`` in the line, if anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.broker import durability, warm_broker
from processor.bench.hosts import PARTITIONS, Host, embedded, measure, on_kafka
from processor.bench.loops import Load

COUNTS = {
    "chain": 1000,
    "order": 300,
    "fanout": 1000,
    "signal": 2000,
    "timers": 2000,
    "flood": 20_000,
}
WIDTHS = {"chain": 100, "order": 100, "fanout": 1, "signal": 50, "timers": 200, "flood": 100}


def name_of(runtime: str, queued: bool) -> str:
    return f"processor-{runtime}" + ("-queued" if queued else "")


@asynccontextmanager
async def host_of(given: argparse.Namespace, folder: Path) -> AsyncIterator[Host]:
    if given.runtime == "embedded":
        async with embedded(folder) as host:
            yield host
        return
    async with AsyncExitStack() as stack:
        server, pids = given.server, [] if given.broker_pid is None else [given.broker_pid]
        if server is None:
            fsync = given.durability == "fsync"
            broker = await stack.enter_async_context(warm_broker(fsync=fsync))
            server, pids = broker.bootstrap_servers, [broker.pid]
        made = on_kafka(
            server,
            folder,
            partitions=given.partitions,
            processes=given.processes,
            broker_pids=pids,
        )
        yield await stack.enter_async_context(made)


async def run(given: argparse.Namespace) -> dict[str, Any]:
    load = Load(
        given.n or COUNTS[given.workload],
        given.c or WIDTHS[given.workload],
        f"{given.workload}-{uuid.uuid4().hex[:8]}",
        given.max_s,
        given.runs,
        given.sleep,
        given.queued,
        given.warmup,
    )
    line: dict[str, Any] = {
        "peer": name_of(given.runtime, given.queued),
        "workload": given.workload,
        "n": load.n,
        "c": load.c,
    }
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="processor-bench-") as folder:
            async with host_of(given, Path(folder)) as host:
                startup_s = round(time.monotonic() - begun, 2)
                line.update(await measure(host, given.workload, load, given.timeout))
                line.update(settings=host.settings, startup_s=startup_s)
    except Exception as error:
        traceback.print_exc()
        line["error"] = f"{type(error).__name__}: {error}"[:300]
    line["durability"] = durability(given.runtime, given.durability == "fsync")
    line["ts"] = time.strftime("%Y-%m-%dT%H:%M:%S")
    return line


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("workload", choices=list(COUNTS))
    add("--runtime", choices=("embedded", "kafka"), default="kafka")
    add("--queued", action="store_true", help="activities through the queue, never eager")
    add("--n", type=int, help="workflows, activities (fanout) or events (signal)")
    add("--c", type=int, help="in flight: workflows, sends (signal) or starts (timers)")
    add("--runs", type=int, default=3, help="fanout: repetitions")
    add("--sleep", type=float, default=5.0, help="timers: the sleep in seconds")
    add("--warmup", type=int, default=-1, help="workflows before the load (-1: from --c)")
    add("--max-s", type=float, default=45.0, help="chain, order: start nothing new after this")
    add("--timeout", type=float, default=90.0, help="for the warm-up and the workload, in seconds")
    add("--durability", choices=("fsync", "nofsync"), default="nofsync", help="of our own broker")
    add("--server", help="a broker that runs; else one is started")
    add("--broker-pid", type=int, help="the process of --server, for its share of the CPU")
    add("--partitions", type=int, default=PARTITIONS)
    add("--processes", type=int, default=1)
    return parser.parse_args(arguments)


def main() -> None:
    line = asyncio.run(run(parsed()))
    print(json.dumps(line), flush=True)
    sys.exit("error" in line)


if __name__ == "__main__":
    main()
