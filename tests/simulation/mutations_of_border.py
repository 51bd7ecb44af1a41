"""The protections of messages to another namespace."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_border as border
from .mutation import CALLS, GIVEN_UP, LOST_EFFECTS, Mutation

__all__ = ("OF_BORDER",)

_CHILDREN = (
    "AssertionError: a child begins once",
    "AssertionError: a parent hears how its child ended",
)
_AGAIN = "AssertionError: what is published is not sent again"
_TWICE = "AssertionError: a call is refused once"
_NAMELESS = "AssertionError: a caller names its namespace abroad"

OF_BORDER: Sequence[Mutation] = (
    Mutation(
        "calls",
        "a call to another namespace says where its caller is",
        border.callers_without_namespace,
        (_NAMELESS,),
        200,
        known=15,
    ),
    Mutation(
        "calls",
        "what ends a child in another namespace says whose it is",
        border.ends_without_namespace,
        (_NAMELESS,),
        200,
        known=24,
    ),
    Mutation(
        "calls",
        "a message to another namespace is owed until it is published",
        border.owed_by_delivered,
        (_AGAIN, *LOST_EFFECTS, *CALLS, *GIVEN_UP, *_CHILDREN),
        200,
        known=24,
    ),
    Mutation(
        "calls",
        "whoever waits is told in the transaction with the letter",
        border.refused_before_commit,
        (_TWICE, *CALLS, *_CHILDREN),
        200,
        known=99,
    ),
)
