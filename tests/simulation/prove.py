"""The proof: plays many seeds on all cores, and prints what they covered.

    python -m tests.simulation.prove --seeds 200          # as many; 10,000 by default
    python -m tests.simulation.prove --budget 3600        # an hour of seeds
    python -m tests.simulation.prove --seed 17            # one of them, with the whole trace

Each seed is a world of its own: hosts, shards, clients, faults, and every invariant after it. The
native producer is played beside it, with brokers and a network of its own.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count, islice
from time import monotonic

from .play import Coverage, Failure, play

__all__ = ("Proof", "main", "prove")

_LOT_SEEDS = 20
_FAILURES_MAX = 3
"""After so many, the rest would say the same."""


@dataclass
class Proof:
    """What a range of seeds showed. ``next`` is the seed to go on with."""

    coverage: Coverage = field(default_factory=Coverage)
    failures: list[Failure] = field(default_factory=list)
    processes: int = 1
    first: int = 0
    next: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        cover, seconds = self.coverage, max(self.seconds, 0.001)
        how = "all hold" if not self.failures else f"{len(self.failures)} FAILED"
        lines = [
            f"seeds {self.first:,} to {self.next - 1:,}: {cover.seeds:,} played, {how}; "
            f"{seconds:.1f} s in {self.processes} processes, {cover.seeds / seconds:.1f} seeds/s",
            "",
            *_table("faults injected", cover.injected),
            *_table("invariants checked", cover.checked),
            *(f"{amount:>12,}  {what}" for what, amount in cover.counts.items()),
        ]
        return "\n".join(lines)


def _table(what: str, counter: Counter[str]) -> list[str]:
    rows = [f"{amount:>12,}  {kind}" for kind, amount in counter.most_common()]
    return [f"{sum(counter.values()):>12,}  {what}, of these:", *(f"    {r}" for r in rows), ""]


def prove(seeds: Iterator[int], processes: int, budget_s: float | None = None) -> Proof:
    """Play seeds until there is none left, the budget is spent, or too many have failed."""
    begun = monotonic()
    proof = Proof(processes=processes)
    lots = iter(lambda: list(islice(seeds, _LOT_SEEDS)), [])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _silence) as pool:
        under_way: set[Future[tuple[Coverage, list[Failure]]]] = set()
        while True:
            spent = budget_s is not None and monotonic() - begun > budget_s
            going_on = not spent and len(proof.failures) < _FAILURES_MAX
            while going_on and len(under_way) < 2 * processes:
                lot = next(lots, None)
                if lot is None:
                    break
                if not proof.next:
                    proof.first = lot[0]
                proof.next = lot[-1] + 1
                under_way.add(pool.submit(_play_lot, lot))
            if not under_way:
                break
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for each in done:
                coverage, failures = each.result()
                proof.coverage.add(coverage)
                proof.failures += failures
    proof.failures.sort(key=lambda failure: failure.seed)
    proof.seconds = monotonic() - begun
    return proof


def _silence() -> None:
    """What shards say of lost claims is expected here, thousands of times."""
    logging.disable(logging.CRITICAL)


def _play_lot(seeds: Sequence[int]) -> tuple[Coverage, list[Failure]]:
    coverage, failures = Coverage(), []
    for seed in seeds:
        played = play(seed)
        if isinstance(played, Failure):
            failures.append(played)
            coverage.seeds += 1
        else:
            coverage.add(played[0])
    return coverage, failures


def _show(seed: int) -> int:
    """Play one seed here, and print its whole trace where it fails."""
    played = play(seed, None)
    if isinstance(played, Failure):
        print(played)
        return 1
    print(f"seed {seed} holds; trace hash {played[1]}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 1 where a seed failed."""
    parser = argparse.ArgumentParser(
        "python -m tests.simulation.prove",
        description="Plays seeded worlds full of faults and checks every promise after each.",
    )
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (default 10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first one (default 0)")
    parser.add_argument(
        "--budget", type=float, metavar="S", help="go on for so many seconds, whatever --seeds"
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="default: one for each core"
    )
    parser.add_argument("--seed", type=int, help="play this one only, and print its whole trace")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _show(options.seed)
    seeds: Iterator[int] = count(options.first)
    if options.budget is None:
        seeds = islice(seeds, options.seeds)
    proof = prove(seeds, options.processes or 1, options.budget)
    for failure in proof.failures:
        print(failure)
    print(proof)
    if options.budget is not None:
        print(f"\nto go on: make prove BUDGET={options.budget:.0f} FIRST={proof.next}")
    return 1 if proof.failures else 0


if __name__ == "__main__":
    _silence()
    sys.exit(main())
