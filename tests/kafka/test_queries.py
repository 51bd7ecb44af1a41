"""Signals and queries on a broker, while workers are killed: an answer has all that was taken."""

from __future__ import annotations

import asyncio
import random

import pytest

from processor import Client, Handle
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import Listens
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer

RUNS = 12
VALUES = [*range(20)]


@pytest.mark.timeout(240)
def test_queries_see_what_was_taken_while_workers_are_killed(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    dice = random.Random(7)
    killed = asked = 0

    async def tell(handle: Handle[list[list[int]]]) -> None:
        """Send what a run waits for, and ask for it after each."""
        nonlocal asked
        for value in VALUES:
            await handle.signal(Listens.hear, value)
            told = await handle.query(Listens.so_far, timeout=60)
            assert told == VALUES[: value + 1]
            asked += 1
            await handle.signal(Listens.twice, value)

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        handles = [
            await client.start(Listens.run, len(VALUES), id=f"listens-{number}")
            for number in range(RUNS)
        ]
        told = asyncio.gather(*map(tell, handles))
        while not told.done() and killed < 4:
            await asyncio.sleep(dice.uniform(0.5, 1.5))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        await told
        results = await asyncio.gather(*(each.result(100) for each in handles))
        assert results == [[VALUES, [2 * value for value in VALUES]]] * RUNS
        closed = await asyncio.gather(*(each.query("so_far") for each in handles))
        assert closed == [VALUES] * RUNS

    ask(kafka_servers, made, talk, 220)
    assert sum(len(reading.runs) for reading in check_logs(kafka_servers, made)) == RUNS
    told = f"{asked} queries, each with all that was taken before; {RUNS} of closed runs"
    record("queries", "kill -9 of workers at random", killed, told)
