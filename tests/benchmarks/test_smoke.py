"""``make bench`` in its smallest form: every kind of line, in the shape of the peers', no error."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import compare
from benchmarks.http import REQUESTS, WIDTHS
from benchmarks.plot import as_png, as_text
from benchmarks.systems import LOADS, System
from benchmarks.targets import TARGETS, disturbed, table
from processor.bench.hosts import BenchHost, embedded, measure, on_kafka
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

SMALL = {  # each takes more CPU time than the 10 ms that the kernel counts in
    "chain": Load(100, 4, "c", warm_up=1),
    "order": Load(40, 20, "o", warm_up=1),
    "fanout": Load(300, 1, "f", runs=2, warm_up=1),
    "children": Load(100, 1, "p", runs=2, warm_up=1),
    "signal": Load(1_000, 5, "s", warm_up=1),
    "timers": Load(100, 25, "t", sleep_s=0.5, warm_up=1),
    "query": Load(1_000, 10, "q", warm_up=1),
    "update": Load(200, 10, "u", warm_up=1),
    "entity": Load(400, 20, "e", warm_up=1),
    "flood": Load(200, 1, "d", warm_up=1),
}


def compared(chosen: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
    """Run the one command; return its lines and what it says beside them."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compare"],
        cwd=ROOT,
        env={**os.environ, **chosen},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


async def every_workload(host: BenchHost) -> dict[str, dict[str, Any]]:
    return {name: await measure(host, name, load, 60) for name, load in SMALL.items()}


def check(lines: dict[str, dict[str, Any]]) -> None:
    assert lines["chain"].keys() | LINE_FIELDS >= PEERS_FIELDS
    assert all(line["extra_attempts"] == 0 for line in lines.values())
    assert all(line["cpu_s"] > 0 for line in lines.values())
    assert lines["order"]["p50_ms"] >= ORDER_FLOOR_MS
    assert 0 <= lines["timers"]["max_late_ms"] < 10_000
    assert lines["timers"]["overhang_s"] > 0
    assert lines["flood"]["turns_per_s"] > 0
    assert lines["children"]["children_per_s"] > 0
    assert all(lines[each]["ops_per_s"] > 0 for each in ("query", "update", "entity"))


def test_every_workload_on_the_embedded_runtime(tmp_path: Path) -> None:
    async def run() -> dict[str, dict[str, Any]]:
        async with embedded(tmp_path) as host:
            return await every_workload(host)

    check(asyncio.run(run()))


def test_every_workload_on_kafka(kafka_servers: str, tmp_path: Path) -> None:
    async def run() -> dict[str, dict[str, Any]]:
        async with on_kafka(kafka_servers, tmp_path, partitions=2) as host:
            return await every_workload(host)

    check(asyncio.run(run()))


def test_the_one_command(kafka_servers: str, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    chosen = {
        "SYSTEMS": "raw processor-embedded processor-kafka",
        "WORKLOADS": "raw flood chain-1",
        "BROKER": kafka_servers,
        "RESULTS": str(out),
    }
    lines, shown = compared({**chosen, "SMOKE": "1", "PEERS": "/nowhere"})
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
    assert out.with_suffix(".txt").read_text() in shown
    assert out.with_suffix(".png").stat().st_size > 10_000


PEER = """
import json, sys
print(json.dumps({"peer": "restate", "workload": sys.argv[1], "p50_ms": 11.5, "given": sys.argv}))
"""


def test_peers_that_are_installed_run_with_the_same_load(tmp_path: Path) -> None:
    scripts, home = tmp_path / "peers", tmp_path / "home"
    server = home / "node_modules/@restatedev/restate-server-some-machine/bin/restate-server"
    for path, text in {
        scripts / "common.py": "",
        scripts / "bench_restate.py": PEER,
        scripts / "bench_dbos.py": "raise SystemExit('dbos is not installed')",
        server: "",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    chosen = {
        "WORKLOADS": "chain-1 order-100",
        "SYSTEMS": "restate dbos-sqlite dbos-pg temporal",
        "BROKER": "nobody-is-asked",
        "RESULTS": str(tmp_path / "results.jsonl"),
        "PEERS": str(scripts),
        "PEERS_HOME": str(home),
        "BENCH_PYTHON": sys.executable,
        "FSYNC": "1",
    }
    lines, shown = compared(chosen)
    assert [(line["load"], line["peer"]) for line in lines] == [
        ("chain-1", "restate"),
        ("order-100", "restate"),
    ]
    assert lines[0]["given"][1:] == ["--durability=fsync", *LOADS["chain-1"]]
    assert "11.5  restate" in shown


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


def test_lines_that_something_else_disturbed_are_named() -> None:
    quiet = line_of("processor-kafka", "signal", elapsed_s=10.0, other_cpu_s=0.5)
    loud = line_of("restate", "timers", elapsed_s=10.0, other_cpu_s=8.0)
    assert disturbed([quiet, loud]) == ["timers restate: 0.8 cores"]


def test_lines_become_bars(tmp_path: Path) -> None:
    lines = [
        line_of("processor-kafka", "chain-1", p50_ms=2.0),
        line_of("restate", "chain-1", p50_ms=8.0),
    ]
    ours, peer = as_text(lines).splitlines()[1:3]
    assert peer.count("#") == 4 * ours.count("#")
    assert as_png(lines, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


CLOCKED = """
import asyncio, json, sys
from pathlib import Path
from benchmarks.stages import Clocks, install
from processor.bench.hosts import embedded, measure
from processor.bench.loops import Load

async def run():
    async with embedded(Path(sys.argv[1])) as host:
        await measure(host, "chain", Load(20, 4, "c", warm_up=1), 60)

clocks = Clocks()
install(clocks)
asyncio.run(run())
print(json.dumps([clocks.calls, clocks.spent_ns]))
"""


def test_clocks_stand_around_every_stage_of_a_turn(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOCKED, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls, spent_ns = json.loads(done.stdout)
    stages = {"consume", "engine", "user code", "encode", "append", "store", "effects", "loop"}
    assert stages <= calls.keys()
    assert all(spent_ns[stage] > 0 for stage in stages)
    turns = 22 * 6  # of 20 chains, the warm-up's, and the one that waits for the worker
    assert calls["append"] == turns + 1  # and the claim
    assert calls["engine"] >= turns


def test_requests_over_http_are_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.http", "--seconds", "0.2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["request"], line["c"]) for line in lines] == [
        (request, width) for request in REQUESTS for width in WIDTHS
    ]
    assert all(line["n"] > 0 and line["per_s"] > 0 for line in lines)
