"""Delays, retries, cron strings and values on a broker, all along one chain, under kill -9."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest

from processor import Client, Handle, RetryPolicy, WorkflowCancelled
from processor.codec.records import decode_as
from processor.core.records.effects import RunResult
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import adds_up, counts_down
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, committed, first_answer

CHAINS = 4
LEFT = 7
ONCE_MORE = sum(left % 3 == 0 for left in range(LEFT + 1))
RUNS = LEFT + 1 + ONCE_MORE
"""Of each chain that counts down."""

CRONS = 3
ADDED = 6
"""So many runs of each cron chain begin, and one more waits for its time in the end."""


async def next_begins(handle: Handle[int], before: str | None) -> str:
    """Return the run that waits for its time, once another one than before does."""
    while True:
        run = await handle.describe()
        if run.begins is not None and run.run_id != before:
            return run.run_id
        await asyncio.sleep(0.05)


async def add(handle: Handle[int]) -> str | None:
    """Let runs begin before their time, each with an event that came before; return the last."""
    run_id = None
    for _ in range(ADDED):
        run_id = await next_begins(handle, run_id)
        await handle.raise_event("add", 1)
        await handle.start_now()
    last = run_id
    await next_begins(handle, run_id)
    return last


async def watch(handle: Handle[int]) -> list[int]:
    return [left async for left in handle.watch("left", result_type=int)]


@pytest.mark.timeout(300)
def test_chains_that_wait_for_their_time_while_workers_are_killed(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    dice = random.Random(17)
    killed = 0

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        retry = RetryPolicy(timedelta(milliseconds=300), coefficient=1.0)
        downs, crons = [], []
        for number in range(CHAINS):
            id = f"down-{number}"
            downs.append(await client.start(counts_down, LEFT, id=id, retry=retry, delay=1.5))
        for number in range(CRONS):
            crons.append(await client.start(adds_up, id=f"cron-{number}", cron="0 0 1 1 *"))
        watched = asyncio.gather(*map(watch, downs))
        added = asyncio.gather(*map(add, crons))
        while not (watched.done() and added.done()) and killed < 8:
            await asyncio.sleep(dice.uniform(0.5, 2))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        for lefts in await watched:
            assert all(one >= other for one, other in pairwise(lefts)), "values never go back"
            assert lefts[-1] == 0
        assert [await each.result(60) for each in downs] == [0] * CHAINS
        for handle, last in zip(crons, await added, strict=True):
            assert await client.handle(handle.id, last).result(60) == ADDED
            await handle.cancel("enough")
            with pytest.raises(WorkflowCancelled):
                await handle.result(60)

    ask(kafka_servers, made, talk, 280)
    runs = sum(len(reading.runs) for reading in check_logs(kafka_servers, made))
    assert runs == CHAINS * RUNS + CRONS * (ADDED + 1)
    results = [
        decode_as(RunResult, message.value() or b"")
        for message in committed(kafka_servers, f"{made}.results", runs)
    ]
    assert Counter(each.status for each in results) == {
        "failed": CHAINS * ONCE_MORE,
        "continued": CHAINS * LEFT,
        "completed": CHAINS + CRONS * ADDED,
        "cancelled": CRONS,
    }
    held = f"{runs} runs that waited for their time, each once; values in order"
    record("delays, retries, cron and values", "kill -9 and start of a worker", killed, held)
