"""The protections of entities."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_entities as entities
from .mutation import STUCK, Mutation

__all__ = ("OF_ENTITIES",)

_WRONG = "AssertionError: every case ends as the model says"

OF_ENTITIES: Sequence[Mutation] = (
    Mutation(
        "entities",
        "operations that wait stand in the snapshot",
        entities.queues_forgotten,
        (STUCK,),
        100,
        known=1,
    ),
    Mutation(
        "entities",
        "operations that are kept for audit stand in the snapshot",
        entities.histories_forgotten,
        ("AssertionError: (and all while they are few|an entity keeps its last operations)",),
        100,
        known=1,
    ),
    Mutation(
        "entities",
        "operations that have ended since the snapshot do not begin again",
        entities.begun_again,
        (STUCK, "AssertionError: update .* is accepted once", r"AssertionError: .*\d wait of \d"),
        100,
        known=26,
    ),
    Mutation(
        "entities",
        "operations that have come since the snapshot wait",
        entities.arrivals_forgotten,
        (STUCK, "AssertionError: a history replays"),
        100,
        known=57,
    ),
    Mutation(
        "entities",
        "the ids of calls that have ended stand in the snapshot, with what came of them",
        entities.ids_forgotten,
        ("AssertionError: (a customer whose|booking .* came to|update .* is accepted)",),
        200,
        known=74,
    ),
    Mutation(
        "entities",
        "who waits for an operation stands in the snapshot",
        entities.callers_forgotten,
        (STUCK,),
        100,
        known=26,
    ),
    Mutation(
        "entities",
        "signals that are due later stand in the snapshot",
        entities.delayed_forgotten,
        (_WRONG, STUCK),
        100,
        known=26,
    ),
    Mutation(
        "entities",
        "an operation that is cancelled leaves its entity's state",
        entities.cancelled_kept,
        (_WRONG,),
        100,
        known=6,
    ),
    Mutation(
        "entities",
        "a plain operation that fails leaves nothing",
        entities.failures_not_rolled_back,
        (_WRONG,),
        100,
        known=5,
    ),
)
