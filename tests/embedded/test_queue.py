"""Tasks that wait in the queue of the embedded runtime, and those that end their process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from processor import Client, Settings, Worker
from processor.core.attempts import STARTS_MAX

from .killed import SLOTS, TASKS, WORKFLOWS, attempts_of, fans_out, noted, waits

ROOT = Path(__file__).parent.parent.parent
LIFE_S = 60
ANNOUNCED_S = 0.3
"""By then the log knows of what runs, and calls all tasks delivered."""


def life(path: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.embedded.killed", str(path), name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def until(done: Any) -> None:
    deadline = time.monotonic() + LIFE_S
    while not done():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def test_queued_activities_survive_a_kill(tmp_path: Path) -> None:
    """Those that ran run again, as it is promised; those that waited are not lost."""
    with life(tmp_path, "fans_out") as first:
        until(lambda: noted(tmp_path, "waits") == SLOTS)
        time.sleep(ANNOUNCED_S)
        first.kill()
    with life(tmp_path, "fans_out") as second:
        until(lambda: noted(tmp_path, "waits") == 2 * SLOTS)
        time.sleep(ANNOUNCED_S)
        second.kill()
    (tmp_path / "over").touch()
    with life(tmp_path, "fans_out") as last:
        said, _ = last.communicate(timeout=LIFE_S)
    assert json.loads(said) == list(range(TASKS))
    assert attempts_of(tmp_path, "waits") == [1] * (2 * SLOTS + TASKS)


def test_queued_activities_survive_a_stop(tmp_path: Path) -> None:
    """Those that run may end; those that wait begin with the next worker."""
    server = f"embedded:{tmp_path / 'state'}"
    settings = Settings(max_activities=SLOTS, shutdown_s=20)

    async def first_life() -> None:
        worker = Worker(server, workflows=[fans_out], activities=[waits], settings=settings)
        async with Client(server) as client, asyncio.timeout(LIFE_S), worker:
            await client.start(fans_out, str(tmp_path), id="w")
            while noted(tmp_path, "waits") < SLOTS:
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.2, (tmp_path / "over").touch)

    async def second_life() -> Any:
        worker = Worker(server, workflows=[fans_out], activities=[waits], settings=settings)
        async with Client(server) as client, asyncio.timeout(LIFE_S), worker:
            return await client.handle("w").result()

    asyncio.run(first_life())
    assert noted(tmp_path, "waits") == SLOTS
    assert asyncio.run(second_life()) == list(range(TASKS))
    assert noted(tmp_path, "waits") == TASKS


@pytest.mark.parametrize(("name", "lives_max"), [("eager", STARTS_MAX), ("queued", STARTS_MAX + 1)])
def test_what_ends_its_process_is_counted(tmp_path: Path, name: str, lives_max: int) -> None:
    """A process does not end for ever: the first start of a queued task may go unnoticed."""
    said = ""
    assert name in WORKFLOWS
    for _ in range(lives_max + 1):
        with life(tmp_path, name) as process:
            said, _ = process.communicate(timeout=LIFE_S)
        if process.returncode == 0:
            break
        assert process.returncode == 9
    assert json.loads(said).startswith("lost: activity 'ends_process")
    assert "it seems to end its" in said
    assert noted(tmp_path, name) == lives_max
