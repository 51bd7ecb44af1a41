"""The blocking twin of the client, and that it is one."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ActivityError,
    Client,
    InvalidArgument,
    NonDeterminismError,
    RetryPolicy,
    Status,
    WorkflowFailed,
    WorkflowParked,
    activity,
    sync,
    workflow,
)
from processor import Worker as AsyncWorker
from processor.dev.sync_client import written


@activity.define(retry=RetryPolicy(maximum_attempts=1))
async def double(number: int) -> int:
    if number < 0:
        raise ValueError("below nothing")
    return 2 * number


@workflow.define
async def doubles(number: int) -> int:
    return await double(number)


@workflow.define
class Sums:
    def __init__(self) -> None:
        self.total = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_until(lambda: self.total > 9)
        return self.total

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number

    @workflow.query
    def now(self) -> int:
        return self.total

    @workflow.update
    async def add_double(self, number: int) -> int:
        self.total += await double(number)
        return self.total


def served(path: Path) -> Any:
    return sync.Worker(f"embedded:{path}", workflows=[doubles, Sums], activities=[double])


def test_the_twin_is_what_is_written_from_the_async_client() -> None:
    for path, text in written().items():
        assert path.read_text() == text, "run python -m processor.dev.sync_client"


def test_a_client_that_blocks(tmp_path: Path) -> None:
    with served(tmp_path), sync.Client(f"embedded:{tmp_path}") as client:
        assert client.run(doubles, 4) == 8
        handle = client.start(Sums.run, id="sums")
        assert (handle.id, handle.created) == ("sums", True)
        handle.signal(Sums.add, 2)
        assert handle.query(Sums.now) == 2
        assert handle.update(Sums.add_double, 1) == 4
        sent = handle.start_update(Sums.add_double, 1, id="once")
        assert sent.result(timedelta(seconds=20)) == 6
        assert handle.update_handle("once", result_type=int).result() == 6
        assert handle.describe().status is Status.RUNNING
        with pytest.raises(TimeoutError):
            handle.result(timeout=0.05)
        handle.signal("add", 5)
        assert handle.result() == 11
        assert {each.workflow_id for each in client.list(status="completed")} >= {"sums"}
        found = client.list("workflow_id = 'sums' AND status = 'completed'")
        assert [each.workflow_id for each in found] == ["sums"]
        assert client.count("workflow_id = 'sums'").count == 1
        begun = client.signal_with_start(Sums.run, id="more", signal=(Sums.add, 10))
        assert begun.result() == 10
        assert handle.history()[-1].type == "WorkflowCompleted"


def test_errors_are_those_of_the_async_client(tmp_path: Path) -> None:
    untyped: Any = sync.Client(f"embedded:{tmp_path}")
    with served(tmp_path), untyped as client:
        with pytest.raises(InvalidArgument, match="start: workflow"):
            client.start(5)
        with pytest.raises(WorkflowFailed, match="below nothing") as failed:
            client.run(doubles, -1, timeout=20)
        assert isinstance(failed.value.__cause__, ActivityError)


def test_threads_share_a_client(tmp_path: Path) -> None:
    with (
        served(tmp_path),
        sync.Client(f"embedded:{tmp_path}") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        assert list(pool.map(lambda n: client.run(doubles, n), range(40))) == [
            2 * number for number in range(40)
        ]
    assert "processor.sync" not in {each.name for each in threading.enumerate()}


def test_a_client_that_is_not_open_says_so(tmp_path: Path) -> None:
    client = sync.Client(f"embedded:{tmp_path}")
    with pytest.raises(InvalidArgument, match="it is not open: use `with Client"):
        client.start(doubles, 1)
    with served(tmp_path), client:
        handle = client.start(doubles, 1)
        with pytest.raises(InvalidArgument, match="it is open already"):
            client.__enter__()
    with pytest.raises(InvalidArgument, match="not open"):
        handle.result()


def test_a_worker_of_another_loop_is_named(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncWorker(f"embedded:{tmp_path}", workflows=[doubles], activities=[double]):
            with sync.Client(f"embedded:{tmp_path}") as client:
                ask = asyncio.to_thread(client.run, doubles, 1)
                with pytest.raises(InvalidArgument, match="runs in another event loop"):
                    await ask
            async with Client(f"embedded:{tmp_path}") as other:
                assert await other.run(doubles, 1) == 2

    asyncio.run(work())


@workflow.define
async def asks_inside(path: str) -> None:
    with sync.Client(f"embedded:{path}") as client:
        client.run(doubles, 1)


def test_workflow_code_cannot_use_it(tmp_path: Path) -> None:
    worker = sync.Worker(f"embedded:{tmp_path}", workflows=[asks_inside])
    with worker, sync.Client(f"embedded:{tmp_path}") as client:
        with pytest.raises((WorkflowParked, WorkflowFailed, NonDeterminismError)):
            client.run(asks_inside, str(tmp_path), parked="raise", timeout=20)
