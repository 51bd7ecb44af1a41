"""A connection that dies at each of its steps: nothing is lost, and nothing counts twice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from processor import Client
from tests.kafka.connecting import POINTS
from tests.kafka.connections import letters, make, numbered, produce, until_noted, until_read
from tests.kafka.evidence import record
from tests.kafka.processes import StartWorker
from tests.kafka.talking import ask, first_answer

WITH_LETTER = [*POINTS][:-1]
"""At the last one, positions are committed that no letter is with."""


@pytest.mark.timeout(240)
def test_a_connection_dies_at_each_of_its_steps(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    """Each point has a topic, and all die at once."""
    start_worker(kafka_servers, 0)
    topics = {point: f"{made}-{point.replace(' ', '-')}" for point in POINTS}
    for point, topic in topics.items():
        make(admin, topic, 1)
        some = numbered(point, range(40))
        bad = [(point, b"no JSON")] if point in WITH_LETTER else []
        produce(kafka_servers, topic, [*some[:15], *bad, *some[15:]])
    processes: list[subprocess.Popen[bytes]] = []

    def start(topic: str, *point: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.kafka.connecting", kafka_servers, made, topic]
        with (tmp_path / "connecting.log").open("ab") as log:
            started = subprocess.Popen([*command, *point], stdout=log, stderr=log)
        processes.append(started)
        return started

    async def follow(client: Client, point: str, topic: str) -> None:
        assert await asyncio.to_thread(start(topic, point).wait, 60) == -9
        again = start(topic)
        await until_noted(client, point, range(40), 120)
        await asyncio.to_thread(produce, kafka_servers, topic, numbered(point, range(40, 45)))
        await until_noted(client, point, range(45), 60)
        await until_read(kafka_servers, made, topic)
        again.terminate()
        assert await asyncio.to_thread(again.wait, 30) == 0

    async def talk(client: Client) -> None:
        await first_answer(client)
        await asyncio.gather(*(follow(client, point, topic) for point, topic in topics.items()))

    try:
        ask(kafka_servers, made, talk, 200)
    finally:
        for each in processes:
            if each.poll() is None:
                each.kill()
    buried = letters(kafka_servers, made, len(WITH_LETTER))
    assert sorted(each.topic for each in buried) == sorted(topics[each] for each in WITH_LETTER)
    steps = ", ".join(POINTS)
    record("a connection's steps", f"kill -9 where {steps}", len(POINTS), "each record once")
