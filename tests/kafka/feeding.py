"""Views that are fed: by a process that tests kill, or until they are where the log ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from processor.dev.local_broker import free_ports
from processor.kafka.clients.connection import KafkaSettings
from processor.views.stream.feeder import Feeder
from processor.views.stream.lookup.app import WebAddress
from processor.views.stream.lookup.running import Lookup

__all__ = ("LOOKUP_TOKEN", "WITHIN_S", "FeederProcess", "LookupProcess", "looked_up", "up_to_date")

WITHIN_S = 60.0
LOOKUP_TOKEN = "ada-s token"


async def up_to_date(connection: KafkaSettings, folder: Path) -> None:
    """Feed views until they are where the log ends."""
    feeder = Feeder(connection, folder)
    feeding = asyncio.create_task(feeder.run())
    while not feeder.lag() or any(feeder.lag().values()):
        assert not feeding.done(), feeding.exception()
        await asyncio.sleep(0.1)
    feeder.stop()
    await feeding


async def looked_up(connection: KafkaSettings, folder: Path, id: str) -> str:
    """Serve a look-up until it is where the log ends; return the status of a workflow id."""
    (port,) = free_ports(1)
    served = Lookup(connection, folder, WebAddress("127.0.0.1", port))
    serving = asyncio.create_task(served.run())
    url, status = f"http://127.0.0.1:{port}/instances/{id}", ""
    async with httpx.AsyncClient(trust_env=False) as http:
        while not status:
            if serving.done():
                await serving
            await asyncio.sleep(0.1)
            with suppress(httpx.TransportError):
                answer = (await http.get(url)).json()
                if answer.get("lag") == 0:  # else it is no answer about a run yet
                    status = answer["status"]
    served.stop()
    await serving
    return str(status)


class FeederProcess:
    """A process that feeds the views of a namespace: ``processor views run``."""

    verb = ("run",)

    def __init__(self, servers: str, namespace: str, folder: Path, slot: int = 0) -> None:
        self._where = ("--server", servers, "--namespace", namespace)
        self.views_dir = folder / f"views-{slot}"
        self.log_path = folder / f"views-{slot}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "processor", "views", *self.verb, *self._where]
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


class LookupProcess(FeederProcess):
    """A process that serves the look-up of a namespace: ``processor views serve``."""

    def __init__(self, servers: str, namespace: str, folder: Path, slot: int, *how: str) -> None:
        super().__init__(servers, namespace, folder / "lookup", slot)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.verb = ("serve", "--web", f"127.0.0.1:{port}", *how)
        self.log_path.parent.mkdir(exist_ok=True)

    def answered(self, path: str, **headers: str) -> httpx.Response | None:
        """Return what it answers; None where it does not listen."""
        headers = {"authorization": f"Bearer {LOOKUP_TOKEN}", **headers}
        try:
            return httpx.get(self.url + path, timeout=10, trust_env=False, headers=headers)
        except httpx.TransportError:
            return None
