"""What must not get twice as dear: ratios within one run, medians of rounds in turn.

No test holds a time against a clock: each compares with what the same machine does at the same
moment. Where one fails: ``python -m benchmarks.stages`` says which stage of a turn grew. If the
change is worth its cost, measure again (each test prints its ratio) and move the bound, in a change
that says so.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from statistics import fmean, median

import pytest

from benchmarks.history import growth
from benchmarks.log_size import measure as log_size
from processor.bench.hosts import Host, embedded, measure, on_kafka
from processor.bench.loops import Load
from processor.bench.raw import raw_appends
from processor.bench.workloads import CHAIN_STEPS

TURNS = CHAIN_STEPS + 1
ROUNDS = 5
CHAINS = 300


async def flooded(host: Host, chains: int = CHAINS) -> tuple[float, float]:
    """Return turns a second, and the worker's CPU seconds of a turn."""
    load = Load(chains, 1, f"guard-{uuid.uuid4().hex[:8]}", warm_up=1)
    fields = await measure(host, "flood", load, 60)
    return fields["turns_per_s"], fields["worker_cpu_s"] / (chains * TURNS)


def unit_s() -> float:
    """Return the CPU time of a thousandth of a fixed loop: the unit of CPU on this machine now."""

    def loop() -> float:
        begun = time.thread_time()
        total = 0
        for number in range(200_000):
            total += number * number % 7
        return time.thread_time() - begun

    return median(loop() for _ in range(5)) / 1_000


async def on_kafka_rounds(server: str, folder: Path) -> tuple[float, float]:
    """Return turns over raw appends, and CPU of a turn in units."""
    over_raw, units = [], []
    async with on_kafka(server, folder, partitions=1) as host:
        await flooded(host, 1_000)
        for _ in range(ROUNDS):
            raw = await asyncio.to_thread(raw_appends, server, 0, 20_000)
            before_s = unit_s()
            turns_per_s, cpu_s = await flooded(host)
            units.append(cpu_s / fmean((before_s, unit_s())))
            over_raw.append(turns_per_s / raw["per_s"])
    return median(over_raw), median(units)


@pytest.mark.kafka
def test_turns_over_raw_appends(kafka_servers: str, tmp_path: Path) -> None:
    over_raw, units = asyncio.run(on_kafka_rounds(kafka_servers, tmp_path))
    print(f"turns over raw appends {over_raw:.4f}, CPU of a turn {units:.1f} units")
    assert over_raw >= 0.005
    assert units <= 100


def test_cpu_of_an_embedded_turn(tmp_path: Path) -> None:
    async def rounds() -> float:
        units = []
        async with embedded(tmp_path) as host:
            await flooded(host, 1_000)
            for _ in range(ROUNDS):
                before_s = unit_s()
                _, cpu_s = await flooded(host, 500)
                units.append(cpu_s / fmean((before_s, unit_s())))
        return median(units)

    units = asyncio.run(rounds())
    print(f"CPU of an embedded turn {units:.1f} units")
    assert units <= 100


def test_the_next_step_costs_the_same_in_a_long_history(tmp_path: Path) -> None:
    fields = asyncio.run(growth(tmp_path, (5_000,)))
    print(f"a step at 5,000 events over a fresh run's: {fields}")
    assert fields["over_fresh"]["5000"] <= 1.5


@pytest.mark.kafka
def test_bytes_of_an_activity(kafka_servers: str, tmp_path: Path) -> None:
    fields = asyncio.run(log_size(kafka_servers, tmp_path, 50, 10))
    print(f"bytes in the log: {fields}")
    assert fields["activity_bytes"] <= 500
