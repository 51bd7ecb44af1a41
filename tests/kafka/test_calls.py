"""Calls and chains on a broker, while workers are killed: each call is answered once."""

from __future__ import annotations

import asyncio
import random

import pytest

from processor import Client
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import collects_in_the_end, tells
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer

PAIRS = 40
VALUES = [*range(8)]


@pytest.mark.timeout(240)
def test_calls_and_retries_while_workers_are_killed(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    """Senders and receivers live on all shards; a receiver fails twice while it is told things."""
    dice = random.Random(11)
    killed = 0

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        receivers = [
            await client.start(collects_in_the_end, 2, len(VALUES), id=f"receiver-{number}")
            for number in range(PAIRS)
        ]
        senders = [
            await client.start(tells, each.id, VALUES, id=f"sender-{each.id}") for each in receivers
        ]
        ends = asyncio.gather(*(each.result(200) for each in (*senders, *receivers)))
        while not ends.done() and killed < 6:
            await asyncio.sleep(dice.uniform(0.5, 1.5))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        results = await ends
        assert results[:PAIRS] == [["taken", "nobody"] * len(VALUES)] * PAIRS
        assert results[PAIRS:] == [VALUES] * PAIRS

    ask(kafka_servers, made, talk, 220)
    runs = sum(len(reading.runs) for reading in check_logs(kafka_servers, made))
    assert runs == PAIRS * (1 + 3), "a sender is one run, a receiver three"
    told = f"{PAIRS * len(VALUES)} calls taken, as many refused; {PAIRS} chains of three runs"
    record("calls", "kill -9 of workers at random", killed, told)
