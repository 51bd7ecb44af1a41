"""The soak in its shortest form, and its verdict on sizes that grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak import FILES_GROWTH_MAX, LIFE_MIN_S, MEMORY_GROWTH_MAX, growth
from benchmarks.soak_fleet import Life, Sample

from .own_broker import need_jars

ROOT = Path(__file__).parents[2]
MINUTES = os.environ.get("SOAK_MINUTES", "0.67")


def life(memory_per_s: int = 0, files_per_s: float = 0.0, seconds: int = 600) -> Life:
    samples = [
        Sample(float(at), 10**8 + at * memory_per_s, 100 + int(at * files_per_s), 60, 0)
        for at in range(0, seconds, 10)
    ]
    return Life(0, 0.0, samples)


def test_what_grows_is_found() -> None:
    assert growth(life()) == []
    assert growth(life(memory_per_s=MEMORY_GROWTH_MAX // 1_000)) == []
    (leak,) = growth(life(memory_per_s=MEMORY_GROWTH_MAX // 200))
    assert leak.startswith("worker 0: memory from")
    (leak,) = growth(life(files_per_s=FILES_GROWTH_MAX / 200))
    assert "files" in leak
    assert growth(life(memory_per_s=10**9, seconds=int(LIFE_MIN_S))) == [], "too short to tell"


@pytest.mark.timeout(400)
def test_a_while_of_everything() -> None:
    """It runs a broker of its own, because it kills it."""
    need_jars()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--minutes", MINUTES],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    summary = json.loads(done.stdout)
    assert summary["ended"] >= 0.9 * summary["asked"] > 100
    assert sum(summary["faults"].values()) >= 5
