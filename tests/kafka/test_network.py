"""A network between worker and broker that is slow, silent, or cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from processor import Client
from tests.kafka.evidence import record
from tests.kafka.load import Load, prove
from tests.kafka.own_broker import OwnBroker, prepare
from tests.kafka.processes import StartWorker, WorkerProcess, at_work
from tests.kafka.talking import ask, first_answer

DELAY_S = 0.05
BYTES_PER_S = 250_000
SHORT_S = 2.0
GIVEN_UP = "its shards are given up"


@pytest.mark.timeout(300)
def test_a_slow_network_and_a_short_cut_are_waited_out(
    breakable: OwnBroker, namespace: str, start_worker: StartWorker
) -> None:
    """The only worker is behind it; nobody could take over, and nobody has to."""
    prepare(breakable.servers, namespace)
    network = breakable.network
    worker = start_worker(breakable.proxied, 0)

    async def talk(client: Client) -> None:
        await first_answer(client)
        load = Load(client, namespace)
        async with load.running():
            await load.rounds_more(load.width)
            network.delay_s, network.bytes_per_s = DELAY_S, BYTES_PER_S
            await load.rounds_more(2 * load.width)
            network.mend()
            for stop in (network.cut, network.go_silent):
                stop()
                await asyncio.sleep(SHORT_S)
                network.mend()
                await load.rounds_more(load.width)
        proof = await prove(breakable.servers, load)
        assert GIVEN_UP not in worker.log, "shorter than the session: nothing is given up"
        assert proof.claims == worker.takeovers
        done = f"{DELAY_S * 2_000:g} ms of round trip and {BYTES_PER_S:,} bytes/s; then cut, and "
        done += f"then silent, for {SHORT_S:g} s"
        record("a slow network, a short cut", done, 3, proof)

    ask(breakable.servers, namespace, talk, 280)


@pytest.mark.timeout(300)
def test_a_worker_that_is_cut_off_is_replaced_until_it_is_back(
    breakable: OwnBroker, namespace: str, start_worker: StartWorker
) -> None:
    prepare(breakable.servers, namespace)
    network = breakable.network
    away, other = start_worker(breakable.proxied, 0), start_worker(breakable.servers, 1)
    takeovers_s: list[float] = []

    async def cut_off(client: Client, stop: Callable[[], None]) -> None:
        had, said = away.takeovers, away.log.count(GIVEN_UP)
        begun = time.monotonic()
        stop()
        await first_answer(client)
        takeovers_s.append(time.monotonic() - begun)
        await says_so(away, said + 1)
        network.mend()
        await at_work(away, takeovers=had + 1)

    async def talk(client: Client) -> None:
        await at_work(away, other)
        load = Load(client, namespace)
        async with load.running():
            for stop in (network.cut, network.go_silent):
                await load.rounds_more(2 * load.width)
                await cut_off(client, stop)
            await load.rounds_more(2 * load.width)
        proof = await prove(breakable.servers, load)
        done = "one of two workers cut off until its shards moved, by a cut and by silence"
        record("a worker without a network", done, 2, proof, takeovers_s)

    ask(breakable.servers, namespace, talk, 280)


async def says_so(worker: WorkerProcess, times: int) -> None:
    async with asyncio.timeout(30):
        while worker.log.count(GIVEN_UP) < times:
            await asyncio.sleep(0.05)
