"""Many schedules that are due in the same moment, while their process is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from processor import Client, RunDescription, ShardUnavailable, Status, Worker

from .many_schedules import fired

COUNT: Final = int(os.environ.get("SCHEDULES", 200))
"""``make many`` has 10,000; decision 62 says what was measured."""

CPU_S_MAX: Final = 1 + COUNT / 1_100
"""10 s for 10,000. It is CPU, so that what else the machine does counts little."""


@pytest.mark.timeout(300 + COUNT / 10)
@pytest.mark.parametrize("kill_after_s", [None, 0.02 + COUNT / 1_500])
def test_all_have_their_run_once_and_soon(tmp_path: Path, kill_after_s: float | None) -> None:
    server = f"embedded:{tmp_path}"
    command = [sys.executable, "-m", "tests.embedded.many_schedules", server, str(COUNT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        due_s = float(process.stdout.readline())
        if kill_after_s is None:
            cpu_s = float(process.stdout.readline())
            print(f"{COUNT} runs have begun after {cpu_s:.1f} s of CPU")
            assert cpu_s < CPU_S_MAX
        else:
            time.sleep(max(due_s - time.time() + kill_after_s, 0))
    finally:
        process.kill()
        process.communicate()
    runs = asyncio.run(seen(server))
    assert len(runs) == COUNT and {each.status for each in runs} == {Status.COMPLETED}


async def seen(server: str) -> list[RunDescription]:
    """Return the runs once all have ended; each has begun once, and its schedule says so."""
    async with Worker(server, workflows=[fired]), Client(server) as client:
        for _ in range(100):
            try:
                runs = [each async for each in client.list(workflow="fired")]
            except ShardUnavailable:  # it has more to do first
                continue
            if len(runs) == COUNT and not any(each.status.is_open for each in runs):
                break
            await asyncio.sleep(0.2 + COUNT / 2_000)
        told = [await client.schedules.handle(f"s{number}").describe() for number in range(9)]
        assert all((each.actions, each.next) == (1, []) for each in told)
        events = [await client.handle(each.workflow_id).history() for each in runs[:9]]
        assert all(len(each) == 2 for each in events)
        return runs
