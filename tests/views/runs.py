"""Records of runs, as they stand in a log, for tests of views."""

from __future__ import annotations

from typing import Any

from processor.attributes import encoded
from processor.core.data.address import RunRef
from processor.core.data.failure import Failure
from processor.core.event import Event
from processor.core.nouns.activity import AttemptState
from processor.core.nouns.lineage import Lineage, Plan
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.value import AttributesSet
from processor.core.records.turn import AttemptRecord, Positions, Purged, Turn
from processor.views.rows import LogEntry, Rows

__all__ = ("DOWN", "Log", "attempt", "purged", "started", "turn", "upserted")

DOWN = Failure("application", "Down", "it is down")


def started(workflow: str = "order", *, parent: RunRef | None = None, **attributes: Any) -> Event:
    plan = Plan(attributes=encoded(attributes, "")) if attributes else None
    lineage = None if parent is None else Lineage(parent=parent)
    return WorkflowStarted(workflow, b"[]", bytes(16), lineage=lineage, plan=plan)


def upserted(**attributes: Any) -> Event:
    return AttributesSet(encoded(attributes, ""))


def turn(run: str, first: int, *events: Event, at: int = 0, epoch: int = 0) -> Turn:
    """Return a turn of the run ``id/run``."""
    which = run.partition("/")[0], run, epoch, first, at, "commands"
    return Turn(*which, Positions(), 0, None, events)


def attempt(run: str, id: int, failures: int, *, epoch: int = 0) -> AttemptRecord:
    last = DOWN if failures else None
    state = AttemptState(id, 1, False, 0, failures=failures, last_failure=last)
    which = run.partition("/")[0], run, epoch, 0, "timers", Positions(), 0, None
    return AttemptRecord(*which, "charge", state)


def purged(run: str, *, epoch: int = 0) -> Purged:
    which = run.partition("/")[0], run, epoch, 0, "timers", Positions(), 0, None
    return Purged(*which, run, "order", "completed", 0, 0, 1, True)


class Log:
    """Gives records offsets, behind a claim at 0."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.next = 1

    def take(self, *records: Any) -> None:
        entries = [LogEntry(self.next + number, each) for number, each in enumerate(records)]
        self.next += len(records)
        self.rows.take(entries)
