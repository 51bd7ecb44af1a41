"""Attempts that are left open on a broker, while the workers that left them are killed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from processor import ActivityNotOpen, Client, Handle
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import waits_for_both
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer

RUNS = 12
Standing = dict[tuple[str, int], tuple[int, str]]


@pytest.mark.timeout(240)
def test_open_attempts_outlive_the_workers_that_left_them(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    dice = random.Random(7)
    killed = 0

    async def open_attempts(handles: list[Handle[Any]]) -> Standing:
        """Return the attempt and the token of each activity, once all are left open."""
        found: Standing = {}
        while len(found) < 2 * len(handles):
            for handle in handles:
                for each in (await handle.describe()).pending.get("activities", ()):
                    if each["left_open"] and each["details"]:
                        found[handle.id, each["id"]] = each["attempt"], each["details"]
            await asyncio.sleep(0.05)
        return found

    async def kill_one() -> None:
        nonlocal killed
        victim = dice.choice(workers)
        victim.kill()
        killed += 1
        victim.start()
        await asyncio.sleep(dice.uniform(0.2, 0.8))

    async def talk(client: Client) -> None:
        await first_answer(client)
        handles = []
        for number in range(RUNS):
            handles.append(await client.start(waits_for_both, number, id=f"both-{number}"))
            if number % 4 == 3:
                await kill_one()
        before = await open_attempts(handles)
        for worker in workers:
            worker.kill()
            worker.start()
        await first_answer(client)
        assert await open_attempts(handles) == before, "none is counted as lost, or run again"
        told = asyncio.gather(*(tell(client, each, before[each]) for each in before))
        for _ in range(2):
            await kill_one()
        await told
        results = await asyncio.gather(*(each.result(100) for each in handles))
        expected = [
            [before[f"both-{number}", id][0] * 1_000 + id for id in (1, 2)]
            for number in range(RUNS)
        ]
        assert results == expected
        for _, token in before.values():
            with pytest.raises(ActivityNotOpen):
                await client.complete(token, 0)

    async def tell(client: Client, which: tuple[str, int], stood: tuple[int, str]) -> None:
        attempt, token = stood
        assert not await client.heartbeat(token, token)
        await client.complete(token, attempt * 1_000 + which[1])

    ask(kafka_servers, made, talk, 220)
    assert sum(len(reading.runs) for reading in check_logs(kafka_servers, made)) == RUNS
    told = f"{2 * RUNS} open attempts, each ended once by its token"
    record("async completion", "kill -9 of workers at random", killed + 2, told)
