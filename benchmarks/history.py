"""What the next step of a run costs, from its 10th event to its 50,000th.

One workflow calls one activity after another; each execution notes the CPU time of the process. At
each length the run goes on for a hundred steps, and a fresh run does a hundred beside it, several
times in turn: the ratio of the two does not drift with the machine. A step is two events in one
turn. Runs in this process, on the embedded runtime, so that nothing else is in that time; what is
compared is the same on both runtimes.
"""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.where import emit, options, scratch
from processor import Client, Handle, Worker, activity, workflow

LENGTHS = (1_000, 5_000, 10_000, 50_000)
FIRST_EVENTS = 10
WINDOW = 100
ROUNDS = 7
EVENTS_A_STEP = 2
_stamps: list[float] = []


@activity.define
async def stamp() -> None:
    _stamps.append(time.process_time())


@workflow.define
async def walk(steps: int) -> None:
    """Do so many steps, and then as many more as each event says, until one says 0."""
    while steps:
        for _ in range(steps):
            await stamp()
        steps = await workflow.wait_for_event("more", int)


async def walked(handle: Handle[Any], more: int = 0) -> float:
    """Let the run go on by ``more`` steps, if any; return the CPU µs of a step, the median."""
    if more:
        goal = len(_stamps) + more
        await handle.raise_event("more", more)
        while len(_stamps) < goal:
            await asyncio.sleep(0.002)
    window = _stamps[-WINDOW:]
    return median(after - before for before, after in pairwise(window)) * 1e6


async def growth(folder: Path, lengths: tuple[int, ...]) -> dict[str, Any]:
    """Return the cost of a step at each length, and its ratio to a step of a fresh run."""
    server = f"embedded:{folder / 'history'}"
    cost: dict[str, float] = {}
    ratios: dict[str, float] = {}
    async with Worker(server, workflows=[walk], activities=[stamp]), Client(server) as client:
        long = await client.start(walk, FIRST_EVENTS // EVENTS_A_STEP)
        await walked(long, WINDOW * 3)  # what is imported and compiled once is no step's
        done = len(_stamps)
        for length in lengths:
            steps = length // EVENTS_A_STEP
            await walked(long, steps - done)
            pairs = []
            for _ in range(ROUNDS):
                fresh = await client.start(walk, FIRST_EVENTS // EVENTS_A_STEP)
                pairs.append((await walked(long, WINDOW), await walked(fresh, WINDOW)))
                await fresh.raise_event("more", 0)
                await fresh.result()
            done = steps + ROUNDS * WINDOW
            cost[str(length)] = round(median(pair[0] for pair in pairs), 1)
            ratios[str(length)] = round(median(pair[0] / pair[1] for pair in pairs), 3)
        await long.terminate()
    return {"step_cpu_us": cost, "over_fresh": ratios}


def main() -> None:
    parser = options(__doc__, runtime="embedded")
    parser.add_argument("--n", type=int, default=50_000, help="events of the longest history")
    given = parser.parse_args()
    lengths = tuple(length for length in LENGTHS if length <= given.n)
    with scratch() as folder:
        fields = asyncio.run(growth(folder, lengths))
    longest = max(lengths)
    over_fresh = fields["over_fresh"][str(longest)]
    emit(given, "history", n=longest, longest_over_fresh=over_fresh, **fields)


if __name__ == "__main__":
    main()
