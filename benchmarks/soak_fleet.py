"""The processes of the soak: what is done to workers and their broker, and how big workers are."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]

from processor.dev.local_broker import LocalBroker

__all__ = ("Faults", "Life", "Sample", "WorkerProcess")

PAUSE_MAX_S = 9.0
"""Longer than the session time-out of 6 s: a paused process comes back as a zombie."""

GUEST_S = 5.0


class Sample(NamedTuple):
    """How big a process is. ``memory`` is its own, resident or swapped out; ``state`` on disk."""

    at_s: float
    memory: int
    files: int
    threads: int
    state: int


@dataclass
class Life:
    """One life of a worker process, from its start to its end."""

    slot: int
    begun_s: float
    samples: list[Sample] = field(default_factory=list)


class WorkerProcess:
    def __init__(self, servers: str, namespace: str, folder: Path, slot: int) -> None:
        self.slot = slot
        self.state_dir = folder / f"state-{slot}"
        self.log_path = folder / f"worker-{slot}.log"
        self.lives: list[Life] = []
        self._arguments = [servers, namespace, str(self.state_dir), f"soak-{slot}"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "benchmarks.soak_work", *self._arguments]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.lives.append(Life(self.slot, time.monotonic()))

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "started before"
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """End it in order; kill it where that takes too long."""
        assert self._process is not None, "started before"
        self.signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, 30.0)
        except subprocess.TimeoutExpired:
            self.kill()

    def sample(self) -> None:
        if self._process is None or not self.is_running:
            return
        try:
            process = psutil.Process(self._process.pid)
            info = process.memory_full_info()
            memory = info.uss + getattr(info, "swap", 0)
            files, threads = process.num_fds(), process.num_threads()
        except psutil.NoSuchProcess:
            return
        size = _size(self.state_dir)
        self.lives[-1].samples.append(Sample(time.monotonic(), memory, files, threads, size))


def _size(folder: Path) -> int:
    """Return the bytes of what RocksDB keeps; its diagnostic logs are rotated by themselves."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.suffix in (".sst", ".log") and path.is_file():
                total += path.stat().st_size
        except FileNotFoundError:  # compacted away meanwhile
            continue
    return total


class Faults:
    """Does something to a worker or the broker, again and again. The first worker is spared.

    So that one process lives long enough to show a trend; what happens to the others and to the
    broker reaches it as rebalances, takeovers and reconnections.
    """

    def __init__(
        self,
        workers: list[WorkerProcess],
        guest: WorkerProcess,
        broker: LocalBroker,
        dice: random.Random,
    ) -> None:
        self.done: Counter[str] = Counter()
        self._workers = workers
        self._guest = guest
        self._broker = broker
        self._dice = dice

    async def run(self, until_s: float, every_s: float) -> None:
        kinds: dict[str, tuple[int, Callable[[WorkerProcess], Coroutine[Any, Any, None]]]] = {
            "kill -9": (4, self._kill),
            "pause": (3, self._pause),
            "state deleted": (2, self._delete_state),
            "restart": (2, self._restart),
            "rebalance": (2, self._rebalance),
            "broker killed": (1, self._kill_broker),
        }
        names = list(kinds)
        weights = [weight for weight, _ in kinds.values()]
        while time.monotonic() < until_s:
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * every_s)
            (name,) = self._dice.choices(names, weights)
            await kinds[name][1](self._dice.choice(self._workers[1:]))
            self.done[name] += 1

    async def _kill(self, worker: WorkerProcess) -> None:
        worker.kill()
        await asyncio.sleep(self._dice.choice((0.0, 0.0, 2.0)))
        worker.start()

    async def _pause(self, worker: WorkerProcess) -> None:
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.5, PAUSE_MAX_S))
        worker.signal(signal.SIGCONT)

    async def _delete_state(self, worker: WorkerProcess) -> None:
        worker.kill()
        shutil.rmtree(worker.state_dir, ignore_errors=True)
        worker.start()

    async def _restart(self, worker: WorkerProcess) -> None:
        await worker.stop()
        worker.start()

    async def _rebalance(self, _: WorkerProcess) -> None:
        """Let another worker join for a moment."""
        self._guest.start()
        await asyncio.sleep(GUEST_S)
        await self._guest.stop()

    async def _kill_broker(self, _: WorkerProcess) -> None:
        self._broker.kill()
        await asyncio.to_thread(self._broker.start)
