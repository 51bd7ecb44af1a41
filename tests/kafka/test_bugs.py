"""A bug of ours that an unforeseen record meets: its thread says so, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from processor.config import Settings
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask
from processor.core.records.turn import Positions
from processor.errors import ProcessorError
from processor.kafka.gateway import KafkaGateway
from processor.kafka.queues.queue import QueueConsumer
from processor.kafka.queues.share import ShareQueueConsumer
from processor.kafka.replies import ReplyReader
from processor.kafka.shards.reading import InputReader
from processor.kafka.transport import KafkaTransport

from .harness import PARTITIONS, Adapters, start, until
from .test_gateway import FakeShards
from .test_queue import run, send_tasks, soon, worker


def fails_once(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> list[Exception]:
    """Let a method fail at its first call that has something to do; return its failures."""
    original: Callable[..., Any] = getattr(owner, method)
    failures: list[Exception] = []

    def failing(self: Any, *arguments: Any) -> Any:
        if not failures and all(arguments):
            failures.append(RuntimeError("a bug"))
            raise failures[0]
        return original(self, *arguments)

    monkeypatch.setattr(owner, method, failing)
    return failures


@pytest.mark.parametrize("on_the_loop", [False, True])
def test_inputs_are_read_again_from_where_their_shards_are(
    kafka: Adapters,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    on_the_loop: bool,
) -> None:
    failures = fails_once(monkeypatch, InputReader, "_sort")
    kafka.produce("commands", 0, b"w", b'{"type": "event", "name": "n"}')
    ports = kafka.open(0)
    ports.inbox.open(Positions())

    def arrives() -> bool:
        if on_the_loop:
            kafka.ports.begin_pass()
        return bool(failures) and ports.inbox.waiting

    until(arrives, "the failure")
    with pytest.raises(ProcessorError, match=r"reading the inputs failed: RuntimeError\('a bug'\)"):
        ports.inbox.take(10)
    again = kafka.open(0)
    again.inbox.open(Positions())
    until(lambda: len(again.inbox.take(10)) == 1, "the command")
    assert "a bug in reading the inputs" in caplog.text


def test_tasks_come_again(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = fails_once(monkeypatch, QueueConsumer, "_arrived")
    send_tasks(kafka, 20)

    async def test() -> None:
        async with worker(kafka) as it:
            await soon(lambda: len(it.tasks) == 20, "the tasks")

    run(test)
    assert failures
    assert "a bug in taking the tasks" in caplog.text


def test_tasks_of_a_share_group_come_again(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = fails_once(monkeypatch, ShareQueueConsumer, "_batch")
    send_tasks(kafka, 20)

    async def test() -> None:
        transport = KafkaTransport(kafka.connection, Settings())
        ended: set[int] = set()

        def runs(task: ActivityTask, report: Any, _again: bool) -> None:
            ended.add(task.id)
            report(ActivityReport("w", task.run_id, task.id, task.attempt, "completed", b"1"))

        queue = ShareQueueConsumer(transport, "default", 10, runs, PARTITIONS)
        queue.start()
        try:
            await soon(lambda: len(ended) == 20, "the tasks", 60)
        finally:
            await queue.stop()
            await asyncio.to_thread(transport.close)

    run(test)
    assert failures
    assert "a bug in taking the tasks" in caplog.text


def test_an_answer_that_was_lost_is_asked_for_again(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = fails_once(monkeypatch, ReplyReader, "_decoded")

    async def test() -> None:
        shards = FakeShards(kafka)
        serving = asyncio.create_task(shards.serve())
        gateway = KafkaGateway(kafka.connection, Settings(request_timeout_s=0.4))
        await gateway.start()
        try:
            await gateway.request(start("w"), timeout_s=20)
        finally:
            await gateway.close()
            serving.cancel()

    run(test)
    assert failures
    assert "a bug in reading replies" in caplog.text
