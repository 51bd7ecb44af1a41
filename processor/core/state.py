"""The state of a run: what its events add up to. ``evolve`` is the only code that changes it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from processor.core.correlation import Correlating
from processor.core.data.bounds import size_of
from processor.core.nouns.activity import OpenActivities
from processor.core.nouns.lineage import Carried
from processor.core.nouns.locks.granting import Lockable
from processor.core.nouns.locks.holding import Holding
from processor.core.nouns.promise import Promises
from processor.core.nouns.run import Run, Summary
from processor.core.nouns.timer import OpenTimers
from processor.core.nouns.update import CARRIED_BYTES, Updates
from processor.core.nouns.value import Values

__all__ = ("RunState",)


_PARTS: Final = (
    OpenActivities,
    OpenTimers,
    Correlating,
    Holding,
    Updates,
    Values,
    Promises,
    Lockable,
)


@dataclass
class RunState(
    OpenActivities, OpenTimers, Correlating, Holding, Updates, Values, Promises, Lockable, Run
):
    """The parts of all nouns.

    It has slots: an object with more than 30 attributes has a dictionary of its own, and then takes
    three times as long to make and twice as long to look at (measured with 3.11).
    """

    __slots__ = tuple({each.name: None for part in _PARTS for each in fields(part)})

    @property
    def has_more_than_an_image(self) -> bool:
        beside = self.promises or self.locks or self.correlations
        return bool(beside) or super().has_more_than_an_image

    def carry(self, carried: Carried) -> None:
        self.carry_updates(carried.updates)
        self.hold(carried.correlations)

    def handed_on(self) -> Carried:
        keys = self.held()
        outcomes = self.newest_outcomes(CARRIED_BYTES - size_of(keys))
        return Carried(updates=outcomes, correlations=keys)

    def clear(self) -> None:
        self.activities.clear()
        self.timers.clear()
        self.delayed.clear()
        self.delayed_bytes = 0
        self.calls.clear()
        self.correlations.clear()
        self.children.clear()
        self.promises.clear()
        self.callers.clear()
        self.locks.clear()
        self.lock = None
        self.updates_running = 0

    def summary(self) -> Summary:
        started, run_id = self.started, self.run_id
        if started is None:
            workflow, first_run_id, attributes = "", run_id, None
        else:
            workflow, plan = started.workflow, started.plan
            first_run_id = run_id if started.lineage is None else self.first_run_id
            attributes = None if plan is None else plan.attributes
        return Summary(
            self.workflow_id,
            run_id,
            first_run_id,
            workflow,
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
            self.memo,
            self.successor,
            self.base,
            None,
            attributes,
        )


assert len(fields(RunState)) == len(RunState.__slots__), "each part is in _PARTS"
