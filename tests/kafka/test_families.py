"""Three processes are killed again and again, while parents, their children and updates go on.

``KILLED_S=60`` does it for a minute, with 200 parents of five children each: ``make kills``.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import pytest

from processor import Client, CommandRejected, Handle, ShardUnavailable
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import Sums
from tests.kafka.processes import StartWorker, WorkerProcess
from tests.kafka.talking import ask, committed, first_answer

KILLED_S = float(os.environ.get("KILLED_S", "20"))
PARENTS = round(KILLED_S * 200 / 60)
CHILDREN = 5
PROCESSES = 3
AFTER_S = 240.0
"""So long the last of them may take, once nobody is killed any more."""

AWAY_S = 8.0
"""Longer than the session of a member: another process takes its shards over."""

R = TypeVar("R")


class Killer:
    """Kills one of the processes every few seconds, which starts again at once, or much later."""

    def __init__(self, workers: list[WorkerProcess]) -> None:
        self._workers = workers
        self._dice = random.Random(17)
        self.killed = 0

    async def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        async with asyncio.TaskGroup() as returning:
            while time.monotonic() < deadline:
                await asyncio.sleep(self._dice.uniform(1.5, 4.0))
                alive = [worker for worker in self._workers if worker.is_running]
                victim = self._dice.choice(alive)
                victim.kill()
                self.killed += 1
                away_s = AWAY_S if len(alive) == PROCESSES and self._dice.random() < 0.4 else 0.0
                returning.create_task(self._starts(victim, away_s))

    async def _starts(self, victim: WorkerProcess, away_s: float) -> None:
        await asyncio.sleep(away_s)
        victim.start()


class Families:
    """Starts parents one after another, and sends each its update twice at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.again = 0

    async def run(self, number: int) -> tuple[int, list[list[int]]]:
        """Return what a parent comes to, and what both were told who sent its update."""
        await asyncio.sleep(number * KILLED_S / PARENTS)
        handle: Handle[int] = self._client.handle(f"p{number}", workflow=Sums.run)
        start: Callable[[], Awaitable[Handle[int]]] = partial(
            self._client.start,
            Sums.run,
            number,
            id=handle.id,
            conflict="use-existing",
            reuse="use-existing",
        )
        await self._until_told(start)
        update = partial(handle.update, Sums.add, number, id="the-update", timeout=60)
        told = await asyncio.gather(*(self._until_told(update) for _ in range(2)))
        result = await self._until_told(partial(handle.result, KILLED_S + AFTER_S))
        return result, [*told, await self._until_told(update)]

    async def _until_told(self, operation: Callable[[], Awaitable[R]]) -> R:
        """Ask until there is an answer, as a client does that does not know."""
        while True:
            try:
                return await operation()
            except (ShardUnavailable, CommandRejected, TimeoutError):
                self.again += 1
                await asyncio.sleep(0.2)


@pytest.mark.timeout(120 + KILLED_S + AFTER_S)
def test_families_while_three_processes_are_killed(
    kafka_servers: str, made: str, start_worker: StartWorker
) -> None:
    workers = [start_worker(kafka_servers, slot) for slot in range(PROCESSES)]
    killer = Killer(workers)
    begun = time.monotonic()

    async def talk(client: Client) -> int:
        await first_answer(client)
        families = Families(client)
        killing = asyncio.create_task(killer.run(KILLED_S))
        ended = await asyncio.gather(*(families.run(number) for number in range(PARENTS)))
        await killing
        for number, (result, told) in enumerate(ended):
            numbers = range(number, number + CHILDREN)
            assert result == 2 * sum(numbers) + 2 * number
            assert told == [[2 * number, 1, 2 * sum(numbers[:2])]] * 3
        return families.again

    again = ask(kafka_servers, made, talk, KILLED_S + AFTER_S)
    seconds = time.monotonic() - begun
    runs, updates = _in_the_logs(kafka_servers, made)
    expected = [f"p{number}" for number in range(PARENTS)]
    expected += [f"{parent}/{n + m}" for n, parent in enumerate(expected) for m in range(CHILDREN)]
    assert runs == Counter(expected), "each parent and each child is one run"
    once = [
        (f"p{n}", kind) for n in range(PARENTS) for kind in ("UpdateAccepted", "UpdateCompleted")
    ]
    assert updates == Counter(once), "each update counts once"
    results = committed(kafka_servers, f"{made}.results", len(expected))
    assert Counter((message.key() or b"").decode() for message in results) == runs
    told = (
        f"{len(expected)} runs ({PARENTS} parents of {CHILDREN} children), one each; "
        f"{3 * PARENTS} answers to {PARENTS} updates ({again} asked again) in {seconds:.0f} s"
    )
    record("families", f"kill -9 of {PROCESSES} workers for {KILLED_S:g} s", killer.killed, told)


def _in_the_logs(servers: str, namespace: str) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Return the runs of each workflow id, and how often each id has an event of an update."""
    runs: Counter[str] = Counter()
    updates: Counter[tuple[str, str]] = Counter()
    for reading in check_logs(servers, namespace):
        for turns in reading.runs.values():
            workflow_id = turns[0].turn.workflow_id
            runs[workflow_id] += 1
            for event in (event for each in turns for event in each.turn.events):
                if isinstance(event, UpdateAccepted | UpdateCompleted):
                    updates[workflow_id, type(event).__name__] += 1
    return runs, updates
