"""Stories of orders and random programs, with faults, and every invariant after each.

SEEDS=5000 python -m pytest tests/simulation/test_seeds.py      # more of them
SEED=17 python -m pytest tests/simulation/test_seeds.py         # one of them
"""

from __future__ import annotations

import pytest

from .invariants import Reading, check
from .story import Story, seeds


def play(seed: int) -> tuple[str, list[Reading]]:
    story = Story(seed)
    try:
        story.run()
        readings = check(story)
    except BaseException:
        print("\n".join(story.world.scheduler.recent))
        print(f"\nrepeat: SEED={seed} python -m pytest tests/simulation/test_seeds.py")
        raise
    finally:
        story.close()
    return story.world.trace_hash, readings


@pytest.mark.parametrize("seed", seeds(300))
def test_a_story_with_faults_ends_as_it_should(seed: int) -> None:
    play(seed)


@pytest.mark.parametrize("seed", seeds(8))
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    assert play(seed)[0] == play(seed)[0]


def test_other_seeds_give_other_traces() -> None:
    assert len({play(seed)[0] for seed in range(5)}) == 5


def test_the_faults_bite() -> None:
    """Ghosts and takeovers happen; else the other tests prove nothing."""
    readings = [reading for seed in range(60) for reading in play(seed)[1]]
    assert sum(reading.ghosts for reading in readings) > 10
    assert sum(reading.claims for reading in readings) > 2 * len(readings)
