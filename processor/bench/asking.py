"""Queries of idle workflows, and updates with one activity each: the loops that drive the peers."""

from __future__ import annotations

from typing import Any

from processor import workflow
from processor.bench.loops import Executed, Fields, Load, closed_loop, expect, latencies
from processor.bench.meter import Meter
from processor.bench.workloads import noop
from processor.client import Client, Handle

__all__ = ("ASKED", "run_query", "run_update", "warm_up_query", "warm_up_update")

_WORKFLOWS = 20
"""So many are asked in turn."""

_WARM_UP_S = 5.0


@workflow.define(name="idle")
class Idle:
    """Waits, and says what it was started with."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._finished = False

    @workflow.run
    async def run(self, state: str) -> str:
        await workflow.wait_until(lambda: self._finished)
        return state

    @workflow.query
    def state(self) -> str:
        return self._state

    @workflow.signal
    def finish(self) -> None:
        self._finished = True


@workflow.define(name="updatable")
class Updatable:
    """Counts updates, each of which runs an activity."""

    def __init__(self) -> None:
        self._count = 0
        self._finished = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_until(lambda: self._finished)
        await workflow.wait_until(workflow.all_handlers_finished)
        return self._count

    @workflow.update
    async def add(self, number: int) -> list[int]:
        answer = await noop(number)
        self._count += 1
        return [self._count, 2 * answer + 1]

    @workflow.signal
    def finish(self) -> None:
        self._finished = True


ASKED = (Idle, Updatable)


async def run_query(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    """Ask idle workflows for their state."""
    states = [f"s{number}" for number in range(_WORKFLOWS)]
    idle = [await client.start(Idle.run, each, id=f"{load.tag}-{each}") for each in states]

    async def one(number: int) -> None:
        which = number % _WORKFLOWS
        expect(await idle[which].query(Idle.state), states[which], "query")

    with meter:
        took, elapsed = await closed_loop(load.n, load.c, load.max_s, one)
    for handle, state in zip(idle, states, strict=True):
        await handle.signal(Idle.finish)
        expect(await handle.result(), state, "idle workflow's result")
    return _fields(load, took, elapsed), {}


async def run_update(client: Client, load: Load, meter: Meter) -> tuple[Fields, Executed]:
    """Send updates to workflows, each with one activity, and await their results."""
    handles: list[Handle[Any]] = [
        await client.start(Updatable.run, id=f"{load.tag}-{number}") for number in range(_WORKFLOWS)
    ]
    counts: list[list[int]] = [[] for _ in handles]

    async def one(number: int) -> None:
        which = number % _WORKFLOWS
        count, answer = await handles[which].update(Updatable.add, number)
        expect(answer, 2 * number + 1, "update")
        counts[which].append(count)

    with meter:
        took, elapsed = await closed_loop(load.n, load.c, load.max_s, one)
    for handle, seen in zip(handles, counts, strict=True):
        expect(sorted(seen), list(range(1, len(seen) + 1)), "updates of a workflow")
        await handle.signal(Updatable.finish)
        expect(await handle.result(), len(seen), "updates of a workflow")
    return _fields(load, took, elapsed), {"noop": len(took)}


def _fields(load: Load, took: list[float], elapsed: float) -> Fields:
    done = len(took)
    figures = {"n": done, "c": load.c, "wfs": _WORKFLOWS, "ops_per_s": round(done / elapsed, 1)}
    return {**figures, **latencies(took)}


async def warm_up_query(client: Client, load: Load) -> None:
    """Ask idle workflows a few times, as the peers' loops do."""
    idle = [
        await client.start(Idle.run, f"s{number}", id=f"{load.tag}-wq{number}")
        for number in range(_WORKFLOWS)
    ]

    async def one(number: int) -> None:
        await idle[number % _WORKFLOWS].query(Idle.state)

    await closed_loop(100, load.c, _WARM_UP_S, one)
    for handle in idle:
        await handle.signal(Idle.finish)
        await handle.result()


async def warm_up_update(client: Client, load: Load) -> None:
    """Update workflows a few times, as the peers' loops do."""
    handles = [await client.start(Updatable.run, id=f"{load.tag}-wu{n}") for n in range(5)]

    async def one(number: int) -> None:
        await handles[number % len(handles)].update(Updatable.add, number)

    await closed_loop(50, min(load.c, 5), _WARM_UP_S, one)
    for handle in handles:
        await handle.signal(Updatable.finish)
        await handle.result()
