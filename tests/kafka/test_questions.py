"""Workflows that ask others on a broker, while workers are killed: each is answered once."""

from __future__ import annotations

import asyncio
import random

import pytest

from processor import Client
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import Books, asks
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer

PAIRS = 20
VALUES = [*range(6)]


@pytest.mark.timeout(240)
def test_questions_are_answered_once_while_workers_are_killed(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    """Two ask each of the others, on all shards: what one books, the other one does not."""
    dice = random.Random(11)
    killed = 0
    mine, others = VALUES[:3], VALUES[3:]

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        books = [await client.start(Books.run, len(VALUES), id=f"b-{n}") for n in range(PAIRS)]
        askers = [
            await client.start(asks, each.id, values, id=f"{values[0]}-{each.id}")
            for each in books
            for values in (mine, others)
        ]
        ends = asyncio.gather(*(each.result(200) for each in askers))
        while not ends.done() and killed < 4:
            await asyncio.sleep(dice.uniform(0.5, 1.5))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        found = await ends
        for number, each in enumerate(books):
            booked = await each.result(60)
            assert sorted(booked) == VALUES, "each update counts once"
            for told, first, seen, *same in found[2 * number : 2 * number + 2]:
                assert all(booked[place - 1] == value for value, place in told)
                assert first in VALUES and seen == booked[: len(seen)]
                assert {value for value, _ in told} <= set(seen)
                assert same == [booked] * 3

    ask(kafka_servers, made, talk, 220)
    runs = sum(len(reading.runs) for reading in check_logs(kafka_servers, made))
    assert runs == 3 * PAIRS
    told = f"{2 * PAIRS} runs asked {2 * PAIRS * (len(mine) + 5)} questions"
    record("questions", "kill -9 of workers at random", killed, told)
