"""The flood of chains on one, two and four worker processes that share the partitions.

Where there are fewer cores than the processes, the broker and the client need, this shows what
sharing costs, not what more machines give: ``cores`` is in the line.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import uuid
from typing import Any

from benchmarks.where import broker_of, emit, options, scratch
from processor.bench.hosts import measure, on_kafka
from processor.bench.loops import Load

PROCESSES = (1, 2, 4)


async def run(given: argparse.Namespace) -> dict[str, Any]:
    rates: dict[str, float] = {}
    used: dict[str, float] = {}
    async with broker_of(given) as (server, pids):
        for processes in PROCESSES:
            load = Load(given.n, 100, f"flood-{uuid.uuid4().hex[:8]}")
            with scratch() as folder:
                async with on_kafka(
                    server,
                    folder,
                    partitions=given.partitions,
                    processes=processes,
                    broker_pids=pids,
                ) as host:
                    fields = await measure(host, "flood", load, 120)
            rates[str(processes)] = fields["wf_per_s"]
            used[str(processes)] = round(fields["worker_cpu_s"] / given.n * 1000, 3)
    one = rates["1"]
    return {
        "n": given.n,
        "cores": os.cpu_count(),
        "wf_per_s": rates,
        "worker_cpu_s_per_1k": used,
        "speed_up": {processes: round(rate / one, 2) for processes, rate in rates.items()},
        "speed_up_of_two": round(rates["2"] / one, 2),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--n", type=int, default=20_000, help="chains, each time")
    given = parser.parse_args()
    emit(given, "scaling", **asyncio.run(run(given)))


if __name__ == "__main__":
    main()
