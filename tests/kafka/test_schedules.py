"""Schedules on a broker, while three processes are killed: each time has its run, once.

``KILLED_S=60`` does it for a minute, with 60 schedules: ``make kills``.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

import pytest

from processor import Client, ShardUnavailable, WorkflowAlreadyStarted
from processor.client import ScheduleDescription, ScheduleHandle
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import collects
from tests.kafka.processes import StartWorker
from tests.kafka.talking import ask, first_answer
from tests.kafka.test_families import AFTER_S, KILLED_S, PROCESSES, Killer

SCHEDULES = round(KILLED_S)
R = TypeVar("R")


async def until_told(operation: Callable[[], Awaitable[R]]) -> R:
    """Ask until there is an answer, as a client does that does not know."""
    while True:
        try:
            return await operation()
        except (ShardUnavailable, TimeoutError):
            await asyncio.sleep(0.2)


async def create(client: Client, number: int, end: datetime) -> ScheduleHandle:
    """Make a schedule with a time each second, of which none may be left out."""
    id, overlap = f"s{number}", ("buffer-all", "allow-all")[number % 2]
    try:
        return await until_told(
            lambda: client.schedules.create(collects, 0, id=id, every=1, end=end, overlap=overlap)
        )
    except WorkflowAlreadyStarted:  # the answer to it was lost
        return client.schedules.handle(id)


async def settled(handle: ScheduleHandle, end: datetime) -> ScheduleDescription:
    """Return what a schedule tells once all its runs have ended."""
    while True:
        told = await until_told(handle.describe)
        is_last = bool(told.recent) and told.recent[0].nominal == end - timedelta(seconds=1)
        if is_last and not told.running and not told.waiting:
            return told
        await asyncio.sleep(0.5)


@pytest.mark.timeout(120 + KILLED_S + AFTER_S)
def test_schedules_while_three_processes_are_killed(
    kafka_servers: str, made: str, start_worker: StartWorker
) -> None:
    workers = [start_worker(kafka_servers, slot) for slot in range(PROCESSES)]
    killer = Killer(workers)
    begun = time.monotonic()

    async def talk(client: Client) -> dict[str, ScheduleDescription]:
        await first_answer(client)
        end = datetime.fromtimestamp(round(time.time() + KILLED_S), UTC)
        killing = asyncio.create_task(killer.run(KILLED_S))
        made = await asyncio.gather(*(create(client, each, end) for each in range(SCHEDULES)))
        await killing
        told = await asyncio.gather(*(settled(each, end) for each in made))
        await asyncio.gather(*(until_told(each.delete) for each in made))
        return {each.id: each for each in told}

    told = ask(kafka_servers, made, talk, KILLED_S + AFTER_S)
    seconds = time.monotonic() - begun
    runs = _in_the_logs(kafka_servers, made)
    assert max(runs.values()) == 1, "each time has one run"
    times = defaultdict(list)
    for workflow_id in runs:
        id, _, at = workflow_id.partition("-")
        moment = datetime.fromisoformat(at.removesuffix("Z")).replace(tzinfo=UTC)
        times[id].append(round(moment.timestamp()))
    for id, each in told.items():
        assert (each.missed, each.skipped, each.dropped) == (0, 0, 0)
        assert each.actions == len(times[id]), f"{id}: all that it has begun are there"
        apart = {after - before for before, after in pairwise(sorted(times[id]))}
        assert apart == {1}, f"{id}: no time is left out"
    assert len(runs) > KILLED_S * SCHEDULES / 4
    held = f"{len(runs)} runs of {SCHEDULES} schedules in {seconds:.0f} s, one for each time"
    record("schedules", f"kill -9 of {PROCESSES} workers for {KILLED_S:g} s", killer.killed, held)


def _in_the_logs(servers: str, namespace: str) -> Counter[str]:
    """Return how many runs each workflow id has, but for the schedules themselves."""
    return Counter(
        turns[0].turn.workflow_id
        for reading in check_logs(servers, namespace)
        for turns in reading.runs.values()
        if not turns[0].turn.workflow_id.startswith("schedule:")
    )
