"""The protections of updates."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_updates as updates
from .mutation import STUCK, Mutation

__all__ = ("OF_UPDATES",)

_TWICE = (r"AssertionError: update \d+ came to", "AssertionError: something was booked twice")

OF_UPDATES: Sequence[Mutation] = (
    Mutation("updates", "an update counts once", updates.outcomes_forgotten, _TWICE, 50, known=11),
    Mutation(
        "updates",
        "a validator is asked first",
        updates.validators_not_asked,
        (r"AssertionError: \d+ was to be refused",),
        50,
        known=2,
    ),
    Mutation(
        "updates",
        "an update that comes with a start is begun",
        updates.updates_of_starts_dropped,
        (STUCK,),
        50,
        known=14,
    ),
    Mutation(
        "updates",
        "handlers go on once the code has returned",
        updates.handlers_dropped_at_the_return,
        (r"AssertionError: who waits for update \d*5 is told .*UpdateUnfinished",),
        50,
        known=2,
    ),
)
