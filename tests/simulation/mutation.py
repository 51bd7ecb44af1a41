"""What a mutation is, and what catches many of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Mutation:
    """``seeds_max``: it is caught within so many seeds, beginning with seed 0.

    ``known`` is a seed that catches it; it is played first, since the ones below may take minutes.

    ``rule`` is where the rule stands in ``docs/log-format.md``. ``caught_by`` are patterns for the
    failure, with its class.
    """

    rule: str
    protection: str
    switch_off: Callable[[pytest.MonkeyPatch], None]
    caught_by: tuple[str, ...]
    seeds_max: int
    known: int = 0


NOT_CONTIGUOUS = (
    "AssertionError: histories are contiguous",
    r"AssertionError: [\w-]+: turn \d+ at \d+",
)
"""Said by the reader of the logs, and by the fold and the replay of the product itself."""

GHOSTS = (
    "AssertionError: nothing of a ghost leaves",
    "AssertionError: an eager attempt begins after its turn",
    "AssertionError: an answer follows its turn",
    "AssertionError: results are there once each",
    "AssertionError: results are in the order of the log",
)
STUCK = "Stuck: it is not done"
LOST_EFFECTS = ("AssertionError: results are there once each", STUCK)
TABLES = "AssertionError: tables are the fold of the log"
CLEANED = "AssertionError: a half-cleaned log says the same"
GIVEN_UP = (
    "AssertionError: what is given up was delivered",
    "AssertionError: what is given up was published",
)
CALLS = ("AssertionError: a caller hears what its call came to", STUCK)
ONCE = "AssertionError: a request counts once"
MESSAGE_ONCE = "AssertionError: a message counts once"
KEYS = "AssertionError: no key is used twice"
AGAIN = r"AssertionError: turn \d+ again, after \d+"
SET_BACK = r"AssertionError: position \d+, after \d+"
