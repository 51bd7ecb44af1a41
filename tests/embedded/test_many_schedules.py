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
"""The figure to reach is SCHEDULES=10000 within 10 s; decision 62 says what was measured."""


@pytest.mark.timeout(60 + COUNT / 20)
@pytest.mark.parametrize("kill_after_s", [None, 0.02 + COUNT / 1_500])
def test_all_have_their_run_once_and_soon(tmp_path: Path, kill_after_s: float | None) -> None:
    server = f"embedded:{tmp_path}"
    command = [sys.executable, "-m", "tests.embedded.many_schedules", server, str(COUNT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        due_s = float(process.stdout.readline())
        time.sleep(due_s - time.time() + (kill_after_s or 2 + COUNT / 500))
    finally:
        process.kill()
        process.communicate()
    runs = asyncio.run(seen(server))
    assert len(runs) == COUNT and {each.status for each in runs} == {Status.COMPLETED}
    late_s = max(each.started.timestamp() for each in runs) - due_s
    print(f"{COUNT} runs have begun within {late_s:.1f} s")
    assert late_s < 10 + (kill_after_s or 0)


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
