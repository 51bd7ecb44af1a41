"""The protections of promises."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_promises as promises
from .mutation import STUCK, Mutation

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
)
