"""A real broker of a release that the native producer does not fit: librdkafka's takes over."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from processor import Client, Worker, workflow
from processor.kafka.clients import producers
from processor.kafka.wire import versions
from tests.kafka.talking import PATIENT


@workflow.define
async def doubled(number: int) -> int:
    return 2 * number


def test_workflows_run_where_the_native_producer_steps_aside(
    kafka_servers: str,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(producers, "_unfit", {})
    ours = {**versions._OURS, versions.PRODUCE: ("Produce", 98, 99)}
    monkeypatch.setattr(versions, "_OURS", ours)
    caplog.set_level(logging.INFO)

    async def main() -> list[int]:
        worker = Worker(
            kafka_servers,
            namespace=namespace,
            workflows=[doubled],
            create_topics=True,
            partitions=2,
            state_dir=tmp_path,
        )
        client = Client(kafka_servers, namespace=namespace, settings=PATIENT)
        async with asyncio.timeout(90), worker, client:
            runs = (client.run(doubled, number, id=f"w-{number}") for number in range(10))
            return await asyncio.gather(*runs)

    assert asyncio.run(main()) == [2 * number for number in range(10)]
    first = next(line for line in caplog.messages if "records are sent" in line)
    assert first == "records are sent by the native producer: the property producer is not set"
    why = "of Produce it takes version 0 to"
    aside = [line for line in caplog.messages if line.startswith("from now on")]
    assert len(aside) == 1 and "by librdkafka's producer" in aside[0] and why in aside[0]
