"""Temporal: samples-python, what is put around calls and values, and streams."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from pydantic import v1

from processor import (
    Client,
    Handle,
    Interceptor,
    PayloadConverter,
    RetryPolicy,
    Settings,
    ValueNotSet,
    Worker,
    WorkflowFailed,
    activity,
    workflow,
)
from processor.testing import Environment

# --- sentry


class Reports(Interceptor):
    """Reports what fails, with the input. Theirs calls Sentry's client where this one appends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str, dict[str, Any]]] = []

    def _report(self, kind: str, name: str, error: Exception, arguments: Any) -> None:
        self.sent.append((kind, name, str(error), *map(asdict, arguments)))

    async def run_activity(self, attempt: Any, next: Any) -> Any:
        try:
            return await next(attempt)
        except Exception as error:
            self._report("activity", attempt.info.name, error, attempt.arguments)
            raise

    async def run_workflow(self, run: Any, next: Any) -> Any:
        try:
            return await next(run)
        except Exception as error:
            if not run.replaying:
                self._report("workflow", run.info.workflow, error, run.arguments)
            raise


@dataclass
class Task:
    id: str


@activity.define(retry=RetryPolicy(maximum_attempts=2))
async def works(task: Task) -> None:
    raise ValueError(f"{task.id} is broken")


@workflow.define
async def reported(task: Task) -> None:
    await works(task)


@pytest.mark.parametrize("cached", [0, 10])
def test_sentry(cached: int) -> None:
    """sentry: 42 lines, theirs 204. What fails is reported with its input, and once."""

    async def main() -> None:
        reports = Reports()
        how: dict[str, Any] = {"interceptors": [reports], "max_cached_runs": cached}
        async with Environment([reported], [works], **how) as env:
            with pytest.raises(WorkflowFailed):
                await env.run(reported, Task("t-1"))
        task = {"id": "t-1"}
        assert reports.sent == [
            ("activity", "works", "t-1 is broken", task),
            ("activity", "works", "t-1 is broken", task),
            ("workflow", "reported", "ValueError: t-1 is broken", task),
        ]

    asyncio.run(main())


# --- pydantic_converter_v1


class V1(PayloadConverter):
    name = "pydantic-v1"

    def encode(self, value: Any) -> bytes:
        return json.dumps(value, default=v1.json.pydantic_encoder).encode()

    def decode(self, data: bytes, type: Any) -> Any:
        return v1.parse_raw_as(type, data)


class OldModel(v1.BaseModel):
    some_ip: IPv4Address
    some_date: date


@activity.define
async def same(models: list[OldModel]) -> list[OldModel]:
    assert all(isinstance(each, OldModel) for each in models)
    return models


@workflow.define
async def passes(models: list[OldModel]) -> list[OldModel]:
    return await same(models)


def test_pydantic_v1() -> None:
    """pydantic_converter_v1: 22 lines, theirs 139. Models of an old library go everywhere."""

    async def main() -> None:
        async with Environment([passes], [same], payloads=[V1()], max_cached_runs=0) as env:
            models = [OldModel(some_ip="127.0.0.1", some_date="2000-01-02")]
            assert await env.run(passes, models) == models

    asyncio.run(main())


# --- custom_metric


class Latency(Interceptor):
    """How long each attempt waited before it started. Theirs is a histogram of its own meter."""

    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []

    async def run_activity(self, attempt: Any, next: Any) -> Any:
        try:
            return await next(attempt)
        finally:
            info = activity.info()  # the attempt's own was made before a thread was free
            assert info.started is not None and info.scheduled is not None
            self.seconds.append((info.workflow, (info.started - info.scheduled).total_seconds()))


@activity.define
def sleeps_a_second() -> None:
    time.sleep(1)


@workflow.define
async def starts_two() -> None:
    await asyncio.gather(sleeps_a_second(), sleeps_a_second())


def test_custom_metric(tmp_path: Path) -> None:
    """custom_metric: 26 lines, theirs 98. What an activity waits for a free thread is measured."""

    async def main() -> None:
        latency, server = Latency(), f"embedded:{tmp_path}"
        code = {"workflows": [starts_two], "activities": [sleeps_a_second]}
        how = {"interceptors": [latency], "settings": Settings(activity_threads_max=1)}
        async with Worker(server, **code, **how), Client(server) as client:
            await client.run(starts_two)
        (_, first), (name, second) = latency.seconds
        assert name == "starts_two" and second - first > 0.9

    asyncio.run(main())


# --- workflow_streams


@activity.define
async def charge(order: str) -> str:
    for text in ("charging", "charged"):
        await asyncio.sleep(1)
        await CLIENTS[-1].handle(order).signal(Order.say, text)
    return f"charge-{order}"


@workflow.define
class Order:
    """Numbered values are a stream: each is waited for by its number, also by who comes late."""

    def __init__(self) -> None:
        self.numbers = Counter[str]()

    @workflow.run
    async def run(self, id: str) -> str:
        self.publish("status", "received")
        charged = await charge(id)
        self.publish("status", "shipped")
        self.publish("progress", charged)
        return charged

    @workflow.signal
    def say(self, text: str) -> None:
        self.publish("progress", text)

    def publish(self, topic: str, item: str) -> None:
        workflow.set_value(f"{topic}-{self.numbers[topic]}", item)
        self.numbers[topic] += 1


async def subscribe(order: Handle[Any], topic: str, offset: int = 0) -> AsyncIterator[str]:
    with suppress(ValueNotSet):  # the run has ended
        while True:
            yield await order.value(f"{topic}-{offset}", result_type=str)
            offset += 1


CLIENTS: list[Client] = []


def test_workflow_streams() -> None:
    """workflow_streams: 42 lines. Who reads a run's events goes on where it was left."""

    async def main() -> None:
        async with Environment([Order], [charge]) as env:
            CLIENTS.append(env)
            order = await env.start(Order.run, "o-1", id="o-1")
            async for first in subscribe(order, "progress"):
                assert first == "charging"
                break
            await order.signal(Order.say, "from outside")
            rest = [each async for each in subscribe(env.handle("o-1"), "progress", 1)]
            assert sorted(rest) == ["charge-o-1", "charged", "from outside"]
            assert [each async for each in subscribe(order, "status")] == ["received", "shipped"]

    asyncio.run(main())
