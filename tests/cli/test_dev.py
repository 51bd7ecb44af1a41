"""``processor dev --kafka``: one at a time in a folder, and never without its Kafka."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from processor.cli.commands.dev import serve_beside
from processor.dev.kafka_jars import BrokerUnavailable
from tests.kafka.own_broker import need_jars

from .conftest import Processor


class Broker:
    bootstrap_servers = "127.0.0.1:1"
    log_file = Path("broker.log")
    is_running = True

    def log_tail(self) -> str:
        return "the disk is full"


class Worker:
    """Runs until it is stopped."""

    def __init__(self) -> None:
        self.ended = ""

    async def run(self) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise

    def stop(self) -> None:
        """Called by a signal."""


def test_a_broker_that_has_ended_ends_the_worker_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("processor.cli.commands.dev.LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("processor.cli.commands.worker.leave_after", lambda delay_s: None)
    local: Any = Broker()
    worker: Any = Worker()

    async def main() -> None:
        async with asyncio.timeout(30):
            asyncio.get_running_loop().call_later(0.1, setattr, local, "is_running", False)
            await serve_beside(local, worker, 1)

    with pytest.raises(BrokerUnavailable, match=r"(?s)has ended.*start this command again.*full"):
        asyncio.run(main())
    assert worker.ended == "cancelled"


@pytest.mark.kafka
def test_a_second_one_in_the_same_folder_is_refused(processor: Processor, tmp_path: Path) -> None:
    need_jars()
    first = processor("dev", "--kafka", "--state=state")
    assert first.stderr is not None
    assert any("is ours" in line for line in first.stderr)
    second = processor("dev", "--kafka", "--state=state")
    _, said = second.communicate(timeout=60)
    assert second.returncode == 4
    assert re.search(rf"process {first.pid} runs\s+a\s+Kafka", said), said
    assert first.poll() is None
    found = subprocess.run(
        ["pgrep", "-f", f"kafka.Kafka {tmp_path}"], capture_output=True, text=True, check=True
    )
    (broker,) = found.stdout.split()
    subprocess.run(["kill", "-9", broker], check=True)
    output, said = first.communicate(timeout=60)
    assert first.returncode == 4, said
    assert "has ended, and not by this process" in " ".join(said.split())
    assert output
