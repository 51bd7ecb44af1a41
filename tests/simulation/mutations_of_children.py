"""The protections of parents and children."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_children as children
from .mutation import STUCK, Mutation

__all__ = ("OF_CHILDREN",)

HEARS = "AssertionError: a parent hears how its child ended"
ENDS = "AssertionError: every case ends as the model says"

OF_CHILDREN: Sequence[Mutation] = (
    Mutation(
        "children",
        "the end of a child is told",
        children.ends_not_told,
        (STUCK, HEARS),
        100,
        known=60,
    ),
    Mutation(
        "children",
        "the begin of a child is told where that is asked for",
        children.begins_not_told,
        ("AssertionError: who asks for the begin hears it once", STUCK),
        100,
        known=21,
    ),
    Mutation(
        "children",
        "the caller goes along with the chain",
        children.callers_not_handed_on,
        (HEARS, ENDS, STUCK),
        100,
        known=60,
    ),
    Mutation(
        "children",
        "children end with their parent",
        children.children_left_alone,
        ("AssertionError: the end of a parent reaches its children",),
        20,
        known=9,
    ),
    Mutation(
        "events",
        "a run that is terminated ends with the output that it was given",
        children.outputs_lost,
        (ENDS,),
        20,
        known=7,
    ),
    Mutation(
        "children",
        "the end of a parent touches its own children only",
        children.strangers_ended,
        (ENDS,),
        20,
        known=9,
    ),
    Mutation(
        "children",
        "a child finds the last result that its parent gives it",
        children.last_results_lost,
        (ENDS, STUCK),
        100,
        known=60,
    ),
    Mutation(
        "children",
        "a workflow that is told that it has terminated another one has ended it",
        children.told_to_end_and_goes_on,
        (ENDS, STUCK),
        150,
        known=115,
    ),
)
