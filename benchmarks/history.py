"""What the next step of a run costs, from its 10th event to its 50,000th.

One workflow calls one activity after another; each execution notes the CPU time of the process. A
step is two events, one turn, and one commit. Runs in this process, on the embedded runtime, so
that nothing else is in that time; what is compared is the same on both runtimes.
"""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.where import emit, options, scratch
from processor import Client, Worker, activity, workflow

LENGTHS = (10, 100, 1_000, 5_000, 10_000, 50_000)
WINDOW = 200
EVENTS_A_STEP = 2
_stamps: list[float] = []


@activity.define
async def stamp() -> None:
    _stamps.append(time.process_time())


@workflow.define
async def walk(steps: int) -> int:
    for _ in range(steps):
        await stamp()
    return steps


async def cost_by_length(folder: Path, events: int) -> dict[int, float]:
    """Return the CPU µs of a step at each history length up to ``events``, medians of 200."""
    server = f"embedded:{folder / 'history'}"
    async with (
        Worker(server, workflows=[walk], activities=[stamp]),
        Client(server) as client,
    ):
        await client.run(walk, WINDOW * 3)  # what is imported and compiled once is not a step's
        _stamps.clear()
        await client.run(walk, events // EVENTS_A_STEP + WINDOW + 1)
    return {length: step_us(length) for length in LENGTHS if length <= events}


def step_us(length: int) -> float:
    first = length // EVENTS_A_STEP
    window = _stamps[first : first + WINDOW + 1]
    return median(after - before for before, after in pairwise(window)) * 1e6


def main() -> None:
    parser = options(__doc__, runtime="embedded")
    parser.add_argument("--n", type=int, default=50_000, help="events of the longest history")
    given = parser.parse_args()
    with scratch() as folder:
        cost = asyncio.run(cost_by_length(folder, given.n))
    longest = max(cost)
    emit(
        given,
        "history",
        n=given.n,
        step_cpu_us={str(length): round(us, 1) for length, us in cost.items()},
        step_growth=round(cost[longest] / cost[min(cost)], 3),
    )


if __name__ == "__main__":
    main()
