"""The golden order on a real Kafka, with real processes that are killed, paused and restarted."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from examples.consume_results import results
from examples.orders import order_processing
from examples.start_with_confluent import main as start_with_confluent
from processor import (
    Client,
    PayloadTooLarge,
    SchemaMismatch,
    Worker,
    WorkflowNotRegistered,
    workflow,
)
from tests.kafka.evidence import record
from tests.kafka.load import check_logs
from tests.kafka.probes import collects, passes_on, publishes, queued_double
from tests.kafka.processes import WorkerProcess, at_work
from tests.kafka.talking import PATIENT, ask, consumed, dead_letters, first_answer, quick
from tests.orders import DONE, SCENARIOS, Scenario, golden, play


@workflow.define
async def short() -> int:
    return 1


@pytest.mark.usefixtures("workers")
def test_the_golden_order(kafka_servers: str, made: str) -> None:
    async def talk(client: Client) -> None:
        await first_answer(client)

        async def one(scenario: Scenario) -> None:
            history = await play(client, scenario, scenario.name)
            assert history == golden(scenario)

        await asyncio.gather(*(one(scenario) for scenario in SCENARIOS))

    ask(kafka_servers, made, talk)


@pytest.mark.timeout(300)
def test_random_kills(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    """200 orders in flight, kill -9 of a random worker every few seconds: each ends once."""
    seconds, width = 40.0, 200
    dice = random.Random(7)
    ended: list[str] = []
    killed = 0

    async def talk(client: Client) -> None:
        await first_answer(client)
        until = time.monotonic() + seconds

        async def orders(lane: int) -> None:
            number = 0
            while time.monotonic() < until:
                id = f"order-{lane}-{number}"
                failures = dice.choice((0, 0, 1))
                order = quick(number, payment_failures=failures, follow_up_s=0.5)
                handle = await client.start(order_processing, order, id=id, timeout=60)
                assert await handle.result(90) == DONE
                ended.append(id)
                number += 1

        async def kills() -> None:
            nonlocal killed
            while time.monotonic() < until:
                await asyncio.sleep(dice.uniform(2, 5))
                victim = dice.choice(workers)
                victim.kill()
                killed += 1
                await asyncio.sleep(dice.choice((0.0, 1.0)))
                victim.start()

        await asyncio.gather(kills(), *(orders(lane) for lane in range(width)))

    ask(kafka_servers, made, talk, 250)
    assert len(ended) >= width
    seen = [result["workflow_id"] for result in results(kafka_servers, made, 10.0)]
    assert sorted(seen) == sorted(ended), "each result is seen exactly once"
    readings = check_logs(kafka_servers, made)
    assert sum(len(reading.runs) for reading in readings) == len(ended)
    record(
        "kill -9 at random", f"{width} golden orders in flight", killed, f"{len(ended)} ended once"
    )


def test_state_directories_are_a_cache(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    async def begin(client: Client) -> Any:
        await first_answer(client)
        await at_work(*workers)
        for number in range(60):
            order = quick(number, follow_up_s=3600.0 if number % 2 else 0.0)
            await client.start(order_processing, order, id=f"o-{number}")
        for number in range(0, 60, 2):
            await client.handle(f"o-{number}").result(30)
        await asyncio.sleep(0.5)
        return await described(client)

    async def described(client: Client) -> dict[str, Any]:
        await first_answer(client)
        return {
            run.workflow_id: (run.run_id, run.status, run.events) async for run in client.list()
        }

    before = ask(kafka_servers, made, begin)
    for each in workers:
        assert each.stop() == 0
        shutil.rmtree(each.state_dir)
        each.start()
    assert ask(kafka_servers, made, described) == before


@pytest.mark.usefixtures("workers")
def test_bad_commands_stop_nothing(kafka_servers: str, made: str) -> None:
    commands = f"{made}.commands"
    producer = Producer({"bootstrap.servers": kafka_servers, "partitioner": "murmur2_random"})
    bad = {
        "not-avro": b"\x00\x01garbage",
        "not-json": b'{"type": "start", ',
        "unknown-type": b'{"type": "dance"}',
        "unknown-workflow": b'{"type": "start", "workflow": "nothing"}',
        "bad-arguments": b'{"type": "start", "workflow": "order_processing", "arguments": [7]}',
    }
    for key, value in bad.items():
        producer.produce(commands, value, key=key.encode())
    assert producer.flush(10) == 0
    letters = dead_letters(kafka_servers, made, len(bad))
    assert len(letters) == len(bad)

    async def talk(client: Client) -> None:
        with pytest.raises(WorkflowNotRegistered):
            await client.start("nothing")
        with pytest.raises(SchemaMismatch):
            await client.start("order_processing", 7)
        with pytest.raises(PayloadTooLarge):
            await client.start("order_processing", "x" * 20_000_000)
        assert await client.run(order_processing, quick(1), id="fine") == DONE

    ask(kafka_servers, made, talk)


@pytest.mark.usefixtures("workers")
def test_queues_messages_and_publish(kafka_servers: str, made: str, admin: AdminClient) -> None:
    topic = f"{made}-published"
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()

    async def talk(client: Client) -> None:
        doubled = await asyncio.gather(*(client.run(queued_double, n) for n in range(50)))
        assert doubled == [2 * n for n in range(50)]
        collecting = await client.start(collects, 20, id="collector")
        await asyncio.gather(*(client.run(passes_on, "collector", n) for n in range(20)))
        assert await collecting.result(30) == list(range(20))
        assert await client.run(publishes, topic, 10, id="publisher") == 10

    ask(kafka_servers, made, talk)
    assert consumed(kafka_servers, topic, 10) == [str(n).encode() for n in range(10)]


@pytest.mark.usefixtures("workers")
def test_started_with_plain_confluent_kafka(kafka_servers: str, made: str) -> None:
    start_with_confluent(kafka_servers, "order-7", made)

    async def talk(client: Client) -> str:
        while not [run async for run in client.list()]:
            await asyncio.sleep(0.05)
        return str(await client.handle("order-7").result(30))

    assert ask(kafka_servers, made, talk) == DONE


def test_two_workers_of_one_machine_serve_together(
    kafka_servers: str, made: str, tmp_path: Path
) -> None:
    """No instance id is given, as with two `processor worker` in two terminals."""

    def worker() -> Worker:
        how: dict[str, Any] = {"namespace": made, "state_dir": tmp_path / "state"}
        return Worker(kafka_servers, workflows=[short], **how)

    async def main() -> None:
        first, second = worker(), worker()
        running = [asyncio.create_task(each.run()) for each in (first, second)]
        async with (
            asyncio.timeout(60),
            Client(kafka_servers, namespace=made, settings=PATIENT) as client,
        ):
            while not (first.shards and second.shards):
                await asyncio.sleep(0.1)
            for number in range(8):
                assert await client.run(short, id=f"s-{number}") == 1
        assert not any(each.done() for each in running), "none has thrown the other one out"
        first.stop()
        second.stop()
        await asyncio.gather(*running)
        host = socket.gethostname()
        assert {each.name for each in (tmp_path / "state").iterdir()} == {host, f"{host}-2"}

    asyncio.run(main())
