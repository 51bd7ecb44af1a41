"""Three processes, each with workers of two namespaces, are killed while their runs ask each other.

``KILLED_S=60`` does it for a minute, with 100 runs in each namespace: ``make kills``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka.admin import AdminClient

from processor import Client, Handle, RequestExpired, ShardUnavailable
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted
from processor.kafka.topics.upkeep import apply, plan
from tests.kafka.both_ways import Clerk, goes_over
from tests.kafka.evidence import record
from tests.kafka.harness import PARTITIONS
from tests.kafka.load import check_logs
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import PATIENT, committed, first_answer
from tests.kafka.test_families import AFTER_S, KILLED_S, PROCESSES, Killer

RUNS = round(KILLED_S * 100 / 60)
"""In each namespace."""

R = TypeVar("R")


@pytest.fixture
def both(made: str, admin: AdminClient) -> tuple[str, str]:
    """Two namespaces with their topics, of different counts of partitions."""
    other = f"{made}-other"
    apply(admin, plan(admin, other, PARTITIONS + 1, 1))
    return made, other


@pytest.fixture
def processes(
    kafka_servers: str, both: tuple[str, str], tmp_path: Path
) -> Iterator[list[WorkerProcess]]:
    """Processes with workers of both namespaces."""
    started = [
        WorkerProcess(kafka_servers, ",".join(both), tmp_path, slot) for slot in range(PROCESSES)
    ]
    for process in started:
        process.start()
    yield started
    for process in started:
        process.end()


async def until_told(operation: Callable[[], Awaitable[R]]) -> R:
    """Ask until there is an answer, as a client does that does not know."""
    while True:
        try:
            return await operation()
        except (ShardUnavailable, RequestExpired, TimeoutError):
            await asyncio.sleep(0.2)


async def went_over(client: Client, other: str, number: int) -> int:
    """Start a run at its moment, and return what it comes to."""
    await asyncio.sleep(number * KILLED_S / RUNS)
    start: Callable[[], Awaitable[Handle[int]]] = partial(
        client.start,
        goes_over,
        other,
        number,
        id=f"goes-{number}",
        conflict="use-existing",
        reuse="use-existing",
    )
    handle = await until_told(start)
    return await until_told(partial(handle.result, KILLED_S + AFTER_S))


async def talk(client: Client, other: str, all_over: asyncio.Barrier) -> tuple[list[int], int]:
    """Return what the runs of a namespace come to, and then the sum of its clerk."""
    await first_answer(client)
    begin = partial(
        client.start, Clerk.run, id="clerk", conflict="use-existing", reuse="use-existing"
    )
    clerk: Handle[int] = await until_told(begin)
    await all_over.wait()  # a call to a clerk that is not there is an error
    ends = await asyncio.gather(*(went_over(client, other, number) for number in range(RUNS)))
    await all_over.wait()
    await until_told(partial(clerk.signal, Clerk.close))
    return ends, await until_told(partial(clerk.result, AFTER_S))


@pytest.mark.timeout(150 + KILLED_S + AFTER_S)
def test_runs_of_two_namespaces_ask_each_other_while_their_processes_are_killed(
    kafka_servers: str, both: tuple[str, str], processes: list[WorkerProcess]
) -> None:
    killer = Killer(processes)

    async def main() -> None:
        all_over = asyncio.Barrier(2)
        async with (
            asyncio.timeout(30 + KILLED_S + AFTER_S),
            Client(kafka_servers, namespace=both[0], settings=PATIENT) as one,
            Client(kafka_servers, namespace=both[1], settings=PATIENT) as two,
        ):
            talking = asyncio.gather(talk(one, both[1], all_over), talk(two, both[0], all_over))
            await asyncio.gather(first_answer(one), first_answer(two))
            await killer.run(KILLED_S)
            for ends, sum_of_clerk in await talking:
                assert ends == [6 * number for number in range(RUNS)]
                assert sum_of_clerk == sum(2 * number for number in range(RUNS))

    asyncio.run(main())
    ids = [f"goes-{number}" for number in range(RUNS)]
    children = [f"{id}/{which}" for id in ids for which in ("first", "second")]
    for namespace in both:
        runs, updates = _in_the_logs(kafka_servers, namespace)
        assert runs == Counter([*ids, *children, "clerk"]), "each is one run"
        assert updates == {"UpdateAccepted": RUNS, "UpdateCompleted": RUNS}
        results = committed(kafka_servers, f"{namespace}.results", len(runs))
        assert Counter((message.key() or b"").decode() for message in results) == runs
    told = (
        f"2 namespaces of {RUNS} runs, with {2 * RUNS} children and {RUNS} calls in the other one: "
        "one run each, each call once"
    )
    done = f"kill -9 of {PROCESSES} processes with workers of both for {KILLED_S:g} s"
    record("two namespaces", done, killer.killed, told)


def _in_the_logs(servers: str, namespace: str) -> tuple[Counter[str], Counter[str]]:
    """Return the runs of each workflow id, and how often there is each event of an update."""
    runs: Counter[str] = Counter()
    updates: Counter[str] = Counter()
    for reading in check_logs(servers, namespace):
        for turns in reading.runs.values():
            runs[turns[0].turn.workflow_id] += 1
            for event in (event for each in turns for event in each.turn.events):
                if isinstance(event, UpdateAccepted | UpdateCompleted):
                    updates[type(event).__name__] += 1
    return runs, updates
