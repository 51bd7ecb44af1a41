"""The protections of calls and of chains."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_calls as calls
from .mutation import (
    CALLS,
    MESSAGE_ONCE,
    SET_BACK,
    STUCK,
    Mutation,
)

__all__ = ("OF_CALLS",)

OF_CALLS: Sequence[Mutation] = (
    Mutation("calls", "answers to calls are owed", calls.calls_not_owed, CALLS, 200, known=58),
    Mutation(
        "calls",
        "a call that is taken is answered",
        calls.taken_calls_not_answered,
        CALLS,
        50,
        known=11,
    ),
    Mutation(
        "calls", "a call that is refused is answered", calls.refused_calls_not_answered, CALLS, 50
    ),
    Mutation("calls", "who waits is told", calls.callers_not_told, CALLS, 200, known=26),
    Mutation(
        "calls", "who waits is told of the end", calls.callers_left_behind, CALLS, 50, known=13
    ),
    Mutation(
        "calls",
        "what is waited for is told later",
        calls.told_too_early,
        (*CALLS, "AssertionError: nothing of a ghost leaves"),
        50,
    ),
    Mutation(
        "calls",
        "inputs wait for an answer from the tables",
        calls.answers_overtaken,
        (
            *CALLS,
            SET_BACK,
            "AssertionError: a message counts once",
            "AssertionError: positions only",
        ),
        200,
        known=13,
    ),
    Mutation(
        "calls",
        "what is refused while nobody waits is a dead letter",
        calls.late_refusals_dropped,
        ("AssertionError: what nobody heard of is kept",),
        50,
        known=3,
    ),
    Mutation(
        "calls",
        "a call of a later release is refused",
        calls.later_calls_not_answered,
        ("AssertionError: a call of a later release is refused",),
        50,
        known=4,
    ),
    Mutation(
        "calls",
        "a call counts once",
        calls.calls_not_counted,
        ("AssertionError: a call counts once", MESSAGE_ONCE, *CALLS),
        100,
        known=7,
    ),
    Mutation(
        "chains",
        "the next run has the memo",
        calls.memos_dropped,
        ("AssertionError: every case ends as the model says",),
        100,
    ),
    Mutation(
        "chains",
        "the next run has the search attributes",
        calls.attributes_dropped,
        ("AssertionError: every case ends as the model says",),
        100,
    ),
    Mutation(
        "chains",
        "unread events are handed on",
        calls.unread_events_dropped,
        (STUCK,),
        100,
        known=14,
    ),
    Mutation(
        "chains",
        "unread events go on with their run",
        calls.unread_events_of_a_run_that_goes_on_dropped,
        (STUCK,),
        100,
        known=22,
    ),
    Mutation(
        "chains",
        "the run of the next time follows",
        calls.next_time_left_out,
        ("AssertionError: every case ends as the model says", "AssertionError: an accepted id"),
        100,
        known=12,
    ),
    Mutation(
        "chains",
        "events of a parked run are handed on",
        calls.events_after_the_end_dropped,
        (STUCK,),
        200,
        known=30,
    ),
    Mutation(
        "chains",
        "the next attempt begins next",
        calls.next_attempt_left_out,
        ("AssertionError: a successor begins next", STUCK),
        50,
    ),
    Mutation(
        "chains",
        "who waits for a chain waits on",
        calls.chains_not_waited_for,
        ("AssertionError: every case ends as the model says",),
        50,
    ),
)
