"""The only broker dies under load, or stops answering, and comes back."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from processor import Client
from tests.kafka.evidence import record
from tests.kafka.load import Load, prove
from tests.kafka.own_broker import OwnBroker, prepare
from tests.kafka.processes import StartWorker, at_work
from tests.kafka.talking import ask

KILLS = int(os.environ.get("BROKER_KILLS", "2"))
DOWN_S = 1.0
PAUSED_S = 3.0


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
                await load.rounds_more(load.width)
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

    ask(breakable.servers, namespace, talk, 200 + 60 * KILLS)
