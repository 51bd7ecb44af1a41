"""Entities on a broker, while workers are killed: the sum stays, and each operation runs once."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from confluent_kafka import Producer

from processor import Client, RequestExpired, ShardUnavailable
from tests.kafka.evidence import record
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer
from tests.kafka.wallets import Wallet, moves

WALLETS = 6
MOVES = 120
BEFORE = 1_000


@pytest.mark.timeout(240)
def test_money_is_neither_made_nor_lost_while_workers_are_killed(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    dice = random.Random(60)
    names = [f"wallet-{number}" for number in range(WALLETS)]
    killed = 0

    async def fill(client: Client, name: str) -> None:
        """Put money in once, however often it is asked for."""
        while True:
            try:
                await client.entity(Wallet, name).call(Wallet.put, BEFORE, key="before", timeout=60)
                return
            except RequestExpired:
                return  # it ran
            except ShardUnavailable:
                await asyncio.sleep(0.1)

    async def move(client: Client, number: int) -> tuple[str, int]:
        source, target = dice.sample(names, 2)
        id = f"move-{number}"
        while True:
            try:
                handle = await client.start(moves, source, target, 1, id=id, key=id)
                return source, await handle.result(120)
            except ShardUnavailable:
                await asyncio.sleep(0.1)

    async def talk(client: Client) -> None:
        nonlocal killed
        await first_answer(client)
        await asyncio.gather(*(fill(client, name) for name in names))
        told = asyncio.gather(*(move(client, number) for number in range(MOVES)))
        while not told.done() and killed < 3:
            await asyncio.sleep(dice.uniform(0.5, 1.5))
            victim = dice.choice(workers)
            victim.kill()
            killed += 1
            victim.start()
        takings = await told
        states = {name: await client.entity(Wallet, name).state() for name in names}
        assert sum(each.amount for each in states.values() if each) == WALLETS * BEFORE
        for name, state in states.items():
            numbers = sorted(number for source, number in takings if source == name)
            assert numbers == [*range(1, len(numbers) + 1)], "one at a time, each once"
            assert state is not None and state.takings == len(numbers)

    ask(kafka_servers, made, talk, 220)
    told = f"{MOVES} moves among {WALLETS} wallets: the sum stayed, each operation ran once"
    record("entities", "kill -9 of workers at random", killed, told)


@pytest.mark.timeout(200)
def test_any_producer_asks_entities_that_are_not_there(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    producer = Producer({"bootstrap.servers": kafka_servers, "partitioner": "murmur2_random"})
    names = [f"asked-{number}" for number in range(8)]

    def say(wallet: str, **command: Any) -> None:
        key = f"@Wallet@{wallet}".encode()
        producer.produce(f"{made}.commands", json.dumps(command).encode(), key=key)

    async def talk(client: Client) -> None:
        await first_answer(client)
        for name in names:
            for _ in range(2):
                say(name, type="event", name="put", payload=5, key="evt-1")
                say(name, type="update", id="take-2", name="take", arguments=[2])
        assert await asyncio.to_thread(producer.flush, 20) == 0
        for name in names:
            wallet = client.entity(Wallet, name)
            await wallet.signal(Wallet.put, 5, key="evt-1")  # the same, once more
            assert await wallet.call(Wallet.take, 2, key="take-2", timeout=100) == 1
            assert await wallet.call(Wallet.put, 1, timeout=100) == 4
        for worker in workers:
            worker.kill()
            worker.start()
        for name in names:
            ended = await client.entity(Wallet, name).history(timeout=100)
            assert [(each.operation, each.arguments) for each in ended] == [
                ("put", 5),
                ("take", [2]),
                ("put", [1]),
            ]
            assert [each.result for each in ended] == [None, 1, 4] and ended[1].id == "take-2"

    ask(kafka_servers, made, talk, 180)
