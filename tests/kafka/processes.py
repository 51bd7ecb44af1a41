"""Real worker processes for the tests: started, killed, paused, restarted.

What a process does besides its work is said on its command line: ``--crash POINT:N`` kills it at
a named point (``crash_points.py``), ``--clock-ms N`` sets its clock off.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from processor import Worker
from tests.orders import ACTIVITIES


class WorkerProcess:
    """One worker of a namespace, with a state directory and a static member id of its own.

    ``namespace`` may name several, with commas between: the process has a worker of each.
    ``tree`` is the checkout that it runs; else this one.
    """

    def __init__(
        self, servers: str, namespace: str, folder: Path, slot: int, tree: Path | None = None
    ) -> None:
        self._arguments = [servers, namespace, str(folder / f"state-{slot}"), f"slot-{slot}"]
        self._tree = {} if tree is None else {"PYTHONPATH": str(tree)}
        self._folder = tree
        self.log_path = folder / f"worker-{slot}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.state_dir = folder / f"state-{slot}"

    def start(self, *options: str) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.kafka.processes", *self._arguments, *options],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._tree},
                cwd=self._folder,
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

    def ended(self, timeout_s: float) -> int:
        """Wait until it ends by itself; return its exit code (-9: killed)."""
        assert self._process is not None, "started before"
        return self._process.wait(timeout_s)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def takeovers(self) -> int:
        """How often one of its lives has taken a shard over."""
        return len(re.findall(r"shard \d+ is ours", self.log))


class StartWorker(Protocol):
    def __call__(self, servers: str, slot: int, *options: str) -> WorkerProcess: ...


async def at_work(*workers: WorkerProcess, takeovers: int = 1, timeout_s: float = 120.0) -> None:
    """Wait until each of these workers has taken over that many shards in its lives."""
    async with asyncio.timeout(timeout_s):
        while not all(worker.takeovers >= takeovers for worker in workers):
            await asyncio.sleep(0.05)


async def serve(servers: str, namespaces: list[str], state_dir: str, instance_id: str) -> None:
    """Run a worker of each namespace until SIGTERM comes, or one of them ends."""
    from examples import orders
    from tests.kafka.both_ways import BOTH_WAYS
    from tests.kafka.poison import POISON_ACTIVITIES, POISONED
    from tests.kafka.probes import PROBE_ACTIVITIES, PROBES
    from tests.kafka.wallets import WALLETS, holds_parcel, moves, moves_alone

    carried = [holds_parcel, moves, moves_alone]
    several = len(namespaces) > 1
    workers = [
        Worker(
            servers,
            namespace=namespace,
            workflows=[orders.order_processing, *PROBES, *POISONED, *BOTH_WAYS, *carried],
            activities=[*ACTIVITIES, *PROBE_ACTIVITIES, *POISON_ACTIVITIES],
            entities=WALLETS,
            state_dir=f"{state_dir}/{namespace}" if several else state_dir,
            instance_id=instance_id,
        )
        for namespace in namespaces
    ]

    def stop() -> None:
        for worker in workers:
            worker.stop()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    async with asyncio.TaskGroup() as running:
        for worker in workers:
            running.create_task(worker.run())


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("servers", "namespace", "state_dir", "instance_id"):
        parser.add_argument(name)
    parser.add_argument("--crash", default="")
    parser.add_argument("--clock-ms", type=int, default=0)
    options = parser.parse_args()
    faulthandler.register(signal.SIGUSR1)  # kill -USR1 shows in its log where each thread stands
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    if options.crash:
        from tests.kafka.crash_points import arm

        point, _, nth = options.crash.partition(":")
        arm(point, int(nth))
    if options.clock_ms:
        set_clock_off(options.clock_ms)
    namespaces = options.namespace.split(",")
    asyncio.run(serve(options.servers, namespaces, options.state_dir, options.instance_id))


def set_clock_off(ms: int) -> None:
    """Let this process believe that it is earlier or later than it is."""
    from processor.embedded.runtime import SystemClock

    right = SystemClock.now_ms
    SystemClock.now_ms = lambda self: right(self) + ms  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
