"""The only broker dies under load, or stops answering, and comes back."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from processor import Client
from processor.kafka.topics.upkeep import connect
from tests.kafka.evidence import record
from tests.kafka.load import Load, prove
from tests.kafka.own_broker import OwnBroker, prepare
from tests.kafka.processes import StartWorker, at_work
from tests.kafka.talking import ask

KILLS = int(os.environ.get("BROKER_KILLS", "2"))
DOWN_S = 1.0
STUCK_S = 75.0
OPEN_MAX_S = 20.0
"""Longer than the time-out of our transactions (15 s): what is open then will never be ended."""

PAUSED_S = 3.0


def hanging(servers: str) -> list[str]:
    """Return the partitions with a transaction that Kafka itself has left without its marker."""
    admin = connect(servers)
    topics = admin.list_topics(timeout=10).topics
    places = [TopicPartition(name, p) for name, topic in topics.items() for p in topic.partitions]

    def behind() -> set[str]:
        ends: list[dict[str, int]] = []
        for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED):
            latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
            asked = admin.list_offsets(dict.fromkeys(places, latest), isolation_level=isolation)
            found = {f"{p.topic}[{p.partition}]": each.result() for p, each in asked.items()}
            ends.append({place: info.offset for place, info in found.items()})
        stable, last = ends
        return {f"{place} {stable[place]}" for place in stable if stable[place] < last[place]}

    first = behind()
    time.sleep(OPEN_MAX_S)
    return sorted(first & behind())


@pytest.mark.timeout(240 + 60 * KILLS)
def test_the_broker_dies_and_comes_back(
    breakable: OwnBroker, namespace: str, start_worker: StartWorker
) -> None:
    """Nobody else is restarted or told: workers and clients go on by themselves."""
    prepare(breakable.servers, namespace)
    workers = [start_worker(breakable.servers, slot) for slot in (0, 1)]
    broker = breakable.broker
    back_s: list[float] = []

    async def talk(client: Client) -> None:
        await at_work(*workers)
        load = Load(client, namespace)
        async with load.running():
            for _ in range(KILLS):
                await load.rounds_more(2 * load.width)
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(DOWN_S)
                await asyncio.to_thread(broker.start)
                begun = time.monotonic()
                await asyncio.wait_for(load.rounds_more(load.width), STUCK_S)
                back_s.append(time.monotonic() - begun)
            broker.pause()
            await asyncio.sleep(PAUSED_S)
            broker.resume()
            await load.rounds_more(2 * load.width)
        proof = await prove(breakable.servers, load)
        assert all(worker.is_running for worker in workers), "no worker gave up"
        done = f"kill -9 of the only broker under load, {DOWN_S:g} s down, then a pause of "
        done += f"{PAUSED_S:g} s (time: from its answer until all lanes moved)"
        record("the broker dies", done, KILLS, proof, back_s)

    try:
        ask(breakable.servers, namespace, talk, 180 + 60 * KILLS)
    except BaseException:
        # Kafka's own loss, seen with 4.3.1 and one broker only (docs/reliability.md, limits).
        # Whatever else went wrong is a failure.
        if lost := hanging(breakable.servers):
            pytest.xfail(f"Kafka dropped the markers of a transaction when it died: {lost}")
        raise
