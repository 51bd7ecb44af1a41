"""The log read by somebody who has its documentation and the schemas, and no code of ours."""

from __future__ import annotations

import asyncio

import pytest

from examples.orders import order_processing
from examples.read_log import histories
from processor import Client
from tests.kafka.talking import ask, first_answer, quick


@pytest.mark.usefixtures("workers")
def test_the_example_that_reads_the_log_finds_every_history(kafka_servers: str, made: str) -> None:
    async def talk(client: Client) -> dict[str, list[str]]:
        await first_answer(client)
        runs = [await client.start(order_processing, quick(n), id=f"o-{n}") for n in range(8)]
        await asyncio.gather(*(each.result(60) for each in runs))
        found = {}
        for run in runs:
            events = [event.type for event in await run.history()]
            found[f"{run.id} {(await run.describe()).run_id}"] = events
        return found

    expected = ask(kafka_servers, made, talk)
    assert histories(kafka_servers, made) == expected
    assert all(events[0] == "WorkflowStarted" for events in expected.values())
