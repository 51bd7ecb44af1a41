"""Updates on a broker, while workers are killed: each counts once, and its result is the same."""

from __future__ import annotations

import asyncio
import random

import pytest

from processor import Client, CommandRejected, Handle, ShardUnavailable
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import Books
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer

RUNS = 12
VALUES = [*range(20)]


@pytest.mark.timeout(240)
def test_updates_count_once_while_workers_are_killed(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    dice = random.Random(11)
    killed = again = 0

    async def book(handle: Handle[list[int]], value: int) -> list[int]:
        """Send an update until it has an outcome, as a client does that does not know."""
        nonlocal again
        while True:
            try:
                return await handle.update(Books.book, value, id=f"u{value}", timeout=60)
            except (ShardUnavailable, CommandRejected):  # nobody is there, or too many run
                again += 1
                await asyncio.sleep(0.1)

    async def tell(handle: Handle[list[int]]) -> list[list[int]]:
        told = await asyncio.gather(*(book(handle, value) for value in VALUES[:10]))
        told += await asyncio.gather(*(book(handle, value) for value in VALUES[5:]))
        return told

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        handles = []
        for number in range(RUNS):
            id = f"books-{number}"
            first = client.update_with_start(
                Books.run, len(VALUES), id=id, update=(Books.book, 0), update_id="u0", timeout=60
            )
            assert await first == [0, 1]
            handles.append(client.handle(id, workflow=Books.run))
        told = asyncio.gather(*map(tell, handles))
        while not told.done() and killed < 4:
            await asyncio.sleep(dice.uniform(0.5, 1.5))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        outcomes = await told
        results = await asyncio.gather(*(each.result(100) for each in handles))
        for booked, seen in zip(results, outcomes, strict=True):
            assert sorted(booked) == VALUES
            assert all(booked.index(value) + 1 == place for value, place in seen)
        closed = await asyncio.gather(*(each.update("book", 3, id="u3") for each in handles))
        assert [place for _, place in closed] == [each.index(3) + 1 for each in results]

    ask(kafka_servers, made, talk, 220)
    assert sum(len(reading.runs) for reading in check_logs(kafka_servers, made)) == RUNS
    told = f"{RUNS * len(VALUES)} updates, each sent twice or more ({again} refused), each once"
    record("updates", "kill -9 of workers at random", killed, told)
