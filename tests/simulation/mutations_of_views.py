"""The protections of views of the log."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_views as views
from .mutation import Mutation

__all__ = ("OF_VIEWS",)

OF_VIEWS: Sequence[Mutation] = (
    Mutation(
        "views",
        "a view has no rows of what does not count",
        views.ghosts_in_views,
        ("AssertionError: the rows of a view are the fold of the log",),
        100,
    ),
    Mutation(
        "views",
        "a view gives up what a snapshot stands for",
        views.before_snapshots_in_views,
        ("AssertionError: a view has the histories of its shard",),
        100,
    ),
    Mutation(
        "views",
        "a table takes no record twice",
        views.records_twice_in_tables,
        ("AssertionError: a table is told of a run once",),
        100,
    ),
)
