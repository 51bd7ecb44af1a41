"""The state of a run: what its events add up to. ``evolve`` is the only code that changes it.

A run is in one of seven states. The table below is the whole of it; ``tests/core/test_state.py``
walks every pair, and ``docs/architecture.md`` shows it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from processor.core.events import RunParked
from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.inputs import TimerKind
from processor.core.options import ActivityOptions
from processor.policy import Status

__all__ = ("REQUEST_IDS_MAX", "TRANSITIONS", "OpenActivity", "RunState", "Summary")

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

REQUEST_IDS_MAX: Final = 1_000
"""How many ids of external events a run remembers, to drop what a client sent twice."""


@dataclass(slots=True)
class OpenActivity:
    """An activity without an outcome. ``armed``: its time-outs that run now, kind -> due_ms."""

    id: int
    name: str
    arguments: bytes
    options: ActivityOptions
    eager: bool
    scheduled_ms: int
    attempt: int = 1
    worker: str = ""
    starts: int = 0
    retry_at_ms: int | None = None
    heartbeat_at_ms: int = 0
    heartbeat_details: bytes | None = None
    last_failure: Failure | None = None
    armed: dict[TimerKind, int] = field(default_factory=dict)


@frozen
class Summary:
    """A row of the ``runs`` table: what is known of a run without replaying it.

    ``request_ids`` are those of a closed run's last external events: a client that did not hear
    that its event was taken asks again, and is not to be told that it came too late.
    """

    workflow_id: str
    run_id: str
    workflow: str
    status: Status
    started_ms: int
    updated_ms: int
    closed_ms: int | None
    events: int
    request_id: str
    custom_status: bytes | None
    cancel_reason: str | None
    result: bytes | None
    failure: Failure | None
    parked: RunParked | None
    memo: bytes | None
    request_ids: tuple[str, ...] = ()


@dataclass(slots=True)
class RunState:
    """``events`` counts the history, so it is the number of the next event."""

    workflow_id: str
    run_id: str
    workflow: str = ""
    status: Status = Status.RUNNING
    started_ms: int = 0
    updated_ms: int = 0
    closed_ms: int | None = None
    deadline_ms: int | None = None
    events: int = 0
    request_id: str = ""
    request_ids: deque[str] = field(default_factory=lambda: deque(maxlen=REQUEST_IDS_MAX))
    activities: dict[int, OpenActivity] = field(default_factory=dict)
    timers: dict[int, int] = field(default_factory=dict)
    custom_status: bytes | None = None
    cancel_reason: str | None = None
    result: bytes | None = None
    failure: Failure | None = None
    parked: RunParked | None = None
    memo: bytes | None = None

    def summary(self) -> Summary:
        return Summary(
            self.workflow_id,
            self.run_id,
            self.workflow,
            self.status,
            self.started_ms,
            self.updated_ms,
            self.closed_ms,
            self.events,
            self.request_id,
            self.custom_status,
            self.cancel_reason,
            self.result,
            self.failure,
            self.parked,
            self.memo,
            () if self.closed_ms is None else tuple(self.request_ids),
        )
