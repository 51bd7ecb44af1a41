"""Chains: which run follows a run of the same workflow id, and what is handed on to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from processor.core.data.retry import retry_at
from processor.core.event import Event
from processor.core.nouns.external import EventReceived
from processor.core.nouns.lineage import Carried, Lineage
from processor.core.nouns.run import Run, Successor, WorkflowFailed, WorkflowStarted

__all__ = ("external_events", "next_attempt")


def external_events(facts: Iterable[Event]) -> list[EventReceived]:
    """Return the external events among facts, with those that a start brings along."""
    found: list[EventReceived] = []
    for fact in facts:
        if isinstance(fact, EventReceived):
            found.append(fact)
        elif isinstance(fact, WorkflowStarted):
            lineage = fact.lineage
            if lineage is not None and lineage.carried is not None:
                found += lineage.carried.events
    return found


def next_attempt(
    run: Run,
    failed: WorkflowFailed,
    now_ms: int,
    run_id: str,
    seed: bytes,
    unread: Sequence[EventReceived],
) -> Successor | None:
    """Return the run that tries again what a run failed to do; None where nothing does.

    ``unread`` are the events that its code has not taken. The execution time-out is that of the
    whole chain. A run that somebody asked to cancel is not tried again.
    """
    started = run.started
    assert started is not None, "a run that fails has begun"
    plan, lineage = started.plan, started.lineage or Lineage()
    if plan is None or plan.retry is None or run.cancel_reason is not None:
        return None
    failure, end_ms = failed.failure, run.deadline_ms
    due_ms = retry_at(plan.retry, lineage.attempt, failure, now_ms, end_ms, failed.headers)
    if due_ms is None:
        return None
    lineage = replace(
        lineage,
        first_run_id=run.first_run_id,
        previous_run_id=run.run_id,
        attempt=lineage.attempt + 1,
        previous_failure=failure,
        carried=Carried(tuple(unread)) if unread else None,
    )
    plan = replace(plan, start_at_ms=due_ms, deadline_ms=end_ms)
    return Successor(run_id, replace(started, seed=seed, lineage=lineage, plan=plan))
