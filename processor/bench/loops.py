"""The client's side of the workloads: the same loops that drive the peers.

A closed loop keeps so many operations in flight. Every result is checked; what was executed is
returned beside the figures, to be held against the worker's own count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from processor.bench.meter import Meter
from processor.bench.workloads import (
    CHAIN_STEPS,
    ORDER_ACTIVITIES,
    ORDER_DONE,
    chain,
    fanout,
    order,
    parent,
    signal,
    timers,
)
from processor.client import Client
from processor.errors import ProcessorError

__all__ = (
    "LOOPS",
    "Executed",
    "Fields",
    "Load",
    "Loop",
    "WorkloadFailed",
    "closed_loop",
    "expect",
    "latencies",
    "percentile",
    "warm_up",
)

Fields = dict[str, Any]
Executed = dict[str, int]

EARLY_S = 0.005


class WorkloadFailed(ProcessorError):
    """A result was wrong, or work is missing: what was measured is no figure."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much of a workload.

    ``n`` are workflows (chain, order, timers), activities (fanout), children of
    one parent (children) or events (signal). ``c`` are
    workflows in flight (chain, order), sends (signal) or starts (timers) at a time. No new
    workflow is started after ``max_s``; ``runs`` repeats a fan-out, and a parent. ``tag`` begins
    every id. ``warm_up`` are workflows before the measurement (-1: as many as suit ``c``).
    """

    n: int
    c: int
    tag: str
    max_s: float = 45.0
    runs: int = 3
    sleep_s: float = 5.0
    queued: bool = False
    warm_up: int = -1


async def closed_loop(
    count: int, width: int, max_s: float, one: Callable[[int], Awaitable[None]]
) -> tuple[list[float], float]:
    """Do ``count`` operations, ``width`` at a time; return their times and the whole, in s."""
    took: list[float] = []
    left = iter(range(count))
    begun = time.perf_counter()

    async def runner() -> None:
        for number in left:
            now = time.perf_counter()
            if now - begun > max_s:
                return
            await one(number)
            took.append(time.perf_counter() - now)

    await asyncio.gather(*(runner() for _ in range(min(width, count))))
    return took, time.perf_counter() - begun


def percentile(ordered: list[float], share: float) -> float:
    """Return a percentile of sorted values, between two of them where it falls there."""
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def latencies(took_s: list[float]) -> Fields:
    """Return the usual fields of a list of times."""
    if not took_s:
        raise WorkloadFailed("no operation was completed in the time that was given")
    ordered = sorted(each * 1000 for each in took_s)
    return {
        "p50_ms": round(percentile(ordered, 0.5), 2),
        "p99_ms": round(percentile(ordered, 0.99), 2),
        "mean_ms": round(fmean(ordered), 2),
        "max_ms": round(ordered[-1], 2),
    }


def expect(got: object, wanted: object, what: str) -> None:
    if got != wanted:
        raise WorkloadFailed(f"{what}: {got!r} came back, not {wanted!r}")


async def run_chain(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    async def one(number: int) -> None:
        id = f"{load.tag}-{number}"
        got = await client.run(chain, f"w{number}", load.queued, id=id)
        expect(got, f"done:w{number}", "chain")

    with meter:
        took, elapsed = await closed_loop(load.n, load.c, load.max_s, one)
    done = len(took)
    return {
        "n": done,
        "c": load.c,
        "wf_per_s": round(done / elapsed, 2),
        "act_per_s": round(CHAIN_STEPS * done / elapsed, 1),
        **latencies(took),
    }, {"echo": CHAIN_STEPS * done}


async def one_order(client: Client, id: str, queued: bool) -> None:
    handle = await client.start(order, id, queued, id=id)
    await handle.raise_event("fraudReviewApproved", 0)
    expect(await handle.result(), ORDER_DONE, "order")


async def run_order(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    async def one(number: int) -> None:
        await one_order(client, f"{load.tag}-{number}", load.queued)

    with meter:
        took, elapsed = await closed_loop(load.n, load.c, load.max_s, one)
    done = len(took)
    executed = dict.fromkeys(("reserve", "notify", "deduct", "confirm", "followup"), done)
    return {
        "n": done,
        "c": load.c,
        "wf_per_s": round(done / elapsed, 2),
        "act_per_s": round(ORDER_ACTIVITIES * done / elapsed, 1),
        **latencies(took),
    }, {**executed, "payment": 3 * done}


async def run_fanout(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    took = []
    with meter:
        for number in range(load.runs):
            begun = time.perf_counter()
            got = await client.run(fanout, load.n, load.queued, id=f"{load.tag}-{number}")
            expect(got, load.n * (load.n - 1) // 2, "fanout")
            took.append(time.perf_counter() - begun)
    return {
        "n": load.n,
        "c": 1,
        "runs": load.runs,
        "wf_per_s": round(load.runs / sum(took), 3),
        "act_per_s": round(load.n * load.runs / sum(took), 1),
        "runs_ms": [round(each * 1000, 1) for each in took],
        **latencies(took),
    }, {"noop": load.n * load.runs}


async def run_children(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    """Let one parent call many children of one activity each, and sum up what they return."""
    took = []
    with meter:
        for number in range(load.runs):
            begun = time.perf_counter()
            got = await client.run(parent, load.n, load.queued, id=f"{load.tag}-{number}")
            expect(got, load.n * (load.n - 1) // 2, "children")
            took.append(time.perf_counter() - begun)
    return {
        "n": load.n,
        "c": 1,
        "runs": load.runs,
        "wf_per_s": round(load.runs / sum(took), 3),
        "children_per_s": round(load.n * load.runs / sum(took), 1),
        "runs_ms": [round(each * 1000, 1) for each in took],
        **latencies(took),
    }, {"noop": load.n * load.runs}


async def run_signal(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    """Send events to one workflow; the percentiles are those of one acknowledged send."""
    handle = await client.start(signal, load.n, id=f"{load.tag}-0")

    async def send(number: int) -> None:
        await handle.raise_event("event", number)

    with meter:
        begun = time.perf_counter()
        result = asyncio.ensure_future(handle.result())
        took, sent = await closed_loop(load.n, load.c, load.max_s, send)
        expect(await result, load.n, "signal")
        total = time.perf_counter() - begun
    return {
        "n": load.n,
        "c": load.c,
        "wf_per_s": round(1 / total, 4),
        "total_s": round(total, 3),
        "send_s": round(sent, 3),
        "signals_per_s": round(load.n / total, 1),
        **latencies(took),
    }, {}


async def run_timers(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    """Start sleepers; lateness is the shard's own, the percentiles are the client's view."""
    starting = asyncio.Semaphore(load.c)
    late_s: list[float] = []
    late_at_client_s: list[float] = []
    start_took: list[float] = []
    started = done = begun = time.time()

    async def one(number: int) -> None:
        nonlocal started, done
        async with starting:
            before = time.time()
            handle = await client.start(timers, load.sleep_s, id=f"{load.tag}-{number}")
            started = time.time()
            start_took.append(started - before)
        slept_from, woken = await handle.result()
        done = time.time()
        late_at_client_s.append(done - before - load.sleep_s)
        late_s.append(woken - slept_from - load.sleep_s)

    with meter:
        await asyncio.gather(*(one(number) for number in range(load.n)))
    if min(late_at_client_s) < -EARLY_S:
        raise WorkloadFailed(f"a timer fired {-min(late_at_client_s):.3f} s early")
    late = sorted(each * 1000 for each in late_s)
    return {
        "n": load.n,
        "c": load.c,
        "sleep_s": load.sleep_s,
        "wf_per_s": round(load.n / (done - begun), 2),
        "overhang_s": round(done - begun - load.sleep_s, 3),
        "all_started_s": round(started - begun, 3),
        "max_late_ms": round(late[-1], 1),
        "p50_late_ms": round(percentile(late, 0.5), 1),
        "p99_late_ms": round(percentile(late, 0.99), 1),
        "start_p50_ms": round(percentile(sorted(start_took), 0.5) * 1000, 2),
        **latencies(late_at_client_s),
    }, {}


async def warm_up(client: Client, name: str, load: Load) -> None:
    """Run a few chains and a few of the workload itself, as many as the peers' loops do."""
    counts = {"chain": min(max(2 * load.c, 10), 200), "order": min(max(load.c, 2), 50)}
    count = counts.get(name, 5) if load.warm_up < 0 else load.warm_up
    tag = f"{load.tag}-w"

    async def one_chain(number: int) -> None:
        await client.run(chain, f"x{number}", load.queued, id=f"{tag}c{number}")

    async with asyncio.timeout(40):
        await one_chain(-1)
    await closed_loop(count, min(load.c, count), 10, one_chain)
    if name == "order":

        async def one(number: int) -> None:
            await one_order(client, f"{tag}o{number}", load.queued)

        await closed_loop(count, min(load.c, count), 10, one)
    elif name == "fanout":
        await client.run(fanout, 10, load.queued, id=f"{tag}f")
    elif name == "children":
        await client.run(parent, 10, load.queued, id=f"{tag}p")
    elif name == "signal":
        handle = await client.start(signal, 3, id=f"{tag}s")
        for number in range(3):
            await handle.raise_event("event", number)
        await handle.result()
    elif name == "timers":
        await asyncio.gather(*(client.run(timers, 0.05, id=f"{tag}t{n}") for n in range(5)))


Loop = Callable[[Client, Load, Meter], Awaitable[tuple[Fields, Executed]]]

LOOPS: dict[str, Loop] = {
    "chain": run_chain,
    "order": run_order,
    "fanout": run_fanout,
    "children": run_children,
    "signal": run_signal,
    "timers": run_timers,
}
