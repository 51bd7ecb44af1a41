"""What a measured window cost: CPU time, memory and disk writes of processes, from ``/proc``.

``other_cpu_s`` is what anything else on the machine burnt, and the two calibrations say how fast
it is at this moment: lines are to be compared only where these agree. Where there is no ``/proc``
(not Linux), only the time is reported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

__all__ = ("Meter", "calibrate", "cpu_s", "resident_mb")

HAS_PROC = Path("/proc/self/stat").exists()
TICK_S = 1 / os.sysconf("SC_CLK_TCK") if HAS_PROC else 0.0


def stat_fields(pid: int) -> list[str]:
    """Return the fields of a process's stat after its name; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_s(pids: Sequence[int]) -> float:
    """Return user and system seconds of processes, with those of children they waited for."""
    return sum(sum(map(int, stat_fields(pid)[11:15])) for pid in pids) * TICK_S


def resident_mb(pids: Sequence[int]) -> float:
    return sum(kilobytes(pid, "status", "VmRSS:") for pid in pids) / 1024


def proportional_mb(pids: Sequence[int]) -> float:
    """As resident, but each shared page counts once. It takes the kernel several milliseconds."""
    return sum(kilobytes(pid, "smaps_rollup", "Pss:") for pid in pids) / 1024


def kilobytes(pid: int, file: str, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(field))


def written_mb(pids: Sequence[int]) -> float:
    """Return what processes have caused to be written to disk."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
    return total / 1e6


def machine_cpu_s() -> tuple[float, float]:
    """Return the seconds that the machine was busy, and those that its host took away."""
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[:3]) + fields[5] + fields[6]) * TICK_S, fields[7] * TICK_S


def calibrate(folder: Path) -> dict[str, float]:
    """Return how fast the machine is now: ms of a fixed Python loop, and of an fdatasync."""
    best = min(loop_s() for _ in range(3))
    probe = folder / "fsync.probe"
    took = []
    with probe.open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"x" * 4096)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
    probe.unlink()
    return {
        "calib_cpu_ms": round(best * 1000, 2),
        "calib_fsync_ms": round(sorted(took)[10] * 1000, 3),
    }


def loop_s() -> float:
    begun = time.perf_counter()
    total = 0
    for number in range(200_000):
        total += number * number % 7
    return time.perf_counter() - begun


class Meter:
    """Measures what happens inside ``with meter``; then ask for the ``report``.

    ``servers`` and ``workers`` are process ids; a worker that is this process itself counts as
    worker, with the client in it.
    """

    def __init__(self, folder: Path, servers: Sequence[int], workers: Sequence[int]) -> None:
        self._folder = folder
        self._servers = servers
        self._workers = workers
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}
        self._calibration: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._calibration = calibrate(self._folder) if HAS_PROC else {}
        self._before = self._snapshot()
        return self

    def __exit__(self, *_: object) -> None:
        self._after = self._snapshot()

    def report(self) -> dict[str, Any]:
        spent = {name: self._after[name] - self._before[name] for name in self._before}
        fields: dict[str, Any] = {"elapsed_s": round(spent["time"], 3)}
        if not HAS_PROC:
            return fields
        client = 0.0 if os.getpid() in self._workers else spent["client"]
        known = spent["servers"] + spent["workers"] + client
        servers, workers = resident_mb(self._servers), resident_mb(self._workers)
        return {
            **fields,
            "cpu_s": round(spent["servers"] + spent["workers"], 2),
            "server_cpu_s": round(spent["servers"], 2),
            "worker_cpu_s": round(spent["workers"], 2),
            "client_cpu_s": round(client, 2),
            "other_cpu_s": round(max(0.0, spent["busy"] - known), 2),
            "steal_s": round(spent["stolen"], 2),
            "disk_write_mb": round(spent["written"], 2),
            **self._calibration,
            "rss_mb": round(servers + workers, 1),
            "server_rss_mb": round(servers, 1),
            "worker_rss_mb": round(workers, 1),
            "pss_mb": round(proportional_mb([*self._servers, *self._workers]), 1),
        }

    def _snapshot(self) -> dict[str, float]:
        now = {"time": time.perf_counter()}
        if not HAS_PROC:
            return now
        busy, stolen = machine_cpu_s()
        return {
            **now,
            "busy": busy,
            "stolen": stolen,
            "servers": cpu_s(self._servers),
            "workers": cpu_s(self._workers),
            "client": cpu_s([os.getpid()]),
            "written": written_mb([*self._servers, *self._workers]),
        }
