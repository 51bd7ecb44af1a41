"""The protections of handlers and of queries."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_handlers as handlers
from .mutation import STUCK, Mutation

__all__ = ("OF_HANDLERS",)

OF_HANDLERS: Sequence[Mutation] = (
    Mutation(
        "handlers",
        "what a query has seen is in the log before it is answered",
        handlers.queries_answered_at_once,
        (
            "AssertionError: an answer tells of what is in the log",
            "AssertionError: an answer tells what came in its order",
        ),
        100,
        known=38,
    ),
    Mutation(
        "handlers",
        "a query is answered by the run that is meant",
        handlers.live_runs_answer_for_all,
        ("AssertionError: a query is answered by the run that is meant",),
        100,
        known=18,
    ),
    Mutation(
        "handlers",
        "what no handler has begun with is handed on",
        handlers.handed_events_dropped,
        (STUCK,),
        100,
        known=38,
    ),
    Mutation(
        "handlers",
        "a handler of all names takes what came in its order",
        handlers.names_one_after_the_other,
        ("AssertionError: handlers take what came in its order",),
        100,
        known=68,
    ),
    Mutation(
        "handlers",
        "what a handler takes does not count as unread",
        handlers.handled_still_counted,
        ("AssertionError: what is unread is counted",),
        100,
        known=4,
    ),
)
