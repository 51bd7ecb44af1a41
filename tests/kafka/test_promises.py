"""Promises and idempotency keys on a broker: settled and sent by any producer, workers killed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from confluent_kafka import Producer

from processor import Client, PromiseNotOpen
from tests.kafka.probes import waits_for_promises
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer


@pytest.mark.timeout(200)
def test_a_promise_outlives_its_workers_and_any_producer_settles_it(
    kafka_servers: str, made: str, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    producer = Producer({"bootstrap.servers": kafka_servers, "partitioner": "murmur2_random"})

    def say(workflow_id: str, **command: Any) -> None:
        producer.produce(f"{made}.commands", json.dumps(command).encode(), key=workflow_id.encode())

    async def talk(client: Client) -> None:
        await first_answer(client)
        handles = [await client.start(waits_for_promises, 2, key=f"p-{n}") for n in range(6)]
        again = await client.start(waits_for_promises, 2, key="p-0")
        assert (again.run_id, again.created) == (handles[0].run_id, False)
        ids = [await handle.value("ids", timeout=60) for handle in handles]
        for worker in workers:
            worker.kill()
            worker.start()
        for handle, (first, second) in zip(handles, ids, strict=True):
            for _ in range(2):
                say(handle.id, type="resolve", promise=first, value=1)
                say(handle.id, type="event", name="told", payload=7, key="evt-1")
            say(handle.id, type="reject", promise=second, message="no", error_type="Refused")
        assert await asyncio.to_thread(producer.flush, 20) == 0
        for handle, (first, _) in zip(handles, ids, strict=True):
            await handle.raise_event("told", 7, key="evt-1")
            await handle.raise_event("told", 8, key="evt-2")
            assert await handle.result(100) == ["1", "Refused: no", "7", "8"]
            with pytest.raises(PromiseNotOpen):
                await client.resolve(first, 2)

    ask(kafka_servers, made, talk, 180)
