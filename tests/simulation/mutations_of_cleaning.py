"""The protections of logs that are cleaned, and of what marks say of them."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_cleaning as cleaning
from . import switches_once as once
from .mutation import (
    CLEANED,
    GIVEN_UP,
    LOST_EFFECTS,
    MESSAGE_ONCE,
    NOT_CONTIGUOUS,
    ONCE,
    STUCK,
    TABLES,
    Mutation,
)

__all__ = ("OF_CLEANING",)

OF_CLEANING: Sequence[Mutation] = (
    Mutation(
        "forgetting",
        "only what is delivered and published is given up",
        cleaning.forgotten_before_delivery,
        (*GIVEN_UP, *LOST_EFFECTS),
        200,
        known=12,
    ),
    Mutation(
        "forgetting",
        "only what a mark covers is given up",
        cleaning.forgotten_without_mark,
        (ONCE, MESSAGE_ONCE, *LOST_EFFECTS, TABLES, CLEANED, *GIVEN_UP),
        200,
        known=7,
    ),
    Mutation(
        "forgetting",
        "marks know the requests",
        once.marks_without_windows,
        (ONCE, TABLES),
        200,
        known=2,
    ),
    Mutation(
        "forgetting",
        "marks know the sources",
        once.marks_without_sources,
        (MESSAGE_ONCE, TABLES),
        200,
        known=7,
    ),
    Mutation(
        "forgetting",
        "a claim stays with the ghosts that it exposes",
        cleaning.claims_dropped_with_ghosts,
        (TABLES, CLEANED, *NOT_CONTIGUOUS, r"LogTruncated: shard \d: run \w+ is known up to"),
        200,
        known=38,
    ),
    Mutation(
        "forgetting",
        "ghosts are deleted",
        cleaning.ghosts_kept,
        ("AssertionError: ghosts are given up",),
        100,
    ),
    Mutation(
        "half-cleaned logs",
        "a record says that its claim was there",
        cleaning.claims_not_inferred,
        (TABLES, CLEANED, *NOT_CONTIGUOUS, STUCK, "LogTruncated"),
        200,
    ),
    Mutation(
        "half-cleaned logs",
        "a run without a beginning is skipped",
        cleaning.headless_not_skipped,
        NOT_CONTIGUOUS,
        200,
        known=2,
    ),
    Mutation(
        "half-cleaned logs",
        "tables that miss something are folded afresh",
        cleaning.gaps_not_seen,
        NOT_CONTIGUOUS,
        200,
        known=4,
    ),
    Mutation(
        "half-cleaned logs",
        "a snapshot is a beginning",
        cleaning.snapshots_not_read,
        (TABLES, CLEANED, "LogTruncated"),
        200,
        known=2,
    ),
    Mutation(
        "half-cleaned logs",
        "a purge ends what is left of a run",
        cleaning.purges_not_read,
        (TABLES, CLEANED, "LogTruncated"),
        200,
        known=4,
    ),
    Mutation(
        "half-cleaned logs",
        "a run's turns go from its beginning on",
        cleaning.middle_first,
        ("LogTruncated", *NOT_CONTIGUOUS),
        200,
        known=51,
    ),
    Mutation(
        "forgetting",
        "readers do not act on tombstones",
        cleaning.tombstones_believed,
        (TABLES, *NOT_CONTIGUOUS, "AssertionError"),
        200,
    ),
    Mutation(
        "attempts",
        "attempts are folded",
        cleaning.attempts_not_folded,
        (TABLES, *NOT_CONTIGUOUS, STUCK, "AssertionError: an attempt goes on or is retried"),
        50,
        known=0,
    ),
)
