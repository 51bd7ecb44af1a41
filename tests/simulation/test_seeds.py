"""A share of the proof, in every run of the tests. ``make prove`` plays many more seeds.

SEEDS=5000 python -m pytest tests/simulation/test_seeds.py      # more of them here
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from itertools import islice
from typing import Any

import pytest

from processor.simulation.faults import ROUGH

from . import invariants
from .play import Failure, play
from .prove import Proof, main, prove

SEEDS = int(os.environ.get("SEEDS", 500))
PROCESSES = 2


@pytest.mark.timeout(1_800)
def test_the_promises_hold_for_every_seed() -> None:
    proof = prove(iter(range(SEEDS)), PROCESSES)
    print(proof)
    assert not proof.failures, "\n".join(map(str, [*proof.failures, proof]))
    assert proof.coverage.seeds == SEEDS
    if SEEDS >= 500:
        check_that_it_bites(proof)


def check_that_it_bites(proof: Proof) -> None:
    """Else the seeds prove nothing: each fault was there, and what it leads to."""
    kinds = [each.name for each in fields(ROUGH) if not each.name.endswith("_max")]
    assert not [kind for kind in kinds if proof.coverage.injected[kind] < 10], "hardly any of these"
    counts, seeds = proof.coverage.counts, proof.coverage.seeds
    assert counts["takeovers"] > seeds
    assert counts["ghosts ignored"] > seeds / 10
    assert counts["redeliveries dropped"] > seeds
    assert counts["records removed by compaction"] > seeds / 10
    assert counts["operations that succeeded"] > 0.9 * counts["operations"]


def test_the_same_seed_gives_the_same_trace_in_every_process() -> None:
    command = [sys.executable, "-m", "tests.simulation.prove", "--seed", "7"]
    outputs = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
            timeout=170,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    played = play(7)
    assert not isinstance(played, Failure)
    assert played[1] in outputs.pop()


def test_other_seeds_give_other_traces() -> None:
    hashes = set()
    for seed in range(5):
        played = play(seed)
        assert not isinstance(played, Failure)
        hashes.add(played[1])
    assert len(hashes) == 5


def test_a_failure_says_its_seed_its_trace_and_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(invariants, "SUCCEEDED_MIN", 2.0)
    assert main(["--seed", "3"]) == 1
    said = capsys.readouterr().out
    assert "AssertionError: operations succeed" in said
    assert re.search(r"host-\d shard-\d", said)
    assert "python -m tests.simulation.prove --seed 3" in said
    failure: Any = play(3)
    assert len(failure.trace) <= 200


def test_a_budget_ends_the_proof() -> None:
    proof = prove(islice(iter(range(10**9)), None), 1, budget_s=0.5)
    assert 0 < proof.coverage.seeds <= 10_000
    assert proof.next == proof.coverage.seeds
