"""What the embedded runtime does about its disk."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from processor import Client, ProcessorError, ShardUnavailable, Worker, activity, workflow
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.nouns.external import RaiseEvent
from processor.core.records.turn import Positions
from processor.embedded.disk import Disk, DiskLog, open_disk
from processor.embedded.ports import MemoryInbox
from processor.store.rocks import Rocks
from tests.log_rules import check_histories, check_positions, read_log


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
    flushed, ticked = 0, threading.Event()

    def slow(disk: Disk) -> None:
        nonlocal flushed
        flush(disk)
        ticked.wait(20)
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
                if ticks == 10:
                    ticked.set()
            assert flushed >= 1 and ticks >= 10
            for start in starts:
                assert await (await start).result() == 1

    asyncio.run(main())


def test_a_flush_that_failed_once_is_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failed fsync leaves on disk nobody knows: a later one that succeeds proves nothing."""
    server = f"embedded:{tmp_path / 'log'}"
    sync, failures = Rocks.sync, 0

    def fails_once(store: Rocks) -> None:
        nonlocal failures
        if store._path.name == "log" and failures == 0 and fails:
            failures += 1
            raise OSError(5, "Input/output error")
        sync(store)

    monkeypatch.setattr(Rocks, "sync", fails_once)
    fails = False

    async def main() -> None:
        nonlocal fails
        worker = Worker(server, workflows=[adds], activities=[one])
        running = asyncio.create_task(worker.run())
        async with Client(server) as client:
            assert await client.run(adds, 1, id="before") == 1
            fails = True
            for number in range(3):
                with pytest.raises(ShardUnavailable):
                    await client.start(adds, 1, id=f"w-{number}", timeout=0.5)
        with pytest.raises(ProcessorError, match=r"cannot be written .*Input/output error"):
            await asyncio.wait_for(running, 10)

    asyncio.run(main())
    assert failures == 1


def test_a_disk_that_gave_up_writes_nothing_when_it_is_closed(tmp_path: Path) -> None:
    disk = open_disk(tmp_path / "log", sync=False)
    told: list[str] = []
    disk.put("log", b"first", b"1", lambda: told.append("first"))
    disk.commit()
    disk.put("log", b"second", b"2", lambda: told.append("second"))
    disk.give_up()
    assert not disk.dirty
    disk.close()
    disk = open_disk(tmp_path / "log", sync=False)
    assert told == ["first"] and disk._store.get("log", b"second") is None
    disk.close()


# --- the numbers of the inbox ---------------------------------------------------------------------


def test_numbers_that_the_log_knows_are_not_used_again() -> None:
    inbox = MemoryInbox(lambda: None)
    inbox.open(Positions(commands=7, results=8, timers=9))
    inbox.take(10)
    inbox.submit(ClientCommand("w", RaiseEvent("a")))
    inbox.report(ActivityReport("w", "r", 1, 1, "completed"))
    inbox.due(TimerDue("w", "r", "timer", 1, 0, 5))
    assert [record.offset for record in inbox.take(10)] == [7, 8, 9]


def test_each_life_goes_on_where_the_one_before_stopped(tmp_path: Path) -> None:
    """By the log that three of them wrote, no input is read twice."""
    server = f"embedded:{tmp_path / 'log'}"

    async def live(number: int) -> None:
        async with Worker(server, workflows=[adds], activities=[one]), Client(server) as client:
            for each in range(3 - number):
                assert await client.run(adds, each, id=f"w-{number}-{each}") == each

    for number in range(3):
        asyncio.run(live(number))
    disk = open_disk(tmp_path / "log" / "log", sync=False)
    try:
        reading = read_log(DiskLog(disk).read(*DiskLog(disk).bounds()))
    finally:
        disk.close()
    assert len(reading.runs) == 6
    check_histories(reading)
    check_positions(reading)
