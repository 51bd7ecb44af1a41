"""Views that are fed: by a process that tests kill, or until they are where the log ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from processor.kafka.clients.connection import KafkaSettings
from processor.views.stream.feeder import Feeder

__all__ = ("WITHIN_S", "FeederProcess", "up_to_date")

WITHIN_S = 60.0


async def up_to_date(connection: KafkaSettings, folder: Path) -> None:
    """Feed views until they are where the log ends."""
    feeder = Feeder(connection, folder)
    feeding = asyncio.create_task(feeder.run())
    while not feeder.lag() or any(feeder.lag().values()):
        assert not feeding.done(), feeding.exception()
        await asyncio.sleep(0.1)
    feeder.stop()
    await feeding


class FeederProcess:
    """A process that feeds the views of a namespace: ``processor views run``."""

    def __init__(self, servers: str, namespace: str, folder: Path, slot: int = 0) -> None:
        self._where = ("--server", servers, "--namespace", namespace)
        self.views_dir = folder / f"views-{slot}"
        self.log_path = folder / f"views-{slot}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "processor", "views", "run", *self._where]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--views-dir", str(self.views_dir)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def kill(self) -> None:
        assert self._process is not None, "started before"
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> int:
        assert self._process is not None, "started before"
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def ended(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process is not None, "started before"
        return self._process.wait(WITHIN_S)

    @property
    def pid(self) -> int:
        assert self._process is not None, "started before"
        return self._process.pid

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def log(self) -> str:
        return self.log_path.read_text()
