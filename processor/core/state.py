"""The state of a run: what its events add up to. ``evolve`` is the only code that changes it."""

from __future__ import annotations

from dataclasses import dataclass

from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.nouns.activity import Activities
from processor.core.nouns.call import Calls
from processor.core.nouns.run import Run, RunParked
from processor.core.nouns.timer import Timers
from processor.core.nouns.value import Values
from processor.policy import Status

__all__ = ("RunState", "Summary")


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


@dataclass
class RunState(Activities, Timers, Calls, Values, Run):
    """The parts of all nouns."""

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
