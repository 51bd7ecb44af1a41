"""Everything that can be compared here: our runtimes, and the peers that are installed.

``PEERS`` names the folder of the peers' scripts, ``PEERS_HOME`` where their servers are installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = (
    "LOADS",
    "OURS",
    "SMOKE_LOADS",
    "System",
    "installed_peers",
    "our_details",
    "our_systems",
    "prototype",
)

ROOT = Path(__file__).parent.parent
HOME = Path(os.environ.get("PEERS_HOME") or Path.home() / ".cache" / "peers")
POSTGRES = Path(os.environ.get("PGBIN", "/usr/lib/postgresql/15/bin")) / "postgres"

LOADS: dict[str, Sequence[str]] = {
    "chain-1": ("chain", "--n=100000", "--c=1", "--max-s=10"),
    "chain-100": ("chain", "--n=100000", "--c=100", "--max-s=20"),
    "order-1": ("order", "--n=100000", "--c=1", "--max-s=10"),
    "order-100": ("order", "--n=100000", "--c=100", "--max-s=20"),
    "fanout": ("fanout", "--n=1000", "--runs=3"),
    "children": ("children", "--n=200", "--runs=3"),
    "signal": ("signal", "--n=2000", "--c=50"),
    "timers": ("timers", "--n=2000", "--sleep=5"),
    "query": ("query", "--n=2000", "--c=20"),
    "update": ("update", "--n=2000", "--c=20"),
    "entity-1": ("entity", "--n=5000", "--c=1", "--max-s=10"),
    "entity-50": ("entity", "--n=5000", "--c=50"),
}
SMOKE_LOADS: dict[str, Sequence[str]] = {
    "chain-1": ("chain", "--n=30", "--c=1", "--warmup=3"),
    "chain-100": ("chain", "--n=200", "--c=20", "--warmup=3"),
    "order-1": ("order", "--n=5", "--c=1", "--warmup=3"),
    "order-100": ("order", "--n=24", "--c=12", "--warmup=3"),
    "fanout": ("fanout", "--n=100", "--runs=2", "--warmup=3"),
    "children": ("children", "--n=20", "--runs=2", "--warmup=3"),
    "signal": ("signal", "--n=100", "--c=20", "--warmup=3"),
    "timers": ("timers", "--n=40", "--sleep=1", "--warmup=3"),
    "query": ("query", "--n=100", "--c=10", "--warmup=3"),
    "update": ("update", "--n=100", "--c=10", "--warmup=3"),
    "entity-1": ("entity", "--n=50", "--c=1", "--warmup=3"),
    "entity-50": ("entity", "--n=200", "--c=20", "--warmup=3"),
}
DETAILS: dict[str, tuple[str, ...]] = {
    "history": ("embedded",),
    "restore": ("embedded", "kafka"),
    "takeover": ("kafka",),
    "sleepers": ("embedded", "kafka"),
    "scaling": ("kafka",),
}
"""Measurements of ours alone that have a target, and the runtimes that have them."""

SLEEPERS = "100000"

PEER_SCRIPTS: dict[str, tuple[str, ...]] = {
    "restate": ("bench_restate.py",),
    "dbos-sqlite": ("bench_dbos.py", "--db=sqlite"),
    "dbos-pg": ("bench_dbos.py", "--db=pg"),
    "temporal-pg": ("bench_temporal.py", "--store=pg"),
    "temporal": ("bench_temporal.py",),
}

OURS = ("processor-embedded", "processor-kafka")
QUEUED = tuple(f"{name}-queued" for name in OURS)
"""Measured with chains only: what differs is where an activity runs."""


@dataclass(frozen=True, slots=True)
class System:
    """How one line is measured: ``command``, then the load's arguments."""

    name: str
    command: tuple[str, ...]
    folder: Path
    loads: tuple[str, ...] = tuple(LOADS)


def our_systems(server: str, broker_pid: int, *, fsync: bool, smoke: bool) -> list[System]:
    """Return our runtimes at their defaults; the smallest form has fewer shards to start."""
    systems = []
    for name in OURS + QUEUED:
        runtime = "embedded" if "embedded" in name else "kafka"
        command = [sys.executable, "-m", "benchmarks.run", f"--runtime={runtime}"]
        command.append(f"--durability={'fsync' if fsync else 'nofsync'}")
        if runtime == "kafka":
            command.append(f"--server={server}")
            command += [f"--broker-pid={broker_pid}"] if broker_pid else []
            command += ["--partitions=2"] if smoke else []
        if name in QUEUED:
            loads = ("chain-1",) if smoke else ("chain-1", "chain-100")
            systems.append(System(name, (*command, "--queued"), ROOT, loads))
        else:
            systems.append(System(name, tuple(command), ROOT))
    return systems


def our_details(server: str, broker_pid: int, *, fsync: bool) -> list[tuple[str, System]]:
    """Return what is measured on our runtimes alone, with its load's name."""
    details = []
    for load, runtimes in DETAILS.items():
        for runtime in runtimes:
            command = [sys.executable, "-m", f"benchmarks.{load}", f"--runtime={runtime}"]
            command += [f"--server={server}", f"--durability={'fsync' if fsync else 'nofsync'}"]
            command += [f"--broker-pid={broker_pid}"] if broker_pid else []
            command += [f"--n={SLEEPERS}"] if load == "sleepers" else []
            details.append((load, System(f"processor-{runtime}", tuple(command), ROOT)))
    return details


def peers_folder() -> Path | None:
    """Return where the peers' scripts are, or None where there are none."""
    folder = Path(os.environ.get("PEERS") or ROOT / ".." / "shared" / "peers").resolve()
    return folder if (folder / "common.py").exists() else None


def installed_peers(fsync: bool) -> list[System]:
    """Return the peers whose scripts and servers are here; what is missing is not asked for."""
    folder = peers_folder()
    if folder is None:
        return []
    python = os.environ.get("BENCH_PYTHON") or str(HOME / "venv/bin/python")
    durability = f"--durability={'fsync' if fsync else 'nofsync'}"
    return [
        System(name, (python, *script, durability), folder)
        for name, script in PEER_SCRIPTS.items()
        if is_installed(name)
    ]


def is_installed(peer: str) -> bool:
    """Tell whether the server (or the library, where that is all) of a peer is here."""
    packages = {path.name for path in HOME.glob("venv/lib/python3*/site-packages/*")}
    postgres = POSTGRES.exists() and os.geteuid() == 0  # it runs as a user of its own
    match peer:
        case "restate":
            modules = HOME / "node_modules/@restatedev"
            return any(modules.glob("restate-server-*/bin/restate-server"))
        case "dbos-sqlite":
            return "dbos" in packages
        case "dbos-pg":
            return "dbos" in packages and postgres
        case "temporal-pg":
            server = HOME / "temporal-pg/temporal-server"
            return "temporalio" in packages and server.exists() and postgres
        case _:
            return "temporalio" in packages and "TEMPORAL_BIN" in os.environ


def prototype(server: str, smoke: bool) -> System | None:
    """Return the bare loop of the design, the yardstick of this machine's day."""
    folder = peers_folder()
    if folder is None:
        return None
    counts = ("--one=60", "--flood=2000") if smoke else ("--one=300", "--flood=20000")
    return System("prototype", (sys.executable, "prototype.py", server, *counts), folder)
