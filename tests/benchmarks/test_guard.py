"""What must not get twice as dear: ratios within one run, medians of rounds in turn.

No test holds a time against a clock: each compares with what the same machine does at the same
moment. What runs beside a flood makes its turns dearer and never cheaper: the cheapest round of an
embedded one counts. Where one fails: ``python -m benchmarks.stages`` says which stage of a turn
grew. If the change is worth its cost, measure again (each test prints its ratio) and move the
bound, in a change that says so.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Self

import pytest

from benchmarks.history import growth
from benchmarks.log_size import measure as log_size
from processor.bench.hosts import BenchHost, embedded, measure, on_kafka
from processor.bench.loops import Load
from processor.bench.raw import raw_appends
from processor.bench.workloads import CHAIN_STEPS
from processor.tuning import tune_process

TURNS = CHAIN_STEPS + 1
ROUNDS = 5
CHAINS = 1_000

TURNS_OVER_RAW_MIN = 0.0165
"""Seen: 0.0287 and 0.0446, on two cores without another load."""

KAFKA_UNITS_MAX = 15
"""Seen: 7.2 to 8.0, there too."""

EMBEDDED_UNITS_MAX = 20
"""Seen: 7.3 to 10.0, there too."""

STEP_OVER_FRESH_MAX = 1.3
"""Seen: 0.98 to 1.01."""

ACTIVITY_BYTES_MAX = 160
"""Seen: 135.3 to 135.6; the same every time but for the digits of times and offsets."""


class Unit:
    """The CPU time of 200 rounds of a fixed loop, measured by a thread while the work runs.

    At the same moment, because neighbours on a core slow down whatever runs beside them.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._samples: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._begun = 0.0
        self.seconds = 0.0
        self.share = 0.0

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Work out the unit, and what share of a core was spent on finding it."""
        self._stop.set()
        self._thread.join()
        self.seconds = median(self._samples) / 100
        self.share = sum(self._samples) / (time.monotonic() - self._begun)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            begun, total = time.thread_time(), 0
            for number in range(20_000):
                total += number * number % 7
            self._samples.append(time.thread_time() - begun)


async def flooded(host: BenchHost, chains: int = CHAINS) -> tuple[float, float]:
    """Return turns a second, and the worker's CPU of a turn in units."""
    load = Load(chains, 1, f"guard-{uuid.uuid4().hex[:8]}", warm_up=1)
    with Unit() as unit:
        fields = await measure(host, "flood", load, 60)
    cpu_s = fields["worker_cpu_s"]
    if host.own is not None:  # the unit was measured in the worker's process
        cpu_s -= unit.share * fields["elapsed_s"]
    return fields["turns_per_s"], cpu_s / (chains * TURNS) / unit.seconds


async def on_kafka_rounds(server: str, folder: Path) -> tuple[float, float]:
    """Return turns over raw appends, and CPU of a turn in units."""
    over_raw, units = [], []
    async with on_kafka(server, folder, partitions=1) as host:
        await flooded(host, 1_000)
        for _ in range(ROUNDS):
            raw = await asyncio.to_thread(raw_appends, server, 0, 20_000)
            turns_per_s, cpu_units = await flooded(host)
            units.append(cpu_units)
            over_raw.append(turns_per_s / raw["per_s"])
    return median(over_raw), median(units)


def test_turns_over_raw_appends(kafka_servers: str, tmp_path: Path) -> None:
    over_raw, units = asyncio.run(on_kafka_rounds(kafka_servers, tmp_path))
    print(f"turns over raw appends {over_raw:.4f}, CPU of a turn {units:.1f} units")
    assert over_raw >= TURNS_OVER_RAW_MIN
    assert units <= KAFKA_UNITS_MAX


@pytest.fixture
def process_of_ours() -> Iterator[None]:
    """Set the collector as ``processor worker`` does: here it finds what other tests have left."""
    threshold = gc.get_threshold()
    tune_process()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


@pytest.mark.usefixtures("process_of_ours")
def test_cpu_of_an_embedded_turn(tmp_path: Path) -> None:
    async def rounds() -> float:
        async with embedded(tmp_path) as host:
            await flooded(host, 1_000)
            return min([(await flooded(host, 500))[1] for _ in range(ROUNDS)])

    units = asyncio.run(rounds())
    print(f"CPU of an embedded turn {units:.1f} units")
    assert units <= EMBEDDED_UNITS_MAX


def test_the_next_step_costs_the_same_in_a_long_history(tmp_path: Path) -> None:
    fields = asyncio.run(growth(tmp_path, (5_000,)))
    print(f"a step at 5,000 events over a fresh run's: {fields}")
    assert fields["over_fresh"]["5000"] <= STEP_OVER_FRESH_MAX


def test_bytes_of_an_activity(kafka_servers: str, tmp_path: Path) -> None:
    fields = asyncio.run(log_size(kafka_servers, tmp_path, 50, 10))
    print(f"bytes in the log: {fields}")
    assert fields["activity_bytes"] <= ACTIVITY_BYTES_MAX
