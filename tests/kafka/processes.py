"""Real worker processes for the tests: started, killed, paused, restarted."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from processor import Worker
from tests.orders import ACTIVITIES


class WorkerProcess:
    """One worker of a namespace, with a state directory and a static member id of its own."""

    def __init__(self, servers: str, namespace: str, folder: Path, slot: int) -> None:
        self._arguments = [servers, namespace, str(folder / f"state-{slot}"), f"slot-{slot}"]
        self._log = folder / f"worker-{slot}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.state_dir = folder / f"state-{slot}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.kafka.processes", *self._arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "started before"
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None, "started before"
        self._process.kill()
        self._process.wait(10)

    def stop(self, timeout_s: float = 30.0) -> int:
        assert self._process is not None, "started before"
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout_s)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()

    @property
    def log(self) -> str:
        return self._log.read_text()


async def serve(servers: str, namespace: str, state_dir: str, instance_id: str) -> None:
    from examples import orders
    from tests.kafka.probes import PROBE_ACTIVITIES, PROBES

    worker = Worker(
        servers,
        namespace=namespace,
        workflows=[orders.order_processing, *PROBES],
        activities=[*ACTIVITIES, *PROBE_ACTIVITIES],
        state_dir=state_dir,
        instance_id=instance_id,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(serve(*sys.argv[1:]))
