"""The protections of activities that somebody else ends, asks to stop, or pauses."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_activities as activities
from .mutation import STUCK, Mutation

__all__ = ("OF_ACTIVITIES",)

OF_ACTIVITIES: Sequence[Mutation] = (
    Mutation(
        "attempts",
        "an attempt that is left open is of no process",
        activities.open_attempts_are_of_a_process,
        ("AssertionError: what is left open is not lost",),
        200,
        known=75,
    ),
    Mutation(
        "attempts",
        "what is said counts for its attempt",
        activities.late_words_count,
        (
            "AssertionError: what is said counts for its attempt",
            "AssertionError: a report counts for its attempt only",
        ),
        200,
        known=116,
    ),
    Mutation(
        "attempts",
        "what was asked to stop is not tried again",
        activities.stop_requests_are_forgotten,
        ("AssertionError: what was asked to stop begins no more", STUCK),
        200,
        known=61,
    ),
    Mutation(
        "attempts",
        "what is asked to stop is open until it has",
        activities.stopped_attempts_are_forgotten,
        (STUCK, "AssertionError: tables are the fold of the log"),
        200,
        known=61,
    ),
    Mutation(
        "attempts",
        "a paused activity begins nothing",
        activities.pauses_are_forgotten,
        ("AssertionError: a paused activity begins nothing",),
        200,
        known=184,
    ),
)
