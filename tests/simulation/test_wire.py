"""The native producer's machine holds its promises in every seed, and each protection is needed.

``python -m tests.simulation.test_wire`` prints its rows of the table of ``docs/reliability.md``.
"""

from __future__ import annotations

from collections import Counter

import pytest

from .mutations import Mutation
from .test_mutations import BROKEN_PATCH, hunt, row_of
from .wire_mutations import WIRE_MUTATIONS
from .wire_story import WireStory, play_producer

SEEDS = 300


def failure_of(seed: int) -> str | None:
    try:
        play_producer(seed)
    except BROKEN_PATCH:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_the_promises_of_the_producer_hold_for_every_seed() -> None:
    """Each kind of fault is there, more than once."""
    injected: Counter[str] = Counter()
    for seed in range(SEEDS):
        injected += play_producer(seed)[0]
    assert len(injected) == 19 and min(injected.values()) >= 10, injected


@pytest.mark.parametrize("mutation", WIRE_MUTATIONS, ids=lambda each: each.switch_off.__name__)
def test_a_protection_of_the_producer_switched_off_is_caught(mutation: Mutation) -> None:
    hunt(mutation, failure_of)


def test_the_same_seed_is_the_same_story() -> None:
    hashes = []
    for seed in (5, 5, 6):
        story = WireStory(seed)
        story.run()
        hashes.append(story.scheduler.trace_hash)
    assert hashes[0] == hashes[1] != hashes[2]


if __name__ == "__main__":
    for mutation in WIRE_MUTATIONS:
        print(row_of(mutation, failure_of), flush=True)
