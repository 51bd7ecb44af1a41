"""Runs that follow a run: what is handed on, and when that is too large for a record."""

from __future__ import annotations

from dataclasses import replace

from processor.core.decide import decide
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.core.nouns.run import WorkflowFailed

from .scripted import DOWN, ID, STARTED, Scripted, context, instance

TRIED_AGAIN = replace(STARTED, plan=Plan(retry=RetryOptions(1_000, 2.0, 60_000)))


def failing(record_bytes_max: int, unread: int) -> WorkflowFailed:
    """Return how a run that is tried again ends where a record takes so many bytes."""
    run = instance(asks=[[WorkflowFailed(DOWN)]], started=TRIED_AGAIN)
    assert isinstance(run.runner, Scripted)
    run.runner.unread_events = [EventReceived("e", b"x" * 1_000)] * unread
    where = context()
    where.record_bytes_max = record_bytes_max
    outcome = decide(ClientCommand(ID, RaiseEvent("e")), run, run.state.summary(), "", where)
    closing = outcome.drafts[0].events[-1]
    assert isinstance(closing, WorkflowFailed)
    return closing


def test_a_run_that_cannot_be_followed_says_what_is_too_large() -> None:
    followed = failing(30_000, 3)
    assert followed.successor is not None and followed.failure == DOWN
    lineage = followed.successor.started.lineage
    assert lineage is not None and lineage.carried is not None
    assert len(lineage.carried.events) == 3
    ended = failing(30_000, 20)
    assert ended.successor is None and not ended.failure.retryable
    told = "it is down (it is not tried again: the record of this end would have 4"
    assert ended.failure.message.startswith(told)
    assert "and the log takes 30,000" in ended.failure.message
    assert "the events that no code has taken 21," in ended.failure.message
