"""Who waits for a run is told what keeps it from going on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from processor import Client, Settings, Worker, activity, workflow
from processor.client.descriptions import hindrances


@activity.define
async def holds(seconds: float) -> None:
    await asyncio.sleep(seconds)


@workflow.define
async def asks_twice() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(holds(1))
        group.create_task(holds.options(eager=False, queue="gpu")(0))


def test_a_task_that_nobody_takes_is_told_with_its_queue(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        settings = Settings(max_activities=1)
        worker = Worker(server, workflows=[asks_twice], activities=[holds], settings=settings)
        async with worker, Client(server) as client, asyncio.timeout(20):
            handle = await client.start(asks_twice, id="w")
            run = await handle.describe()
            now_ms = time.time_ns() // 1_000_000
            assert not list(hindrances(run, now_ms)), "it has only just begun to wait"
            (said,) = hindrances(run, now_ms + 10_000)
            assert "activity 'holds' of 'w': no worker of queue 'gpu' has taken it for" in said
            assert "Start a worker with queues=['gpu']" in said
            await handle.result()

    asyncio.run(main())
