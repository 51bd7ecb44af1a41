"""Two namespaces of one broker: children there, answers back, and namespaces that are not there."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from processor import (
    Client,
    NamespaceNotFound,
    Settings,
    Status,
    Worker,
    WorkflowTerminated,
    workflow,
)
from processor.codec.records import decode_as
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.run import WorkflowStarted
from processor.kafka.topics.dead_letters import DeadLetters
from processor.kafka.topics.upkeep import apply, plan
from tests.kafka.evidence import record
from tests.kafka.harness import PARTITIONS, Adapters
from tests.kafka.load import check_logs
from tests.kafka.probes import away
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer

from .delivered import letters


@workflow.define
class Ledger:
    def __init__(self) -> None:
        self.sum = 0
        self.closed = False

    @workflow.run
    async def run(self) -> int:
        workflow.set_value("opened", True)
        await workflow.wait_until(lambda: self.closed)
        return self.sum

    @workflow.update
    async def add(self, amount: int) -> int:
        self.sum += amount
        return self.sum

    @workflow.query
    def total(self) -> int:
        return self.sum

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@workflow.define
async def order(billing: str, amount: int) -> list[Any]:
    """Use all that one instance can ask of another one, in another namespace."""
    me = workflow.info().workflow_id
    child = await workflow.start_child(Ledger.run, id=f"{me}/ledger", namespace=billing)
    ledger = workflow.handle(f"{me}/ledger", workflow=Ledger.run, namespace=billing)
    told: list[Any] = [await ledger.value("opened", result_type=bool)]
    told.append(await ledger.update(Ledger.add, amount))
    told.append(await ledger.query(Ledger.total))
    waits = asyncio.create_task(ledger.result())
    await ledger.signal(Ledger.close)
    told += [await child, await waits]
    return told


@workflow.define
async def holds(billing: str) -> None:
    me = workflow.info().workflow_id
    await workflow.start_child(Ledger.run, id=f"{me}/ledger", namespace=billing)
    await workflow.wait_for_event("never", int)


@workflow.define
async def tries(billing: str) -> str:
    try:
        return str(await workflow.call_child(Ledger.run, namespace=billing))
    except NamespaceNotFound as error:
        return f"none: {error}"


@workflow.define
async def tells(billing: str) -> str:
    workflow.handle("ledger", namespace=billing).signal(Ledger.close)
    return "told"


@workflow.define
async def opens(billing: str) -> str:
    try:
        child = await workflow.start_child(Ledger.run, namespace=billing)
    except NamespaceNotFound as error:
        return f"none: {error}"
    await child.signal(Ledger.close)
    return f"the sum is {await child}"


WORKFLOWS = [Ledger, order, holds, tries, tells, opens]


@asynccontextmanager
async def serving(servers: str, namespace: str, folder: Path) -> AsyncIterator[Client]:
    """Run a worker of a namespace; yield a client whose first question was answered."""
    worker = Worker(servers, namespace=namespace, workflows=WORKFLOWS, state_dir=folder / namespace)
    settings = Settings(request_timeout_s=60.0)
    async with worker, Client(servers, namespace=namespace, settings=settings) as client:
        yield client


def run(main: Callable[[], Awaitable[None]], timeout_s: float = 150) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(timeout_s):
            await main()

    asyncio.run(bounded())


@pytest.fixture
def billing(made: str, admin: AdminClient) -> str:
    """Another namespace than ``made``, with its topics, of another count of partitions."""
    other = f"{made}-billing"
    apply(admin, plan(admin, other, PARTITIONS + 3, 1))
    return other


@pytest.mark.timeout(180)
def test_all_that_is_asked_of_another_namespace_is_answered(
    kafka_servers: str, made: str, billing: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with (
            serving(kafka_servers, made, tmp_path) as shop,
            serving(kafka_servers, billing, tmp_path) as other,
        ):
            runs = [shop.run(order, billing, n, id=f"o{n}", timeout=120) for n in range(8)]
            assert await asyncio.gather(*runs) == [[True, n, n, n, n] for n in range(8)]
            found = await other.handle("o3/ledger").describe()
            assert found.status is Status.COMPLETED
            assert found.parent is not None and found.parent.workflow_id == "o3"
            assert found.parent_namespace == made

    run(main)


@pytest.mark.timeout(180)
def test_the_end_of_a_parent_reaches_a_child_of_another_namespace(
    kafka_servers: str, made: str, billing: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with (
            serving(kafka_servers, made, tmp_path) as shop,
            serving(kafka_servers, billing, tmp_path) as other,
        ):
            parent = await shop.start(holds, billing, id="p")
            while not (children := (await parent.describe()).pending["children"]):
                await asyncio.sleep(0.1)
            [child] = children
            assert (child["workflow_id"], child["namespace"]) == ("p/ledger", billing)
            ledger = other.handle("p/ledger")
            assert await ledger.value("opened", result_type=bool)
            await parent.terminate("enough")
            with pytest.raises(WorkflowTerminated, match="its parent"):
                await ledger.result(60)

    run(main)


@pytest.mark.timeout(180)
def test_a_namespace_that_is_not_there_is_a_letter_and_a_refusal_and_can_be_made_later(
    kafka: Adapters, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers, namespace = kafka.connection.servers, kafka.connection.namespace
    later = f"{namespace}-later"
    caplog.set_level(logging.INFO)

    async def main() -> None:
        async with serving(servers, namespace, tmp_path) as shop:
            waits = shop.run(tries, later, id="t", timeout=120)
            told, said = await asyncio.gather(waits, shop.run(tells, later, timeout=120))
            assert said == "told"
            assert told.startswith("none: run ")
            assert f"of namespace '{later}' cannot be delivered: the topic does not exist" in told
            apply(kafka.admin, plan(kafka.admin, later, PARTITIONS, 1))
            async with serving(servers, later, tmp_path) as other:
                await first_answer(other)
                while (told := await shop.run(opens, later, timeout=120)) != "the sum is 0":
                    assert told.startswith("none: ")  # for 10 s nobody asks for the topic again

    run(main)
    found = letters(kafka, 2)
    assert {letter.topic for letter in found} == {f"{later}.commands"}
    outcomes = [each.outcome for each in DeadLetters(kafka.connection).replay(lambda kept: True)]
    assert outcomes == ["replayed"] * len(found)
    there = kafka.records(f"{later}.commands", len(found) + 2, PARTITIONS)
    commands = [decode_as(ClientCommand, message.value() or b"") for message in there]
    replayed = [each for each in commands if isinstance(each.cause, NamedRequest)]
    assert len(replayed) == len(found), "what is replayed is a request of its own"


@pytest.mark.timeout(300)
def test_children_of_another_namespace_while_workers_are_killed(
    kafka_servers: str, made: str, billing: str, tmp_path: Path
) -> None:
    dice = random.Random(5)
    workers = [
        WorkerProcess(kafka_servers, namespace, tmp_path / namespace, slot)
        for namespace in (made, billing)
        for slot in (0, 1)
    ]
    killed, parents, children = 0, 10, 6

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        started = [await client.start(away, billing, children, id=f"p{n}") for n in range(parents)]
        ends = asyncio.gather(*(each.result(240) for each in started))
        while not ends.done() and killed < 8:
            await asyncio.sleep(dice.uniform(0.3, 1.2))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        assert await ends == [[sum(2 * n for n in range(children)), "told"]] * parents

    for namespace in (made, billing):
        (tmp_path / namespace).mkdir()
    try:
        for worker in workers:
            worker.start()
        ask(kafka_servers, made, talk, 280)
    finally:
        for worker in workers:
            worker.end()
    runs: Counter[str] = Counter()
    for reading in check_logs(kafka_servers, billing):
        for turns in reading.runs.values():
            first = turns[0].turn
            assert isinstance(first.events[0], WorkflowStarted)
            runs[first.workflow_id] += 1
    names = [f"p{n}/{child}" for n in range(parents) for child in (*range(children), "told")]
    assert runs == dict.fromkeys(names, 1)
    told = f"{parents} parents of {children + 1} children in another namespace: one run each"
    record("namespaces", "kill -9 of workers of both at random", killed, told)
