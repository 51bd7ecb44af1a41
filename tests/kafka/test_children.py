"""Parents and children on a broker, while workers are killed: each child is exactly one run."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from processor import Client, Status, WorkflowTerminated
from processor.core.nouns.run import WorkflowStarted
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import leaves, raises
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer

PARENTS = 15
CHILDREN = 12
"""Of each parent, beside one that is tried again, one that is told something, and one it leaves."""


@pytest.mark.timeout(300)
def test_parents_and_children_while_workers_are_killed(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    dice = random.Random(12)
    killed = 0

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        parents = [await client.start(raises, CHILDREN, id=f"p{n}") for n in range(PARENTS)]
        ends = asyncio.gather(*(each.result(240) for each in parents))
        while not ends.done() and killed < 6:
            await asyncio.sleep(dice.uniform(0.5, 1.5))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        expected = [sum(2 * n for n in range(CHILDREN)), 3, "told"]
        assert await ends == [expected] * PARENTS
        for number in range(PARENTS):
            left = client.handle(f"p{number}/left")
            while (await left.describe()).status is Status.RUNNING:
                await asyncio.sleep(0.1)
            found = await left.describe()
            assert found.status is Status.TERMINATED, "its parent has ended"
            assert found.parent is not None and found.parent.workflow_id == f"p{number}"

    ask(kafka_servers, made, talk, 280)
    runs: Counter[str] = Counter()
    for reading in check_logs(kafka_servers, made):
        for turns in reading.runs.values():
            start = turns[0].turn.events[0]
            assert isinstance(start, WorkflowStarted)
            runs[turns[0].turn.workflow_id] += 1
    for number in range(PARENTS):
        names = [f"p{number}", f"p{number}/told", f"p{number}/left"]
        names += [f"p{number}/{child}" for child in range(CHILDREN)]
        assert {name: runs.pop(name) for name in names} == dict.fromkeys(names, 1)
        assert runs.pop(f"p{number}/again") == 3
    assert not runs
    told = f"{PARENTS} parents of {CHILDREN + 3} children: one run each, and three where it retries"
    record("children", "kill -9 of workers at random", killed, told)


@pytest.mark.timeout(120)
def test_the_end_of_a_parent_reaches_the_shards_of_its_children(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    async def talk(client: Client) -> None:
        await first_answer(client)
        for recursive in (True, False):
            handle = await client.start(leaves, 8, id=f"leaves-{recursive}")
            ids = [f"leaves-{recursive}/{number}" for number in range(8)]
            while len((await handle.describe()).pending["children"]) < 8:
                await asyncio.sleep(0.1)
            await handle.terminate("enough", recursive=recursive, output=ids)
            with pytest.raises(WorkflowTerminated) as ended:
                await handle.result()
            assert ended.value.output == ids
            for id in ids:
                child = client.handle(id)
                if recursive:
                    while (await child.describe()).status is Status.RUNNING:
                        await asyncio.sleep(0.1)
                    assert (await child.describe()).status is Status.TERMINATED
                else:
                    assert (await child.describe()).status is Status.RUNNING
                    await child.terminate()

    ask(kafka_servers, made, talk, 100)
