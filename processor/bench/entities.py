"""Operations of entities, each of which adds one to its counter: the loop that drives the peers."""

from __future__ import annotations

import asyncio
import random

from processor import entity
from processor.bench.loops import Executed, Fields, Load, closed_loop, expect, latencies
from processor.bench.meter import Meter
from processor.client import Client

__all__ = ("Tally", "run_entity", "warm_up_entity")

_KEYS = 100
_WARM_UP = 300
_WARM_UP_S = 5.0


@entity.define(name="tally")
class Tally:
    """A counter."""

    count: int = 0

    def add(self, number: int) -> int:
        self.count += number
        return self.count

    @entity.read
    def value(self) -> int:
        return self.count


async def run_entity(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    """Add to counters that are chosen at random, the same ones in each run."""
    keys = [f"{load.tag}-{number}" for number in range(_KEYS)]
    chosen = random.Random(7).choices(range(_KEYS), k=load.n)
    tallies = [client.entity(Tally, key) for key in keys]
    counts: list[list[int]] = [[] for _ in keys]
    await asyncio.gather(*(tally.call(Tally.add, 0) for tally in tallies))

    async def one(number: int) -> None:
        which = chosen[number]
        counts[which].append(await tallies[which].call(Tally.add, 1))

    with meter:
        took, elapsed = await closed_loop(load.n, load.c, load.max_s, one)
    for tally, seen in zip(tallies, counts, strict=True):
        expect(sorted(seen), list(range(1, len(seen) + 1)), "counts of an entity")
        expect(await tally.call(Tally.value), len(seen), "the state of an entity")
    done = len(took)
    figures = {"n": done, "c": load.c, "keys": _KEYS, "ops_per_s": round(done / elapsed, 1)}
    return {**figures, **latencies(took)}, {}


async def warm_up_entity(client: Client, load: Load) -> None:
    """Add to ten other counters."""
    tallies = [client.entity(Tally, f"{load.tag}-w{number}") for number in range(10)]

    async def one(number: int) -> None:
        await tallies[number % len(tallies)].call(Tally.add, 1)

    await closed_loop(_WARM_UP, load.c, _WARM_UP_S, one)
