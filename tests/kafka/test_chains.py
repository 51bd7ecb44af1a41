"""Continue-as-new on a broker: whatever is killed, each event counts once, in order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from processor import Client, Handle, WorkflowContinued
from processor.codec.records import decode_as
from processor.core.records.effects import RunResult
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import TAKEN, meters
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, committed, first_answer

CHAINS = 6
VALUES = [*range(60)]
RUNS = len(VALUES) // TAKEN
"""Of each chain."""


@pytest.mark.timeout(240)
def test_each_event_counts_once_and_in_order_while_workers_are_killed(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    dice = random.Random(11)
    killed = 0

    async def tell(handle: Handle[list[int]]) -> list[int]:
        for value in VALUES:
            await handle.raise_event("told", value)
            await asyncio.sleep(dice.uniform(0, 0.1))
        return await handle.result(100)

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        handles = [
            await client.start(meters, len(VALUES), [], id=f"chain-{number}")
            for number in range(CHAINS)
        ]
        told = asyncio.gather(*map(tell, handles))
        while not told.done() and killed < 6:
            await asyncio.sleep(dice.uniform(0.5, 2))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        assert await told == [VALUES] * CHAINS
        for handle in handles:
            with pytest.raises(WorkflowContinued):
                await client.handle(handle.id, handle.run_id).result(60)

    ask(kafka_servers, made, talk, 220)
    runs = sum(len(reading.runs) for reading in check_logs(kafka_servers, made))
    assert runs == CHAINS * RUNS
    results = [
        decode_as(RunResult, message.value() or b"")
        for message in committed(kafka_servers, f"{made}.results", runs)
    ]
    assert Counter(each.status for each in results) == {
        "continued": CHAINS * (RUNS - 1),
        "completed": CHAINS,
    }
    followed = {each.successor_run_id for each in results} - {None}
    assert followed == {each.run_id for each in results if each.run_id != each.first_run_id}
    held = f"{CHAINS * len(VALUES)} events in {runs} runs of {CHAINS} chains, each once, in order"
    record("continue-as-new under kill -9", "kill -9 and start of a worker", killed, held)
