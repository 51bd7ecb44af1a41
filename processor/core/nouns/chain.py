"""Chains: which run follows a run of the same workflow id, and what is handed on to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from processor.checks import RECORD_BYTES_MAX
from processor.core.data.bounds import size_of
from processor.core.data.failure import Failure
from processor.core.data.retry import retry_at
from processor.core.event import Event
from processor.core.nouns.external import EventReceived
from processor.core.nouns.lineage import Carried, Lineage, Plan
from processor.core.nouns.run import (
    Closing,
    Run,
    Successor,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTimedOut,
)
from processor.core.records.answers import Refused

__all__ = (
    "ERROR_BYTES",
    "Following",
    "Reserved",
    "closing_bytes",
    "continued",
    "events_after",
    "external_events",
    "next_attempt",
    "next_by_cron",
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
            f"a record of the log takes {RECORD_BYTES_MAX:,} bytes, and where a retry policy or a "
            f"cron string lets another run follow, the end of a run needs {self.start:,} for the "
            f"start of the next one, {self.unread:,} for events that no code has taken, "
            f"{self.facts:,} for what the turn began with, and {2 * ERROR_BYTES:,} for the error"
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


class Following(NamedTuple):
    """What a run that follows another one gets from its shard.

    ``now_ms`` is the time of the end, and ``unread`` are the events that no code has taken.
    """

    now_ms: int
    run_id: str
    seed: bytes
    unread: Sequence[EventReceived]
    flags: tuple[str, ...]

    def after(
        self, run: Run, started: WorkflowStarted, plan: Plan | None, **told: Any
    ) -> Successor:
        """Return the run that follows one; ``told`` is what its lineage says otherwise."""
        assert run.started is not None, "a run that is followed has begun"
        carried = replace(run.handed_on(), events=tuple(self.unread))
        lineage = replace(
            run.started.lineage or Lineage(),
            first_run_id=run.first_run_id,
            previous_run_id=run.run_id,
            carried=None if carried == Carried() else carried,
            **told,
        )
        started = replace(started, seed=self.seed, lineage=lineage, plan=plan)
        return Successor(self.run_id, started)


def next_attempt(run: Run, failed: WorkflowFailed, following: Following) -> Successor | None:
    """Return the run that tries again what a run failed to do; None where nothing does.

    The execution time-out is that of the whole chain. A run that somebody asked to cancel is not
    tried again.
    """
    started = run.started
    assert started is not None, "a run that fails has begun"
    plan, attempt = started.plan, 1 if started.lineage is None else started.lineage.attempt
    if plan is None or plan.retry is None or run.cancel_reason is not None:
        return None
    failure, end_ms = failed.failure, run.deadline_ms
    due_ms = retry_at(plan.retry, attempt, failure, following.now_ms, end_ms, failed.headers)
    if due_ms is None:
        return None
    started = replace(started, memo=run.memo)
    plan = replace(plan, start_at_ms=due_ms, deadline_ms=end_ms)
    return following.after(run, started, plan, attempt=attempt + 1, previous_failure=failure)


def next_by_cron(
    run: Run, closing: Closing, following: Following, next_ms: Callable[[str, int], int | None]
) -> Successor | None:
    """Return the run that begins at the next time of a cron string; None where none does.

    It is told the result of the last run that had one, and why the last one failed, if it did. Its
    execution time-out counts anew. A run that somebody asked to cancel ends the chain.
    """
    started = run.started
    assert started is not None and started.plan is not None, "a run with a plan has begun"
    cron = started.plan.cron
    due_ms = None if cron is None else next_ms(cron, following.now_ms)
    if due_ms is None or run.cancel_reason is not None:
        return None
    assert due_ms > following.now_ms, f"the time after {following.now_ms} is {due_ms}"
    told: dict[str, Any] = {"attempt": 1, "previous_failure": None}
    if isinstance(closing, WorkflowCompleted):
        told["previous_result"] = closing.result
    elif isinstance(closing, WorkflowFailed):
        told["previous_failure"] = closing.failure
    elif isinstance(closing, WorkflowTimedOut):
        text = f"run {run.run_id} passed its execution time-out of {closing.timeout_ms / 1000:g} s"
        told["previous_failure"] = Failure("exception", "WorkflowTimedOut", text)
    plan = replace(started.plan, start_at_ms=due_ms, deadline_ms=None)
    started = replace(started, flags=following.flags, memo=run.memo)
    return following.after(run, started, plan, **told)


def continued(
    run: Run, asked: WorkflowContinued, following: Following, *, at_once: bool
) -> WorkflowContinued:
    """Return the end of a run that goes on as another one, with all that its code cannot know.

    ``at_once``: it ends in the turn in which its code began. Then the code of the next one begins
    by a timer that is due now, so that a chain without an end leaves room for other runs.
    """
    started = asked.successor.started
    assert not asked.successor.run_id, f"the code names no run: {asked.successor.run_id}"
    plan = started.plan
    if at_once:
        plan = replace(plan or Plan(), start_at_ms=following.now_ms)
    started = replace(started, flags=following.flags)
    told = {"attempt": 1, "previous_failure": None}
    return WorkflowContinued(following.after(run, started, plan, **told))


def too_large(started: WorkflowStarted) -> Refused | None:
    """Return why a workflow with a retry policy or a cron string cannot be started.

    Each end of a run has the start of the next one.
    """
    plan = started.plan
    if plan is None or (plan.retry is None and plan.cron is None):
        return None
    size = size_of(started)
    if size <= _START_BYTES_MAX:
        return None
    return Refused(
        "PayloadTooLarge",
        f"the start of {started.workflow!r} has {size:,} bytes, arguments and memo together; with "
        f"a retry policy or a cron string it may have {_START_BYTES_MAX:,}. Store large values "
        "elsewhere, and pass references to them",
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
