"""The state of a run: what its events add up to. ``evolve`` is the only code that changes it.

A run is in one of seven states. The table below is the whole of it; ``tests/core/test_state.py``
walks every pair, and ``docs/architecture.md`` shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from processor.core.attempt import OpenActivity
from processor.core.events import CallSent, RunParked
from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.started import WorkflowStarted
from processor.policy import Status

__all__ = ("TRANSITIONS", "RunState", "Summary")

TRANSITIONS: Final[dict[str, dict[Status, Status]]] = {
    "RunParked": {Status.RUNNING: Status.PARKED},
    "RunUnparked": {Status.PARKED: Status.RUNNING},
    "WorkflowCompleted": {Status.RUNNING: Status.COMPLETED},
    "WorkflowFailed": {Status.RUNNING: Status.FAILED},
    "WorkflowCancelled": {Status.RUNNING: Status.CANCELLED},
    "WorkflowTerminated": {
        Status.RUNNING: Status.TERMINATED,
        Status.PARKED: Status.TERMINATED,
    },
    "WorkflowTimedOut": {Status.RUNNING: Status.TIMED_OUT, Status.PARKED: Status.TIMED_OUT},
}
"""Event type -> status before -> status after. Every other event leaves the status as it is and
needs an open run; a closed run takes no event at all."""


@frozen
class Summary:
    """A row of the ``runs`` table: what is known of a run without replaying it.

    ``successor`` is the run that follows it. ``base`` is the event with which replay begins.
    ``purged_ms``: when its history was given up.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    workflow: str
    status: Status
    started_ms: int
    updated_ms: int
    closed_ms: int | None
    events: int
    custom_status: bytes | None
    cancel_reason: str | None
    result: bytes | None
    failure: Failure | None
    parked: RunParked | None
    memo: bytes | None
    successor: str | None = None
    base: int = 0
    purged_ms: int | None = None

    def is_meant(self, run_id: str | None, first_run_id: str | None) -> bool:
        """Return whether a command that names a run, or a chain, or neither, means this one."""
        return run_id in (None, self.run_id) and first_run_id in (None, self.first_run_id)


@dataclass(slots=True)
class RunState:
    """``events`` counts the history, so it is the number of the next event.

    ``base`` is the number of the event with which replay begins: that of the last snapshot.
    """

    workflow_id: str
    run_id: str
    started: WorkflowStarted | None = None
    status: Status = Status.RUNNING
    started_ms: int = 0
    updated_ms: int = 0
    closed_ms: int | None = None
    events: int = 0
    activities: dict[int, OpenActivity] = field(default_factory=dict)
    timers: dict[int, int] = field(default_factory=dict)
    calls: dict[int, CallSent] = field(default_factory=dict)
    custom_status: bytes | None = None
    cancel_reason: str | None = None
    result: bytes | None = None
    failure: Failure | None = None
    parked: RunParked | None = None
    successor: str | None = None
    base: int = 0

    @property
    def workflow(self) -> str:
        return "" if self.started is None else self.started.workflow

    @property
    def first_run_id(self) -> str:
        lineage = None if self.started is None else self.started.lineage
        first = None if lineage is None else lineage.first_run_id
        return self.run_id if first is None else first

    @property
    def deadline_ms(self) -> int | None:
        """When the execution time-out ends the run."""
        limit_ms = None if self.started is None else self.started.execution_timeout_ms
        return None if limit_ms is None else self.started_ms + limit_ms

    def summary(self) -> Summary:
        started = self.started
        lineage = None if started is None else started.lineage
        return Summary(
            self.workflow_id,
            self.run_id,
            self.run_id if lineage is None else self.first_run_id,
            "" if started is None else started.workflow,
            self.status,
            self.started_ms,
            self.updated_ms,
            self.closed_ms,
            self.events,
            self.custom_status,
            self.cancel_reason,
            self.result,
            self.failure,
            self.parked,
            None if started is None else started.memo,
            self.successor,
            self.base,
        )
