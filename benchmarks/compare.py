"""Ours and the peers in turn on this machine: ``make bench``.

JSON lines go to standard output, progress and the table to standard error, all of it to
``benchmarks/results``. What is in the environment:

    SMOKE=1             the smallest form of every workload: proves that it works, nothing more
    FSYNC=1             everything is flushed to disk at every commit
    SYSTEMS="a b"       only these (processor-embedded, processor-kafka, prototype, raw, ...)
    WORKLOADS="a b"     only these loads (chain-1, chain-100, order-1, order-100, fanout, ...)
    LOAD_S=5            seconds of each load of chains and orders, for a shorter run
    FLOOD=5000          chains of a flood
    ROUNDS=3            the whole so often; the table has the medians
    BROKER, BROKER_PID  a warm broker that runs (with FSYNC=1: one that flushes), and its process
    RESULTS=FILE        append the lines to this file, and make the table of all that is in it
    PEERS, PEERS_HOME   the peers' scripts (../shared/peers), and what their set-up installed

Workload by workload, each system in turn: figures that are compared are minutes apart, because a
machine drifts. Exit status 1 if any line failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.broker import warm_broker
from benchmarks.plot import as_png, as_text
from benchmarks.systems import (
    LOADS,
    ROOT,
    SMOKE_LOADS,
    System,
    installed_peers,
    our_details,
    our_systems,
    prototype,
)
from benchmarks.targets import disturbed, table
from benchmarks.where import scratch

LINE_LIMIT_S = 400.0
WARM_UP_S = 120.0
"""One broker serves all lines: at first, they would find it slower."""

FLOOD = int(os.environ.get("FLOOD", "20000"))


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def chosen(name: str) -> list[str]:
    return os.environ.get(name, "").replace(",", " ").split()


def steps(server: str, broker_pid: int) -> Iterator[tuple[str, System, Sequence[str]]]:
    """Yield what is to be measured: the load's name, the system, and the load's arguments."""
    smoke, fsync = flag("SMOKE"), flag("FSYNC")
    ours = our_systems(server, broker_pid, fsync=fsync, smoke=smoke)
    systems = [*ours, *installed_peers(fsync)]
    yardstick = prototype(server, smoke)
    python = (sys.executable, "-m", "benchmarks.yardsticks")
    flooded = [System(s.name, s.command, ROOT) for s in ours if not s.name.endswith("-queued")]
    raw = System("raw", (*python, f"--server={server}"), ROOT)
    wanted, loads = chosen("SYSTEMS"), chosen("WORKLOADS")
    plan: list[tuple[str, System, Sequence[str]]] = [("raw", raw, ["--smoke"] if smoke else [])]
    if yardstick is not None:
        plan.append(("prototype", yardstick, ()))
    flood = ("flood", f"--n={1_000 if smoke else FLOOD}")
    plan += [("flood", system, flood) for system in flooded]
    for load, arguments in (SMOKE_LOADS if smoke else LOADS).items():
        if "LOAD_S" in os.environ and arguments[0] in ("chain", "order"):
            arguments = (*arguments, f"--max-s={os.environ['LOAD_S']}")
        plan += [(load, each, arguments) for each in systems if load in each.loads]
    if not smoke:
        plan += [(load, each, ()) for load, each in our_details(server, broker_pid, fsync=fsync)]
    for load, system, arguments in plan:
        if (not wanted or system.name in wanted) and (not loads or load in loads):
            yield load, system, arguments


def flag(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def measure(load: str, system: System, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Run one script and return its lines; what fails becomes a line with an ``error``."""
    try:
        done = subprocess.run(
            [*system.command, *arguments],
            cwd=system.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LINE_LIMIT_S,
        )
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        output, errors = "", f"{error}"
    lines = [json.loads(text) for text in output.splitlines() if text.startswith("{")]
    if not lines:
        lines = [{"peer": system.name, "workload": load, "error": errors.strip()[-300:]}]
    return [{**line, "load": load, "fsync": flag("FSYNC")} for line in lines]


def results_file() -> Path:
    given = os.environ.get("RESULTS")
    if given:
        return Path(given)
    folder = ROOT / "benchmarks" / "results"
    kind = ("smoke-" if flag("SMOKE") else "") + ("fsync-" if flag("FSYNC") else "")
    return folder / f"{kind}{time.strftime('%Y%m%d-%H%M%S')}.jsonl"


def record(load: str, system: System, arguments: Sequence[str], out: Path) -> int:
    """Measure, print and keep the lines; return how many failed."""
    say(f"{load}: {system.name}")
    lines = measure(load, system, arguments)
    for line in lines:
        print(json.dumps(line), flush=True)
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if "error" in line:
            say(f"FAILED: {line['peer']} {load}: {line['error']}")
    return sum("error" in line for line in lines)


@asynccontextmanager
async def broker() -> AsyncIterator[tuple[str, int]]:
    """Yield the address and the process of a warm broker: one of our own, or the one named."""
    if "BROKER" in os.environ:
        yield os.environ["BROKER"], int(os.environ.get("BROKER_PID", "0"))
        return
    say("starting a broker and warming it up")
    warm_up_s = 1.0 if flag("SMOKE") else WARM_UP_S
    with scratch() as folder:
        async with warm_broker(folder, fsync=flag("FSYNC"), warm_up_s=warm_up_s) as running:
            yield running.bootstrap_servers, running.pid


async def run(out: Path) -> int:
    """Measure everything that was asked for; return how many lines failed."""
    failed = 0
    async with broker() as (server, pid):
        for _ in range(int(os.environ.get("ROUNDS", "1"))):
            for step in steps(server, pid):
                failed += await asyncio.to_thread(record, *step, out)
    return failed


def main() -> None:
    out = results_file()
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = asyncio.run(run(out))
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    report = table(lines, fsync=flag("FSYNC"), verdicts=not flag("SMOKE"))
    if others := disturbed(lines):
        report += "\n\nSomething else was running, so these are no figures:\n  "
        report += "\n  ".join(others)
    bars = as_text(lines)
    out.with_suffix(".txt").write_text(f"{report}\n\n{bars}")
    drawn = as_png(lines, out.with_suffix(".png"))
    print(f"\n{report}\n\n{bars}", file=sys.stderr)
    say(f"in {out.parent}: {out.stem}.jsonl, .txt" + (", .png" if drawn else ""))
    if not drawn:
        say("no PNG: matplotlib is not installed (pip install '.[bench]')")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
