"""Chains: which run follows a run of the same workflow id, and what is handed on to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from processor.checks import RECORD_BYTES_MAX
from processor.core.data.bounds import size_of
from processor.core.data.retry import retry_at
from processor.core.event import Event
from processor.core.nouns.external import EventReceived
from processor.core.nouns.lineage import Carried, Lineage, Plan
from processor.core.nouns.run import (
    Run,
    Successor,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowStarted,
)
from processor.core.records.answers import Refused

__all__ = (
    "ERROR_BYTES",
    "Reserved",
    "closing_bytes",
    "continued",
    "events_after",
    "external_events",
    "next_attempt",
    "not_followed",
    "too_large",
)

_START_BYTES_MAX: Final = 3_000_000
"""The start of a workflow that may be tried again: each end of a run has it for the next one."""

ERROR_BYTES: Final = 1_300_000
"""What the texts of an error take at the most: ten causes, messages and tracebacks."""

_ENVELOPE_BYTES: Final = 20_000
"""What a record takes beside its events at the most: who, where and why."""


class Reserved(NamedTuple):
    """What the end of a run that is tried again needs beside what its last turn asks for.

    ``start`` is that of the next run, ``unread`` are the events that are handed on, and ``facts``
    what the turn begins with. The texts of its error come twice.
    """

    start: int
    unread: int
    facts: int

    @property
    def room(self) -> int:
        """How much the turn may ask for."""
        rest = self.start + self.unread + self.facts + 2 * ERROR_BYTES
        return RECORD_BYTES_MAX - _ENVELOPE_BYTES - rest

    def __str__(self) -> str:
        return (
            f"a record of the log takes {RECORD_BYTES_MAX:,} bytes, and where a retry policy lets "
            f"another run follow, the end of a run needs {self.start:,} for the start of the next "
            f"one, {self.unread:,} for events that no code has taken, {self.facts:,} for what the "
            f"turn began with, and {2 * ERROR_BYTES:,} for the error"
        )


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


def events_after(facts: Sequence[Event], last: Event) -> list[EventReceived]:
    """Return the external events among the facts that come after one of them."""
    after = next(number for number, fact in enumerate(facts, 1) if fact is last)
    return external_events(facts[after:])


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


def continued(
    run: Run,
    asked: WorkflowContinued,
    now_ms: int,
    run_id: str,
    seed: bytes,
    unread: Sequence[EventReceived],
    flags: tuple[str, ...],
    *,
    at_once: bool,
) -> WorkflowContinued:
    """Return the end of a run that goes on as another one, with all that its code cannot know.

    ``at_once``: it ends in the turn in which its code began. Then the code of the next one begins
    by a timer that is due now, so that a chain without an end leaves room for other runs.
    """
    started = asked.successor.started
    assert run.started is not None, "a run that goes on has begun"
    assert not asked.successor.run_id, f"the code names no run: {asked.successor.run_id}"
    lineage = replace(
        run.started.lineage or Lineage(),
        first_run_id=run.first_run_id,
        previous_run_id=run.run_id,
        attempt=1,
        previous_failure=None,
        carried=Carried(tuple(unread)) if unread else None,
    )
    plan = started.plan
    if at_once:
        plan = replace(plan or Plan(), start_at_ms=now_ms)
    started = replace(started, seed=seed, flags=flags, lineage=lineage, plan=plan)
    return WorkflowContinued(Successor(run_id, started))


def too_large(started: WorkflowStarted) -> Refused | None:
    """Return why a workflow with a retry policy cannot be started: each end has its start again."""
    if started.plan is None or started.plan.retry is None:
        return None
    size = size_of(started)
    if size <= _START_BYTES_MAX:
        return None
    return Refused(
        "PayloadTooLarge",
        f"the start of {started.workflow!r} has {size:,} bytes, arguments and memo together; with "
        f"a retry policy it may have {_START_BYTES_MAX:,}. Store large values elsewhere, and pass "
        "references to them",
    )


def closing_bytes(events: Sequence[Event], failed: WorkflowFailed) -> int:
    """Return how large the record with these events and with this end is at the most."""
    return _ENVELOPE_BYTES + size_of(events) + size_of(failed)


def not_followed(failed: WorkflowFailed, size: int, limit: int) -> WorkflowFailed:
    """Return the end of a run that no other one can follow, which says what is too large."""
    successor, failure = failed.successor, failed.failure
    assert successor is not None, "another run was to follow"
    lineage = successor.started.lineage
    unread = size_of(None if lineage is None else lineage.carried)
    error = 2 * size_of(failure)
    start = size_of(successor) - unread - error // 2
    why = (
        f" (it is not tried again: the record of this end would have {size:,} bytes, and the log "
        f"takes {limit:,}. The start of the next run has {start:,}, the events that no code has "
        f"taken {unread:,}, the error {error:,}, what the turn asked for "
        f"{max(size - start - unread - error, 0):,})"
    )
    told = replace(failure, message=failure.message + why, retryable=False)
    return replace(failed, failure=told, successor=None)
