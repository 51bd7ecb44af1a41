"""SIGSTOP for longer than the session, then SIGCONT: an owner that does not know of its end."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time

import pytest
from confluent_kafka.admin import AdminClient

from processor import Client
from tests.kafka.evidence import record
from tests.kafka.load import Load, make_published_topic, prove, read_logs
from tests.kafka.processes import WorkerProcess, at_work
from tests.kafka.talking import ask, first_answer

PAUSES = int(os.environ.get("ZOMBIE_PAUSES", "2"))
MORE = 3
"""Some zombies hear of their end before they write anything."""

Workers = tuple[WorkerProcess, WorkerProcess]


@pytest.mark.timeout(240 + 60 * (PAUSES + MORE))
def test_what_a_zombie_writes_does_not_count(
    kafka_servers: str, made: str, workers: Workers, admin: AdminClient
) -> None:
    """Under load, each worker in turn is paused until the other has all shards, and goes on."""
    make_published_topic(admin, made)
    takeovers_s: list[float] = []

    async def pause(client: Client, victim: WorkerProcess, other: WorkerProcess) -> None:
        had = other.takeovers
        begun = time.monotonic()
        victim.signal(signal.SIGSTOP)
        await first_answer(client)
        takeovers_s.append(time.monotonic() - begun)
        assert other.takeovers > had
        had = victim.takeovers
        victim.signal(signal.SIGCONT)
        await at_work(victim, takeovers=had + 1)

    async def talk(client: Client) -> None:
        await at_work(*workers)
        load = Load(client, made, width=16)
        async with load.running():
            for number in itertools.count():
                if number >= PAUSES and await asyncio.to_thread(has_ghosts, kafka_servers, made):
                    break
                assert number < PAUSES + MORE, "no zombie wrote anything: the case was not met"
                await load.rounds_more(2 * load.width)
                await pause(client, workers[number % 2], workers[1 - number % 2])
            await load.rounds_more(load.width)
        proof = await prove(kafka_servers, load)
        done = "SIGSTOP under load until the other worker has all shards, then SIGCONT"
        record("a paused owner comes back", done, len(takeovers_s), proof, takeovers_s)

    ask(kafka_servers, made, talk, 200 + 60 * (PAUSES + MORE))


def has_ghosts(servers: str, namespace: str) -> bool:
    return any(reading.ghosts for reading in read_logs(servers, namespace))
