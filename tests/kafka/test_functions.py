"""On a broker: plain workflows, activities in processes and without a workflow, HTTP."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from processor import Client, Settings, Worker, WorkflowAlreadyStarted, workflow
from tests.activities.in_processes import Point, calls, moved
from tests.embedded.test_http import Service
from tests.kafka.talking import PATIENT, first_answer


@workflow.define
def adds(first: int, second: int) -> int:
    return first + second


@workflow.define
async def moves(by: int) -> int:
    point = await moved.options(eager=False)(Point(1), by)
    return await workflow.call_child(adds, point.x, 100)


@workflow.define
async def polls(url: str) -> str:
    return (await workflow.call_http("GET", url)).text


@pytest.mark.timeout(120)
def test_they_run_on_a_broker(kafka_servers: str, made: str, tmp_path: Path) -> None:
    async def main() -> None:
        worker = Worker(
            kafka_servers,
            namespace=made,
            workflows=[adds, moves, polls],
            activities=[calls, moved],
            state_dir=tmp_path,
            settings=Settings(activity_processes_max=1),
        )
        async with worker, Client(kafka_servers, namespace=made, settings=PATIENT) as client:
            await first_answer(client)
            assert await client.run(adds, 2, 3) == 5
            assert await client.run(moves, 4) == 105
            assert await client.run_activity(calls, "pid", id="a") != os.getpid()
            assert await client.run_activity(moved, Point(1), eager=False) == Point(2)
            with pytest.raises(WorkflowAlreadyStarted):
                await client.run_activity(calls, "pid", id="a", reuse="reject")
            later = {"Location": "/status", "Retry-After": "1"}
            service.answers = [(202, later, b"")] * 3 + [(200, {}, b"done")]
            assert await client.run(polls, service.url) == "done"

    service = Service()
    try:
        asyncio.run(main())
    finally:
        service.close()
    assert [path for _, path, _, _ in service.asked] == ["/", *["/status"] * 3]
