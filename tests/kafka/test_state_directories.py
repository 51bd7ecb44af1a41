"""State directories are a cache: whatever happens to them costs time, never data."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from examples.consume_results import results
from examples.orders import order_processing
from processor import Client
from tests.kafka.conftest import PARTITIONS
from tests.kafka.damage import DAMAGES, flip_bits, shards_of
from tests.kafka.evidence import Evidence
from tests.kafka.processes import WorkerProcess
from tests.kafka.talking import ask, first_answer, quick
from tests.orders import DONE

pytestmark = pytest.mark.timeout(300)

ORDERS = 40
SLEEP_S = 3_600.0


class Fleet:
    """One worker with all shards, and what its runs looked like before something happened."""

    def __init__(self, servers: str, namespace: str, folder: Path) -> None:
        self.servers, self.namespace = servers, namespace
        self.worker = WorkerProcess(servers, namespace, folder, 0)
        self.asked = 0
        self.succeeded = 0
        self.ended: list[str] = []
        self._numbers = iter(range(1_000_000))

    def work(self, count: int = ORDERS, sleepers: int = 0) -> None:
        """Run some orders to their end, and leave some in their last sleep."""
        asking, numbers = self._work, [next(self._numbers) for _ in range(count)]
        ask(self.servers, self.namespace, lambda client: asking(client, numbers, sleepers))

    async def _work(self, client: Client, numbers: list[int], sleepers: int) -> None:
        await first_answer(client)

        async def one(number: int, sleeps: bool) -> None:
            id = f"order-{number}"
            self.asked += 1
            order = quick(number, follow_up_s=SLEEP_S if sleeps else 0.0)
            handle = await client.start(order_processing, order, id=id, timeout=90)
            if not sleeps:
                assert await handle.result(120) == DONE
                self.ended.append(id)
            else:
                await _sleeps(handle)
            self.succeeded += 1

        await asyncio.gather(*(one(n, place < sleepers) for place, n in enumerate(numbers)))

    def seen(self) -> dict[str, Any]:
        """Return all runs as a client sees them, with their whole histories."""
        return dict(ask(self.servers, self.namespace, _seen))

    def check_results(self) -> None:
        found = [result["workflow_id"] for result in results(self.servers, self.namespace, 3.0)]
        assert sorted(found) == sorted(self.ended), "each result is published exactly once"


async def _sleeps(handle: Any) -> None:
    async with asyncio.timeout(90):
        while not (await handle.describe()).pending.get("timers"):
            await asyncio.sleep(0.01)


async def _seen(client: Client) -> dict[str, Any]:
    found = {}
    await first_answer(client)
    async for run in client.list():
        history = await client.handle(run.workflow_id).history()
        facts = [(event.type, event.time, event.fields) for event in history]
        found[run.workflow_id] = (run.run_id, run.status, run.events, facts)
    return found


@pytest.fixture
def fleet(kafka_servers: str, made: str, tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(kafka_servers, made, tmp_path)
    yield found
    found.worker.end()


def test_damaged_state_directories(fleet: Fleet, evidence: Evidence) -> None:
    """Each kind of damage between two lives of a worker; the runs are the same in each."""
    dice = random.Random(11)
    worker, state = fleet.worker, fleet.worker.state_dir
    worker.start()
    fleet.work(sleepers=ORDERS // 2)
    worker.kill()
    old = state.with_name("old")
    shutil.copytree(state, old)
    worker.start()
    times = 0

    def stale(state: Path, _: random.Random) -> int:
        shutil.rmtree(state)
        shutil.copytree(old, state)
        return len(shards_of(state))

    for name, damage in {**DAMAGES, "an older copy put back": stale}.items():
        fleet.work(16)
        before = fleet.seen()
        worker.kill()
        assert len(shards_of(state)) == PARTITIONS
        done = damage(state, dice)
        assert done, f"{name}: nothing was damaged"
        times += done
        worker.start()
        assert fleet.seen() == before, name
        assert "Traceback" not in worker.log, name
    fleet.check_results()
    assert "rebuilding it from the log" in worker.log
    evidence.note(
        "state directory deleted, swapped, bits flipped, files cut and lost, an old copy put back",
        times,
        f"{len(before)} runs with their histories, each result once",
        succeeded=fleet.succeeded,
        asked=fleet.asked,
    )


def test_bits_flip_while_it_runs(fleet: Fleet, evidence: Evidence) -> None:
    """A block that cannot be read is met by a question: the shard is rebuilt, and it answers."""
    dice = random.Random(5)
    worker = fleet.worker
    worker.start()
    fleet.work(sleepers=ORDERS // 2)
    before = fleet.seen()
    times = 0
    for _ in range(2):
        worker.kill()
        worker.start()  # what is only in the write-ahead log goes into tables at the start
        fleet.work(0)
        for _ in range(20):
            times += flip_bits(worker.state_dir, dice, (".sst",))
        assert fleet.seen() == before
        fleet.work(10)
        before = fleet.seen()
    assert worker.log.count("rebuilding it from the log") >= 2
    fleet.check_results()
    evidence.note(
        "bits flipped in the tables of a running worker",
        times,
        "shards rebuilt within the process, answers right, each result once",
        succeeded=fleet.succeeded,
        asked=fleet.asked,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk(
    kafka_servers: str, made: str, small_disk: Path, tmp_path: Path, evidence: Evidence
) -> None:
    """The shards wait, saying why, while the disk is full, and go on once it is not."""
    fleet = Fleet(kafka_servers, made, tmp_path)
    worker = fleet.worker
    worker.state_dir.symlink_to(small_disk)
    worker.start()
    try:
        fleet.work(sleepers=10)
        before = fleet.seen()
        worker.kill()
        _fill(small_disk / "filler")
        worker.start()
        _until_log(worker, "No space left on device. Free")
        (small_disk / "filler").unlink()
        assert fleet.seen() == before
        _fill(small_disk / "filler")
        with ThreadPoolExecutor() as threads:
            working = threads.submit(fleet.work, 200)
            _until_log(worker, "failed (state directory", 2)
            (small_disk / "filler").unlink()
            working.result()
        fleet.check_results()
    finally:
        worker.end()
    assert "Traceback" not in worker.log
    evidence.note(
        "disk full at the start of a worker, and in its middle; free again",
        2,
        f"{len(before)} runs with their histories, each result once",
        succeeded=fleet.succeeded,
        asked=fleet.asked,
    )


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4_096)
        except OSError:
            return


def _until_log(worker: WorkerProcess, text: str, times: int = 1) -> None:
    deadline = time.monotonic() + 120
    while worker.log.count(text) < times:
        assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{worker.log[-3_000:]}"
        time.sleep(0.05)
