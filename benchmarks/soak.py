"""A long run with all faults at random: nothing is lost, and nothing grows.

    python -m benchmarks.soak [--minutes 60] [--rate 8] [--seed 1] [--workers 3]

It starts a broker and workers of its own. Progress goes to standard error; one line of JSON to
standard output. The exit code is 1 when an outcome was lost, doubled or wrong, when less than 90 %
succeeded, or when a process grew beyond the bounds below, measured from when it is warm.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka.admin import NewTopic

from benchmarks.soak_account import Account
from benchmarks.soak_fleet import Faults, Life, Sample, WorkerProcess
from benchmarks.soak_work import PUBLISHED, bring, fan, meet, visit
from processor import Client, ProcessorError, ShardUnavailable
from processor.dev.local_broker import LocalBroker
from processor.kafka.topics.upkeep import apply, connect, plan

NAMESPACE = "soak"
PARTITIONS = 6
SUCCESS_MIN = 0.9
FAN_WIDTH = 20
START_S = 120.0
SETTLE_S = 180.0

WARM_S = 60.0
"""A process is warm after this (or after a third of its life, if that is shorter)."""

LIFE_MIN_S = 40.0
"""Shorter lives show no trend."""

MEMORY_GROWTH_MAX = 48 * 2**20
FILES_GROWTH_MAX = 60
"""Connections to a broker that comes and goes, and tables before RocksDB merges them."""

THREADS_GROWTH_MAX = 20
STATE_PER_RUN_MAX = 64 * 1024
"""Histories of closed runs stay, so state grows with runs: this is the bound for one run."""


class Soak:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.minutes, self.rate = options.minutes, options.rate
        self.dice = random.Random(options.seed)
        self.broker = LocalBroker(folder / "broker")
        self.broker.start()
        servers = self.broker.bootstrap_servers
        admin = connect(servers)
        apply(admin, plan(admin, NAMESPACE, PARTITIONS, 1))
        for future in admin.create_topics([NewTopic(PUBLISHED, PARTITIONS, 1)]).values():
            future.result()
        slots = range(options.workers + 1)
        processes = [WorkerProcess(servers, NAMESPACE, folder, slot) for slot in slots]
        self.workers, self.guest = processes[:-1], processes[-1]
        self.account = Account(servers, NAMESPACE)
        self.faults = Faults(self.workers, self.guest, self.broker, random.Random(options.seed))
        self.begun_s = time.monotonic()

    async def run(self) -> None:
        for worker in self.workers:
            worker.start()
        until_s = time.monotonic() + self.minutes * 60
        every_s = min(10.0, self.minutes * 4)
        sampling = asyncio.create_task(self._sample(every_s))
        async with Client(self.broker.bootstrap_servers, namespace=NAMESPACE) as client:
            faults = asyncio.create_task(self.faults.run(until_s, every_s))
            async with asyncio.TaskGroup() as running:
                number = 0
                while time.monotonic() < until_s:
                    running.create_task(self._one(client, number))
                    number += 1
                    await asyncio.sleep(1 / self.rate)
                await faults
        await asyncio.to_thread(self.account.settle, SETTLE_S)
        sampling.cancel()

    def close(self) -> None:
        self.account.close()
        for worker in (*self.workers, self.guest):
            worker.kill()
        self.broker.kill()

    # --- the work -----------------------------------------------------------------------------

    async def _one(self, client: Client, number: int) -> None:
        """Ask for one thing and check what comes of it."""
        self.account.asked += 1
        try:
            match self.dice.randrange(4):
                case 0:
                    await self._expect(client, f"fan-{number}", fan, FAN_WIDTH, 380)
                case 1:
                    await self._meeting(client, number)
                case _:
                    self.account.publishes.add(f"visit-{number}")
                    await self._expect(client, f"visit-{number}", visit, number, 4 * number + 2)
        except ShardUnavailable:
            return
        except ProcessorError as error:
            self.account.wrong.append(f"{number}: {type(error).__name__}: {error}")
            return
        self.account.ended += 1

    async def _expect(self, client: Client, id: str, what: Any, value: Any, right: Any) -> None:
        handle = await self._start(client, id, what, value)
        result = await handle.result(SETTLE_S)
        if result != right:
            self.account.wrong.append(f"{id}: {result!r} and not {right!r}")

    async def _meeting(self, client: Client, number: int) -> None:
        """Two instances, one of which sends to the other; and an event from the client."""
        id = f"meet-{number}"
        handle = await self._start(client, id, meet, 2)
        await self._start(client, f"bring-{number}", bring, id, 7)
        await handle.raise_event("brought", 8)
        result = await handle.result(SETTLE_S)
        if result != [7, 8]:
            self.account.wrong.append(f"{id}: {result!r} and not [7, 8]")

    async def _start(self, client: Client, id: str, what: Any, *arguments: Any) -> Any:
        self.account.unknown.add(id)
        handle = await client.start(what, *arguments, id=id, timeout=START_S)
        self.account.unknown.discard(id)
        self.account.accepted.add(id)
        return handle

    # --- samples and the verdict --------------------------------------------------------------

    async def _sample(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            for worker in self.workers:
                worker.sample()
            self._say()

    def _say(self) -> None:
        account = self.account
        minutes, seconds = divmod(int(time.monotonic() - self.begun_s), 60)
        done = ", ".join(f"{name} {times}" for name, times in sorted(self.faults.done.items()))
        sizes = "  ".join(_sizes(worker.lives[-1].samples[-1:]) for worker in self.workers)
        print(
            f"{minutes:3d}:{seconds:02d}  asked {account.asked}, ended {account.ended}, waiting "
            f"{account.waiting}, wrong {len(account.wrong)} | {done or 'no faults yet'} | {sizes}",
            file=sys.stderr,
            flush=True,
        )

    def summary(self) -> dict[str, Any]:
        account = self.account
        grown = [text for worker in self.workers for life in worker.lives for text in growth(life)]
        steady = self.workers[0].lives[0]
        runs = len(account.accepted)
        state = max((sample.state for sample in steady.samples), default=0)
        if runs and state > STATE_PER_RUN_MAX * runs + 2**24:
            grown.append(f"state of {state:,} bytes for {runs:,} runs")
        ended_early = [w.slot for w in self.workers if not w.is_running]
        good = account.ended >= SUCCESS_MIN * account.asked > 0
        lost, doubled = account.lost(), account.doubled()
        return {
            "benchmark": "soak",
            "minutes": self.minutes,
            "asked": account.asked,
            "ended": account.ended,
            "runs": runs,
            "lost": lost[:20],
            "doubled": doubled[:20],
            "wrong": account.wrong[:20],
            "faults": dict(self.faults.done),
            "lives": sum(len(worker.lives) for worker in self.workers),
            "steady": _trend(steady),
            "state_bytes_per_run": round(state / max(runs, 1)),
            "grown": grown,
            "workers_gone": ended_early,
            "passed": good and not (lost or doubled or account.wrong or grown or ended_early),
        }


def growth(life: Life) -> list[str]:
    """Return what grew in one life of a process beyond its bound."""
    halves = _halves(life)
    if halves is None:
        return []
    before, after = halves
    bounds = (
        ("memory", MEMORY_GROWTH_MAX + max(after["state"] - before["state"], 0)),
        ("files", FILES_GROWTH_MAX),
        ("threads", THREADS_GROWTH_MAX),
    )
    return [
        f"worker {life.slot}: {name} from {before[name]:,.0f} to {after[name]:,.0f}"
        for name, bound in bounds
        if after[name] - before[name] > bound
    ]


def _halves(life: Life) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return the medians of the first and the last third of a life, from when it is warm."""
    if not life.samples or life.samples[-1].at_s - life.begun_s < LIFE_MIN_S:
        return None
    length_s = life.samples[-1].at_s - life.begun_s
    warm_s = life.begun_s + min(WARM_S, length_s / 3)
    warm = [sample for sample in life.samples if sample.at_s >= warm_s]
    third = max(len(warm) // 3, 1)
    return _medians(warm[:third]), _medians(warm[-third:])


def _medians(samples: Sequence[Sample]) -> dict[str, float]:
    names = ("memory", "files", "threads", "state")
    return {name: statistics.median(getattr(s, name) for s in samples) for name in names}


def _trend(life: Life) -> dict[str, list[float]]:
    halves = _halves(life)
    if halves is None:
        return {}
    return {name: [value, halves[1][name]] for name, value in halves[0].items()}


def _sizes(samples: Iterable[Sample]) -> str:
    for sample in samples:
        return (
            f"[{sample.memory / 2**20:.0f} MB, {sample.files} files, {sample.threads} threads, "
            f"{sample.state / 2**20:.1f} MB state]"
        )
    return "[just started]"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=8.0, help="workflows started per second")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.getLogger("processor.kafka.client").setLevel(logging.CRITICAL)  # brokers do go away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the workers end as well
    folder = Path(tempfile.mkdtemp(prefix="processor-soak-"))
    soak = Soak(options, folder)
    try:
        asyncio.run(soak.run())
        summary = soak.summary()
    finally:
        soak.close()
    print(json.dumps(summary), flush=True)
    if summary["passed"]:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print(f"The logs of the workers and of the broker are in {folder}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
