"""The golden order on the embedded runtime, and what a user may do to it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.orders import Order, order_processing
from processor import (
    Client,
    Settings,
    StateDirectoryInUse,
    Status,
    Worker,
)
from tests.orders import ACTIVITIES, DONE, SCENARIOS, Scenario, golden, play

PROGRAM = """
import asyncio, sys
from examples.orders import Order, order_processing
from processor import Client, Worker
from tests.orders import ACTIVITIES

async def main(server, count):
    async with Worker(server, workflows=[order_processing], activities=ACTIVITIES):
        async with Client(server) as client:
            handles = []
            for number in range(count):
                order = Order(str(number), 10.0, 1, payment_retry_s=0.2, follow_up_s=0.3)
                id = f"order-{number}"
                if not await known(client, id):
                    await client.start(order_processing, order, id=id)
                handles.append(client.handle(id))
            print("started", flush=True)
            for handle in handles:
                assert await handle.result() == "Order processing completed successfully!"
            print("done", flush=True)

async def known(client, id):
    from processor import WorkflowNotFound
    try:
        await client.handle(id).describe()
    except WorkflowNotFound:
        return False
    return True

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def worker(path: Path, **how: object) -> Worker:
    return Worker(
        f"embedded:{path}",
        workflows=[order_processing],
        activities=ACTIVITIES,
        **how,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("cached", [None, 0], ids=["live", "replayed-at-every-step"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_the_golden_order(tmp_path: Path, scenario: Scenario, cached: int | None) -> None:
    async def main() -> None:
        async with worker(tmp_path, max_cached_runs=cached), Client(f"embedded:{tmp_path}") as c:
            history = await play(c, scenario, "order-1")
            assert history == golden(scenario)

    asyncio.run(main())


def test_kill_9_at_random_and_again(tmp_path: Path) -> None:
    """Every order ends exactly once, whatever was lost with the process."""
    count = 40
    for wait_s in (0.05, 0.15, 0.3, 0.5, 0.2, None):
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"embedded:{tmp_path}", str(count)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        with program.stdout:
            assert program.stdout.readline() == "started\n"
            if wait_s is None:
                assert program.stdout.readline() == "done\n"
                assert program.wait(30) == 0
            else:
                time.sleep(wait_s)
                program.send_signal(signal.SIGKILL)
                program.wait(10)
    histories = asyncio.run(_histories(tmp_path, count))
    for events in histories:
        assert events.count("WorkflowStarted") == 1
        assert events.count("WorkflowCompleted") == 1
        assert events[-1] == "WorkflowCompleted"


async def _histories(path: Path, count: int) -> list[list[str]]:
    async with worker(path), Client(f"embedded:{path}") as client:
        found = []
        for number in range(count):
            events = await client.handle(f"order-{number}").history()
            found.append([event.type for event in events])
        return found


def test_tables_are_rebuilt_from_the_log(tmp_path: Path) -> None:
    async def described(how_many: int) -> list[object]:
        async with worker(tmp_path) as running, Client(f"embedded:{tmp_path}") as client:
            if how_many:
                for number in range(how_many):
                    order = Order(str(number), 10.0, follow_up_s=0.0 if number % 2 else 3600.0)
                    await client.start(order_processing, order, id=f"order-{number}")
                for number in range(1, how_many, 2):
                    assert await client.handle(f"order-{number}").result(20) == DONE
            else:
                assert running.shards[0].turns_folded > 100
            return [run async for run in client.list()]

    before = asyncio.run(described(40))
    shutil.rmtree(tmp_path / "tables-0")
    assert asyncio.run(described(0)) == before
    for damaged in (tmp_path / "tables-0").glob("*.sst"):
        damaged.write_bytes(b"garbage")
    (tmp_path / "tables-0" / "CURRENT").write_bytes(b"garbage")
    assert asyncio.run(described(0)) == before


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path):
            with pytest.raises(subprocess.CalledProcessError) as refused:
                await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-c", PROGRAM, f"embedded:{tmp_path}", "1"],
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=30,
                )
            assert StateDirectoryInUse.__name__ in refused.value.stderr
            assert "held by another process" in refused.value.stderr

    asyncio.run(main())


def test_a_graceful_stop_keeps_a_waiting_order(tmp_path: Path) -> None:
    async def first() -> None:
        async with worker(tmp_path), Client(f"embedded:{tmp_path}") as client:
            order = Order("A", 5_000.0, follow_up_s=0.0)
            handle = await client.start(order_processing, order, id="order")
            while not (await handle.describe()).pending["timers"]:
                await asyncio.sleep(0.01)

    async def second() -> str:
        settings = Settings(request_timeout_s=1)
        async with worker(tmp_path), Client(f"embedded:{tmp_path}", settings=settings) as client:
            handle = client.handle("order", workflow=order_processing)
            assert (await handle.describe()).status is Status.RUNNING
            await handle.raise_event("fraudReviewApproved", True)
            return await handle.result(20)

    asyncio.run(first())
    assert asyncio.run(second()) == DONE
