"""The log read by somebody who has its documentation and the schemas, and no code of ours."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer

from examples.orders import order_processing
from examples.read_log import histories
from processor import Client
from processor.codec.records import encode
from processor.core.data.address import ReplyTo
from processor.core.records.answers import Accepted
from processor.core.records.effects import Reply
from processor.core.records.marks import Mark
from processor.core.records.turn import Positions
from tests.kafka.conftest import PARTITIONS
from tests.kafka.talking import ask, first_answer, quick


def write_junk(servers: str, topic: str) -> None:
    """Write what counts for nobody, also with a header of ours."""
    mark = encode(Mark(0, 0, "eager", Positions(), 0, 0))
    reply = encode(Reply(ReplyTo(0, "client", 1), Accepted("run")))
    ahead = encode(Mark(1 << 40, 0, "eager", Positions(), 0, 0))
    producer = Producer({"bootstrap.servers": servers})
    for value in (b"junk", b"", mark[:2], mark[:10], mark[:-1], mark + b"0", reply, ahead):
        for partition in range(PARTITIONS):
            producer.produce(topic, value, b"k", partition)
    assert producer.flush(20) == 0


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
    write_junk(kafka_servers, f"{made}.events")
    assert histories(kafka_servers, made) == expected
    assert all(events[0] == "WorkflowStarted" for events in expected.values())
