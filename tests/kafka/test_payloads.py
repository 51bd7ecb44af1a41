"""Codecs and interceptors on a broker: what stands in the topics, and a worker without the key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from examples.consume_results import results
from processor import Client, Worker, activity, workflow
from processor.injection.payloads import plain
from processor.policy import Status
from tests.injection.codecs import Sealed, Small
from tests.injection.test_interceptors import TENANT, Tenants
from tests.kafka.conftest import PARTITIONS
from tests.kafka.talking import committed

SECRET = "a card number that nobody else reads"
SEALED = [Small(), Sealed()]
HOW: dict[str, Any] = {"payloads": SEALED, "interceptors": [Tenants()]}


@activity.define(queue="far", eager=False)
def far(card: str) -> str:
    activity.heartbeat(f"beat of {card}")
    return f"{card} for {TENANT.get()}"


@workflow.define
async def pay(card: str) -> list[str]:
    workflow.set_status(f"status of {card}")
    return [await far(card), await workflow.wait_for_event("code", str), await far(card)]


@pytest.mark.timeout(120)
def test_nothing_of_a_value_stands_in_any_topic(
    kafka_servers: str, made: str, tmp_path: Path
) -> None:
    def worker(**how: Any) -> Worker:
        topics = {"create_topics": True, "partitions": PARTITIONS, "queues": ["far"]}
        where = {"namespace": made, "state_dir": tmp_path, "instance_id": "one"}
        return Worker(kafka_servers, workflows=[pay], activities=[far], **where, **topics, **how)

    async def until(client: Client, status: Status) -> Any:
        handle = client.handle("run")
        while True:
            found = await handle.describe()
            waiting = found.pending["waiting"]
            if found.status is status and (
                status is Status.PARKED or waiting[0].endswith("'code'")
            ):
                return found
            await asyncio.sleep(0.1)

    async def main() -> None:
        TENANT.set("Ada")
        client = Client(kafka_servers, namespace=made, **HOW)
        async with asyncio.timeout(100), client:
            async with worker(**HOW):
                await client.start(pay, SECRET, id="run", memo=SECRET, timeout=60)
                found = await until(client, Status.RUNNING)
                assert (found.custom_status, found.memo) == (f"status of {SECRET}", SECRET)
            async with worker():
                await client.handle("run").raise_event("code", SECRET)
                found = await until(client, Status.PARKED)
                assert "was encoded by 'sealed'" in found.parked["error"]
            async with worker(**HOW):
                expected = [f"{SECRET} for Ada", SECRET, f"{SECRET} for Ada"]
                assert await client.handle("run").result() == expected
                (result,) = await asyncio.to_thread(list, results(kafka_servers, made))
                json = f'["{SECRET} for Ada","{SECRET}","{SECRET} for Ada"]'
                assert plain(result["result"], SEALED) == json.encode()

    asyncio.run(main())
    names = ("commands", "events", "activities.far", "activity-results", "results")
    for name in names:
        values = [record.value() or b"" for record in committed(kafka_servers, f"{made}.{name}")]
        assert values, f"{name} was used"
        assert not any(SECRET.encode() in value for value in values), name
        if name in ("commands", "events", "activities.far"):
            assert any(b"tenant" in value for value in values), "headers travel, and stay readable"
