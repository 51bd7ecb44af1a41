"""The protections of messages that a shard hands over itself."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_handover as handover
from .mutation import CALLS, GIVEN_UP, MESSAGE_ONCE, STUCK, Mutation

__all__ = ("OF_HANDOVER",)

_ARRIVED = "AssertionError: what is called delivered has arrived"
_MODEL = "AssertionError: every case ends as the model says"
_ONE_PATH = "AssertionError: what is for the own shard needs no topic"

OF_HANDOVER: Sequence[Mutation] = (
    Mutation(
        "calls",
        "what is handed over is owed until it is taken",
        handover.delivered_before_taken,
        (_ARRIVED, *GIVEN_UP, *CALLS),
        50,
    ),
    Mutation(
        "calls",
        "what is handed over keeps its order",
        handover.handed_over_out_of_order,
        (_ARRIVED, STUCK, *CALLS),
        50,
    ),
    Mutation(
        "calls",
        "one path for each target",
        handover.two_paths,
        (_ONE_PATH, STUCK, *CALLS),
        50,
        known=11,
    ),
    Mutation(
        "calls",
        "only what is of the shard is handed over",
        handover.strangers_taken,
        (_MODEL, _ONE_PATH, STUCK, MESSAGE_ONCE, *CALLS),
        50,
        known=1,
    ),
    Mutation(
        "calls",
        "what an owner before owed is handed over",
        handover.owed_are_not_handed_over,
        (STUCK, *CALLS),
        50,
        known=35,
    ),
    Mutation(
        "calls",
        "what stays in the log is read again",
        handover.left_in_the_log,
        (STUCK, *CALLS),
        50,
        known=1,
    ),
    Mutation(
        "calls",
        "no more messages wait in memory than may",
        handover.all_in_memory,
        (r"AssertionError: \d+ messages wait in memory",),
        50,
        known=1,
    ),
)
