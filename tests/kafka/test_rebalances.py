"""A storm of rebalances: a third worker joins or leaves every two seconds, under load."""

from __future__ import annotations

import asyncio
import os

import pytest
from confluent_kafka.admin import AdminClient

from processor import Client
from tests.kafka.evidence import record
from tests.kafka.load import Load, make_published_topic, prove
from tests.kafka.processes import StartWorker, WorkerProcess, at_work
from tests.kafka.talking import ask

CHANGES = int(os.environ.get("STORM_CHANGES", "6"))
EVERY_S = 2.0
Workers = tuple[WorkerProcess, WorkerProcess]


@pytest.mark.timeout(240 + 20 * CHANGES)
def test_a_member_joins_or_leaves_every_two_seconds(
    kafka_servers: str,
    made: str,
    workers: Workers,
    start_worker: StartWorker,
    admin: AdminClient,
) -> None:
    """It leaves in order one time, and by kill -9 the next; each time under another name."""
    make_published_topic(admin, made)

    async def storm() -> None:
        guest: WorkerProcess | None = None
        for change in range(CHANGES):
            if guest is None:
                guest = start_worker(kafka_servers, 2 + change)
            else:
                leave = guest.kill if change % 4 == 3 else guest.stop
                await asyncio.to_thread(leave)
                guest = None
            await asyncio.sleep(EVERY_S)

    async def talk(client: Client) -> None:
        await at_work(*workers)
        load = Load(client, made)
        async with load.running():
            await storm()
            await load.rounds_more(load.width)
        proof = await prove(kafka_servers, load)
        done = f"a third worker joins, or leaves (in order, or by kill -9), every {EVERY_S:g} s"
        record("a storm of rebalances", done, CHANGES, proof)

    ask(kafka_servers, made, talk, 200 + 20 * CHANGES)
