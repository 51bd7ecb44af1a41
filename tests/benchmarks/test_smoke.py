"""``make bench`` in its smallest form: every kind of line, in the shape of the peers', no error."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare
from benchmarks.plot import as_png, as_text
from benchmarks.systems import System
from benchmarks.targets import TARGETS, table
from processor.bench.hosts import Host, embedded, measure, on_kafka
from processor.bench.loops import Load
from processor.bench.workloads import ORDER_FLOOR_MS

ROOT = Path(__file__).parent.parent.parent
PEERS_FIELDS = {
    "peer", "workload", "n", "c", "wf_per_s", "act_per_s", "p50_ms", "p99_ms", "mean_ms", "max_ms",
    "elapsed_s", "cpu_s", "server_cpu_s", "worker_cpu_s", "client_cpu_s", "other_cpu_s", "steal_s",
    "disk_write_mb", "calib_cpu_ms", "calib_fsync_ms", "rss_mb", "server_rss_mb", "worker_rss_mb",
    "pss_mb", "cpu_s_per_1k", "extra_attempts", "durability", "settings", "startup_s", "ts",
}  # fmt: skip
LINE_FIELDS = {"peer", "workload", "durability", "settings", "startup_s", "ts"}
"""What the script adds to the figures of a workload."""

SMALL = {
    "chain": Load(20, 4, "c", warm_up=1),
    "order": Load(6, 3, "o", warm_up=1),
    "fanout": Load(50, 1, "f", runs=2, warm_up=1),
    "signal": Load(30, 5, "s", warm_up=1),
    "timers": Load(20, 5, "t", sleep_s=0.5, warm_up=1),
    "flood": Load(100, 1, "d", warm_up=1),
}


async def every_workload(host: Host) -> dict[str, dict[str, Any]]:
    return {name: await measure(host, name, load, 60) for name, load in SMALL.items()}


def check(lines: dict[str, dict[str, Any]]) -> None:
    assert lines["chain"].keys() | LINE_FIELDS >= PEERS_FIELDS
    assert all(line["extra_attempts"] == 0 for line in lines.values())
    assert all(line["cpu_s"] > 0 for line in lines.values())
    assert lines["order"]["p50_ms"] >= ORDER_FLOOR_MS
    assert 0 <= lines["timers"]["max_late_ms"] < 10_000
    assert lines["timers"]["overhang_s"] > 0
    assert lines["flood"]["turns_per_s"] > 0


def test_every_workload_on_the_embedded_runtime(tmp_path: Path) -> None:
    async def run() -> dict[str, dict[str, Any]]:
        async with embedded(tmp_path) as host:
            return await every_workload(host)

    check(asyncio.run(run()))


@pytest.mark.kafka
def test_every_workload_on_kafka(kafka_servers: str, tmp_path: Path) -> None:
    async def run() -> dict[str, dict[str, Any]]:
        async with on_kafka(kafka_servers, tmp_path, partitions=2) as host:
            return await every_workload(host)

    check(asyncio.run(run()))


@pytest.mark.kafka
def test_the_one_command(kafka_servers: str, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    chosen = {
        "SYSTEMS": "raw processor-embedded processor-kafka",
        "WORKLOADS": "raw flood chain-1",
        "BROKER": kafka_servers,
        "RESULTS": str(out),
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compare"],
        cwd=ROOT,
        env={**os.environ, **chosen, "SMOKE": "1", "PEERS": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == [json.loads(line) for line in out.read_text().splitlines()]
    measured = [(line["load"], line["peer"]) for line in lines]
    runtimes = ("processor-embedded", "processor-kafka")
    assert measured == [
        ("raw", "raw appends"),
        ("raw", "raw commits"),
        *(("flood", runtime) for runtime in runtimes),
        *(("chain-1", runtime) for runtime in runtimes),
    ]
    assert all(line.keys() >= PEERS_FIELDS for line in lines if line["load"] == "chain-1")
    assert "chain, one at a time" in out.with_suffix(".txt").read_text()
    assert out.with_suffix(".png").stat().st_size > 10_000


def test_what_fails_is_a_line_with_an_error_and_no_figure() -> None:
    broken = System("restate", (sys.executable, "-c", "raise SystemExit('it is broken')"), ROOT)
    [line] = compare.measure("chain-1", broken, ())
    assert line["error"] == "it is broken"
    ours = {"peer": "processor-kafka", "load": "chain-1", "p50_ms": 4.0}
    shown = table([{**line, "p50_ms": 1.0}, ours], fsync=False, verdicts=True)
    assert shown.splitlines()[1].split()[-3:] == ["-", "-", "4"]


def line_of(peer: str, load: str, **fields: float) -> dict[str, object]:
    return {"peer": peer, "load": load, **fields}


def test_targets_are_ratios_to_the_best_peer() -> None:
    lines = [
        line_of("restate", "chain-1", p50_ms=11.0),
        line_of("dbos-pg", "chain-1", p50_ms=24.0),
        line_of("processor-embedded", "chain-1", p50_ms=3.0),
        line_of("processor-kafka", "chain-1", p50_ms=6.0),
        line_of("restate", "order-1", p50_ms=190.0),
        line_of("processor-kafka", "order-1", p50_ms=145.0),
    ]
    shown = table(lines, fsync=False, verdicts=True).splitlines()
    chain = next(row for row in shown if row.startswith("chain, one at a time"))
    assert "11  restate" in chain
    assert "3  0.273x met" in chain
    assert "6  0.545x MISSED" in chain
    order = next(row for row in shown if row.startswith("order, one at a time"))
    assert "60  restate" in order  # its floor of 130 ms is nobody's merit
    assert "15  0.25x met" in order
    assert len(shown) == len(TARGETS) + 1


def test_the_median_of_several_rounds_counts() -> None:
    lines = [line_of("processor-kafka", "signal", total_s=each) for each in (9.0, 1.0, 2.0)]
    row = next(r for r in table(lines, fsync=False, verdicts=True).splitlines() if "events" in r)
    assert row.split()[-1] == "2"


def test_lines_become_bars(tmp_path: Path) -> None:
    lines = [
        line_of("processor-kafka", "chain-1", p50_ms=2.0),
        line_of("restate", "chain-1", p50_ms=8.0),
    ]
    ours, peer = as_text(lines).splitlines()[1:3]
    assert peer.count("#") == 4 * ours.count("#")
    assert as_png(lines, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
