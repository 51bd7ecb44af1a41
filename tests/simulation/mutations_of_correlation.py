"""The protections of business keys."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_correlation as keys
from .mutation import Mutation

__all__ = ("OF_CORRELATION",)

_ONCE = "AssertionError: an event of a key is given once, or told lost"
_HOLDER = "AssertionError: a key has one holder"
_HELD = "AssertionError: a run has one end, which is its last"
_ORDER = "AssertionError: events of a key are given in order"
_WRONG = "AssertionError: every case ends as the model says"

OF_CORRELATION: Sequence[Mutation] = (
    Mutation(
        "correlation",
        "the end of a holder frees its keys",
        keys.held_after_the_end,
        (_HELD,),
        200,
        known=62,
    ),
    Mutation("correlation", "a key has one holder", keys.given_to_all, (_HOLDER,), 200, known=15),
    Mutation(
        "correlation",
        "what a holder that has ended did not take is kept",
        keys.lost_with_the_holder,
        (_ONCE,),
        200,
        known=127,
    ),
    Mutation(
        "correlation",
        "what nobody takes in time is told",
        keys.expires_in_silence,
        (_ONCE,),
        200,
        known=15,
    ),
    Mutation(
        "correlation",
        "only the holder gives a key back",
        keys.withdrawn_by_anybody,
        (_HOLDER,),
        200,
        known=62,
    ),
    Mutation(
        "correlation",
        "what waits is handed on to the next run of a key",
        keys.forgotten_by_the_next_run,
        (_ONCE,),
        200,
        known=15,
    ),
    Mutation(
        "correlation",
        "events of a key keep their order",
        keys.newest_first,
        (_ORDER, _WRONG),
        200,
        known=15,
    ),
)
