"""The test of the tests: each protection switched off is caught, within a stated number of seeds.

The seeds are those of the proof, in their order, with its stories, its faults and its invariants.
``python -m tests.simulation.test_mutations`` prints the table of ``docs/reliability.md``.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context

import pytest

from .invariants import check
from .mutations import MUTATIONS, Mutation
from .story import Story

BROKEN_PATCH = (AttributeError, ImportError, NameError, TypeError)
"""What a patch raises that does not fit the code any more: never a catch, and never passed over."""

NOT_CAUGHT = "NOT CAUGHT"
"""So begins what is printed instead of a row of the table."""


class NotCaught(AssertionError):
    """No seed within the bound failed in the way in which it has to."""


def failure_of(seed: int) -> str | None:
    """Play a seed; return its failure, with the class, or None where it holds."""
    story = None
    try:
        story = Story(seed)
        story.run()
        check(story)
    except BROKEN_PATCH:
        raise
    except Exception as error:  # whatever a world without a protection comes to
        return f"{type(error).__name__}: {error}"
    finally:
        if story is not None:
            story.close()
    return None


def hunt(
    mutation: Mutation, failure_of: Callable[[int], str | None] = failure_of
) -> tuple[int, str]:
    """Return how many seeds it took to catch a mutation, and the failure that did."""
    others: Counter[str] = Counter()
    seeds, known = range(mutation.seeds_max), mutation.known
    with pytest.MonkeyPatch.context() as patch:
        mutation.switch_off(patch)
        for seed in (*seeds[known:], *seeds[:known]):
            failure = failure_of(seed)
            if failure is not None:
                if any(re.match(pattern, failure) for pattern in mutation.caught_by):
                    return seed + 1, failure
                others[failure[:100]] += 1
    raise NotCaught(
        f"without the protection '{mutation.protection}' no seed below {mutation.seeds_max} fails "
        f"with one of {mutation.caught_by}. Others: {dict(others)}"
    )


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.switch_off.__name__)
def test_a_protection_switched_off_is_caught(mutation: Mutation) -> None:
    hunt(mutation)


def test_none_may_take_more_than_200_seeds() -> None:
    assert not [each for each in MUTATIONS if each.seeds_max > 200]


def test_nothing_is_caught_where_nothing_is_switched_off() -> None:
    with pytest.raises(NotCaught, match=re.escape("Others: {}")):
        hunt(Mutation("none", "nothing", lambda patch: None, (".*",), 20))


def test_another_failure_is_no_catch() -> None:
    mutation = next(each for each in MUTATIONS if each.protection.startswith("effects"))
    with pytest.raises(NotCaught, match=r"something else.*Others: \{.*Error: "):
        hunt(
            Mutation("none", "nothing", mutation.switch_off, ("AssertionError: something else",), 3)
        )


def test_a_patch_that_does_not_fit_is_no_catch() -> None:
    def misspelled(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("processor.shard.storing.Storing.store", lambda self: None)

    with pytest.raises(TypeError):
        hunt(Mutation("none", "nothing", misspelled, (".*",), 3))


def row_of(mutation: Mutation, failure_of: Callable[[int], str | None] = failure_of) -> str:
    """Return the line of ``docs/reliability.md`` for a mutation, hunted from seed 0 on."""
    try:
        seeds, said = hunt(replace(mutation, known=0), failure_of)
    except NotCaught as error:
        return f"{NOT_CAUGHT}: {error}"
    kind, _, text = said.partition(": ")
    noticed = text.partition(":")[0] if kind == "AssertionError" else kind
    return f"| {mutation.rule} | {mutation.protection} | {noticed} | {seeds} |"


if __name__ == "__main__":
    missed = 0
    with get_context("spawn").Pool() as pool:
        for row in pool.imap(row_of, MUTATIONS):
            print(row, flush=True)
            missed += row.startswith(NOT_CAUGHT)
    sys.exit(missed > 0)
