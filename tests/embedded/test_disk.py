"""What the embedded runtime does about its disk."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from processor import Client, ProcessorError, ShardUnavailable, Worker, activity, workflow
from processor.embedded.disk import Disk
from processor.store.rocks import Rocks


@activity.define
async def one() -> int:
    return 1


@workflow.define
async def adds(count: int) -> int:
    return sum([await one() for _ in range(count)])


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("in_flight", [1, 20])
def test_a_log_that_cannot_be_written_ends_the_worker_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, in_flight: int
) -> None:
    """With one workflow in flight the loop flushes by itself, with many a thread does."""
    server = f"embedded:{tmp_path / 'log'}"
    full = False
    original = getattr(Rocks, call)

    def fails(store: Rocks, *arguments: object) -> None:
        if full and store._path.name == "log":
            raise OSError(28, "No space left on device")
        original(store, *arguments)

    monkeypatch.setattr(Rocks, call, fails)

    async def until_it_is_full() -> None:
        nonlocal full
        worker = Worker(server, workflows=[adds], activities=[one])
        running = asyncio.create_task(worker.run())
        async with Client(server) as client:
            assert await client.run(adds, 2, id="before") == 2
            full = True
            starts = [client.start(adds, 3, id=f"w-{n}", timeout=1.0) for n in range(in_flight)]
            answers = await asyncio.gather(*starts, return_exceptions=True)
        assert {type(answer) for answer in answers} == {ShardUnavailable}
        with pytest.raises(ProcessorError, match=r"cannot be written .*No space left on device"):
            await asyncio.wait_for(running, 10)

    async def with_space_again() -> None:
        async with Worker(server, workflows=[adds], activities=[one]), Client(server) as client:
            assert await client.handle("before").result() == 2
            assert await client.run(adds, 4, id="after") == 4

    asyncio.run(until_it_is_full())
    full = False
    asyncio.run(with_space_again())


def test_what_is_flushed_late_is_acknowledged_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on while a thread flushes, and nobody hears of what is not durable."""
    server = f"embedded:{tmp_path / 'log'}"
    flush = Disk.flush
    flushed = 0

    def slow(disk: Disk) -> None:
        nonlocal flushed
        flush(disk)
        time.sleep(0.2)
        flushed += 1

    async def main() -> None:
        async with Worker(server, workflows=[adds], activities=[one]), Client(server) as client:
            await client.run(adds, 1)
            monkeypatch.setattr(Disk, "flush", slow)
            starts = [asyncio.create_task(client.start(adds, 1)) for _ in range(10)]
            ticks = 0
            while not any(start.done() for start in starts):
                await asyncio.sleep(0.01)
                ticks += 1
            assert flushed >= 1 and ticks >= 10
            for start in starts:
                assert await (await start).result() == 1

    asyncio.run(main())
