"""Two releases side by side: this one, and one that knows a later level of the log's format."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from processor import Client, Status, WorkflowNotRegistered
from processor.codec.records import LEVEL
from processor.kafka.clients.connection import partition_of
from tests.kafka.conftest import PARTITIONS
from tests.kafka.evidence import record
from tests.kafka.later_release import later_release
from tests.kafka.load import Load, make_published_topic, prove
from tests.kafka.processes import WorkerProcess, at_work
from tests.kafka.talking import ask, committed

Start = Callable[[int, bool], WorkerProcess]

_TELL = """
import asyncio, json, sys
from processor import Client
from processor.codec.records import LEVEL
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import NoteRun
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.gateway import KafkaGateway
from processor.config import Settings

async def main():
    servers, namespace, workflow_id = sys.argv[1:]
    gateway = KafkaGateway(KafkaSettings(servers, namespace), Settings())
    await gateway.start()
    answer = await gateway.request(ClientCommand(workflow_id, NoteRun("hi")), timeout_s=30)
    await gateway.close()
    print(type(answer).__name__, getattr(answer, "error", ""), getattr(answer, "message", ""))

asyncio.run(main())
"""
"""Sends a command that only the later release has."""

_START = """
import asyncio, sys
from processor import Client

async def main():
    servers, namespace, workflow_id = sys.argv[1:]
    async with Client(servers, namespace=namespace) as client:
        await client.start("takes_note", workflow_id, id=workflow_id)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return later_release(tmp_path_factory.mktemp("later"))


@pytest.fixture
def start(kafka_servers: str, made: str, tmp_path: Path, later: Path) -> Iterator[Start]:
    """Start a worker of this release, or of the later one, in a slot."""
    started: list[WorkerProcess] = []

    def begin(slot: int, is_later: bool) -> WorkerProcess:
        tree = later if is_later else None
        worker = WorkerProcess(kafka_servers, made, tmp_path, slot, tree)
        started.append(worker)
        worker.start()
        return worker

    yield begin
    for worker in started:
        worker.end()


def run(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a checkout, to its end."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def upgrade(
    tree: Path, servers: str, namespace: str, *options: str
) -> subprocess.CompletedProcess[str]:
    where = ("--server", servers, "--namespace", namespace)
    return run(tree, "-m", "processor", "upgrade", *where, *options)


def id_in(shard: int, name: str) -> str:
    return next(
        f"{name}-{number}"
        for number in range(1_000)
        if partition_of(f"{name}-{number}", PARTITIONS) == shard
    )


@pytest.mark.timeout(400)
def test_two_releases_share_the_work_and_the_level_is_raised_when_all_know_it(
    kafka_servers: str, made: str, start: Start, admin: AdminClient, later: Path
) -> None:
    """Under load: refusal, a way back, activation. Nothing is lost, and nothing buried."""
    make_published_topic(admin, made)
    where = later, kafka_servers, made

    async def call(function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments)

    async def talk(client: Client) -> None:
        old, new = start(0, False), start(1, True)
        await at_work(old, new)
        load = Load(client, made)
        async with load.running():
            await load.rounds_more(load.width)
            refused = await call(upgrade, *where)
            assert refused.returncode == 3, refused.stdout + refused.stderr
            assert f"stays at level {LEVEL}" in refused.stderr
            assert "slot-0" in refused.stderr and f"level {LEVEL}" in refused.stderr
            assert "slot-1" not in refused.stderr, "it knows the next level"
            await call(new.stop)  # the way back: the old release takes over what the new one wrote
            await load.rounds_more(load.width)
            assert old.is_running
            again, other = start(2, True), start(3, True)
            await at_work(again, other)
            await call(old.stop)
            await load.rounds_more(load.width)
            dry = await call(upgrade, *where, "--dry-run", "--json")
            assert json.loads(dry.stdout)["raised"] == [], dry.stderr
            raised = await call(upgrade, *where, "--json")
            assert raised.returncode == 0, raised.stdout + raised.stderr
            told = json.loads(raised.stdout)
            assert told["levels"] == [LEVEL] * PARTITIONS and told["known"] == LEVEL + 1
            assert told["raised"] == [*range(PARTITIONS)] and told["silent"] == []
            assert {each["level"] for each in told["processes"]} == {LEVEL + 1}
            await load.rounds_more(load.width)
            late = start(4, False)
            assert await call(late.ended, 60.0) != 0
            knows = (
                f"is at level {LEVEL + 1} of the log's format, and this release knows level {LEVEL}"
            )
            assert knows in late.log
            await load.rounds_more(load.width)
        proof = await prove(kafka_servers, load)
        assert committed(kafka_servers, f"{made}.dead-letters") == []
        nothing = await call(upgrade, *where)
        assert nothing.returncode == 0
        assert f"nothing to do: {made} is at level {LEVEL + 1}" in nothing.stdout
        done = "both in one group, refusal, way back, activation, an old one that comes late"
        record("two releases", done, 1, proof)

    ask(kafka_servers, made, talk, 380)


@pytest.mark.timeout(240)
def test_what_needs_a_later_level_waits_or_is_refused_and_goes_on_once_it_is_raised(
    kafka_servers: str, made: str, start: Start, later: Path
) -> None:
    new = start(0, True)
    noted, told = id_in(0, "noted"), id_in(1, "told")
    where = kafka_servers, made

    async def before(client: Client) -> None:
        await at_work(new)
        asked = await asyncio.to_thread(run, later, "-c", _START, *where, noted)
        assert asked.returncode == 0, asked.stderr
        described = await client.handle(noted).describe()
        assert described.status is Status.PARKED
        assert described.parked is not None and "`processor upgrade`" in described.parked["error"]
        await client.start("collects", 1, id=told)
        answer = await asyncio.to_thread(run, later, "-c", _TELL, *where, told)
        assert answer.stdout.startswith("Refused UpgradeNeeded"), answer.stdout + answer.stderr

    async def with_the_old_one(client: Client) -> None:
        """The old release buries what it cannot read, and says so to whoever asked."""
        old = start(1, False)
        await at_work(old)
        with pytest.raises(WorkflowNotRegistered):
            await client.start("nobody_has_this", id="nobody")
        await asyncio.to_thread(new.stop)
        answer = await asyncio.to_thread(run, later, "-c", _TELL, *where, told)
        assert answer.stdout.startswith("Refused TooNew"), answer.stdout + answer.stderr
        assert len(committed(kafka_servers, f"{made}.dead-letters", 1)) == 1
        await asyncio.to_thread(old.stop)

    async def after(client: Client) -> None:
        newer = start(2, True)
        await at_work(newer)
        raised = await asyncio.to_thread(upgrade, later, kafka_servers, made)
        assert raised.returncode == 0, raised.stdout + raised.stderr
        assert f"{made}: {PARTITIONS} shards raised to level {LEVEL + 1}" in raised.stdout
        assert await client.handle(noted).result(30) == noted
        answer = await asyncio.to_thread(run, later, "-c", _TELL, *where, told)
        assert answer.stdout.startswith("Accepted"), answer.stdout + answer.stderr

    for talk in (before, with_the_old_one, after):
        ask(kafka_servers, made, talk, 75)
