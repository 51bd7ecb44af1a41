"""The protections of locks."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_locks as locks
from .mutation import STUCK, Mutation

__all__ = ("OF_LOCKS",)

_WRONG = "AssertionError: every case ends as the model says"
_LOCKED = "AssertionError: nothing stays locked"
_BESIDE = "AssertionError: nobody else works under a lock"

OF_LOCKS: Sequence[Mutation] = (
    Mutation(
        "locks",
        "all runs lock entities in the same order",
        locks.as_they_are_named,
        (STUCK,),
        200,
        known=6,
    ),
    Mutation(
        "locks",
        "a holder calls under the number of its grant",
        locks.numbers_not_compared,
        (_WRONG, "AssertionError: a holder calls under its lock"),
        200,
        known=61,
    ),
    Mutation(
        "locks",
        "the end of a run frees what it holds",
        locks.not_freed_at_the_end,
        (STUCK, _LOCKED),
        100,
        known=4,
    ),
    Mutation(
        "locks",
        "a request that nobody waits for is withdrawn",
        locks.not_withdrawn,
        (STUCK, _LOCKED),
        200,
    ),
    Mutation(
        "locks",
        "others wait while an entity is locked",
        locks.others_let_in,
        (_BESIDE, _WRONG),
        100,
        known=4,
    ),
    Mutation(
        "locks",
        "who holds the lock stands in the snapshot",
        locks.forgotten_by_snapshots,
        (_BESIDE, _WRONG, "AssertionError: .* is locked by"),
        100,
    ),
)
