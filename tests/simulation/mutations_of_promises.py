"""The protections of promises and of idempotency keys."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_promises as promises
from .mutation import ONCE, STUCK, Mutation

__all__ = ("OF_PROMISES",)

OF_PROMISES: Sequence[Mutation] = (
    Mutation(
        "counts once",
        "the first word on a promise counts",
        promises.later_words_count,
        ("AssertionError: every case ends as the model says",),
        100,
    ),
    Mutation(
        "counts once",
        "a promise stays open when a wait for it ends",
        promises.given_up_with_the_wait,
        (STUCK,),
        100,
    ),
    Mutation(
        "counts once",
        "what has a key counts once",
        promises.keys_not_counted,
        (ONCE, "AssertionError: every case ends as the model says"),
        100,
    ),
    Mutation(
        "counts once",
        "what is refused does not use its key up",
        promises.keys_used_up_by_refusals,
        (STUCK,),
        100,
        known=39,
    ),
    Mutation(
        "counts once",
        "a key is for one thing",
        promises.keys_used_for_anything,
        ("AssertionError: a key is for one thing",),
        100,
        known=8,
    ),
)
