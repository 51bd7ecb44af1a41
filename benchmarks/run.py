"""One workload on one of our runtimes; one JSON line, in the shape of the peers' scripts.

    python -m benchmarks.run chain --runtime kafka --c 100
    python -m benchmarks.run signal --runtime embedded --n 10000
    python -m benchmarks.run order --runtime kafka --queued --server localhost:9092

Exit status 1, and an ``error`` in the line, if anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import traceback
import uuid
from typing import Any

from benchmarks.broker import durability
from benchmarks.where import host_of, options, scratch
from processor.bench.hosts import measure
from processor.bench.loops import Load
from processor.tuning import tune_process

COUNTS = {
    "chain": 1000,
    "order": 300,
    "fanout": 1000,
    "children": 200,
    "signal": 2000,
    "timers": 2000,
    "query": 2000,
    "update": 2000,
    "entity": 5000,
}
WIDTHS = {
    "chain": 100,
    "order": 100,
    "fanout": 1,
    "children": 1,
    "signal": 50,
    "timers": 200,
    "query": 20,
    "update": 20,
    "entity": 50,
}
FLOOD = 20_000


def load_of(given: argparse.Namespace) -> Load:
    name = given.workload
    return Load(
        n=given.n or COUNTS.get(name, FLOOD),
        c=given.c or WIDTHS.get(name, 1),
        tag=f"{name}-{uuid.uuid4().hex[:8]}",
        max_s=given.max_s,
        runs=given.runs,
        sleep_s=given.sleep,
        queued=given.queued,
        warm_up=given.warmup,
    )


async def run(given: argparse.Namespace) -> dict[str, Any]:
    load = load_of(given)
    line: dict[str, Any] = {
        "peer": f"processor-{given.runtime}" + ("-queued" if given.queued else ""),
        "workload": given.workload,
        "n": load.n,
        "c": load.c,
    }
    begun = time.monotonic()
    try:
        with scratch() as folder:
            async with host_of(given, folder, given.processes) as host:
                startup_s = round(time.monotonic() - begun, 2)
                line.update(await measure(host, given.workload, load, given.timeout))
                line.update(settings=host.settings, startup_s=startup_s)
    except Exception as error:
        traceback.print_exc()
        line["error"] = f"{type(error).__name__}: {error}"[:300]
    line["durability"] = durability(given.runtime, given.durability == "fsync")
    line["ts"] = time.strftime("%Y-%m-%dT%H:%M:%S")
    return line


def parsed() -> argparse.Namespace:
    parser = options(__doc__)
    add = parser.add_argument
    add("workload", choices=[*COUNTS, "flood"])
    add("--queued", action="store_true", help="activities through the queue, never eager")
    add("--n", type=int, help="workflows, activities (fanout), children or events (signal)")
    add("--c", type=int, help="in flight: workflows, sends (signal) or starts (timers)")
    add("--runs", type=int, default=3, help="fanout, children: repetitions")
    add("--sleep", type=float, default=5.0, help="timers: the sleep in seconds")
    add("--warmup", type=int, default=-1, help="workflows before the load (-1: from --c)")
    add("--max-s", type=float, default=45.0, help="chain, order: start nothing new after this")
    add("--timeout", type=float, default=90.0, help="for the warm-up and the workload, in seconds")
    add("--processes", type=int, default=1, help="worker processes that share the partitions")
    return parser.parse_args()


def main() -> None:
    given = parsed()
    tune_process()
    line = asyncio.run(run(given))
    print(json.dumps(line), flush=True)
    sys.exit("error" in line)


if __name__ == "__main__":
    main()
