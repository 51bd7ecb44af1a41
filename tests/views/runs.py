"""Records of runs, as they stand in a log, for tests of views."""

from __future__ import annotations

from typing import Any

from processor.attributes import encoded
from processor.codec.records import encode
from processor.core.data.address import RunRef
from processor.core.data.failure import Failure
from processor.core.event import Event
from processor.core.nouns.activity import AttemptState
from processor.core.nouns.lineage import Lineage, Plan
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.value import AttributesSet
from processor.core.records.snapshot import RunImage, Snapshot
from processor.core.records.turn import AttemptRecord, Positions, Purged, Turn
from processor.views.place import LogEntry
from processor.views.rows import Rows

__all__ = ("DOWN", "Log", "attempt", "purged", "snapshot", "started", "turn", "upserted")

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


def snapshot(run: str, first: int, *events: Event, at: int = 0) -> Snapshot:
    """Return a turn with the state after it, which is that of a run that has just begun."""
    begun = started()
    assert isinstance(begun, WorkflowStarted), "a run begins so"
    image = RunImage(begun, 0, at, first + len(events), custom_status=b"8")
    which = run.partition("/")[0], run, 0, first, at, "commands"
    return Snapshot(*which, Positions(), 0, None, events, image, b"")


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
        entries = [
            LogEntry(offset, each, encode(each)) for offset, each in enumerate(records, self.next)
        ]
        self.next += len(records)
        self.rows.take(entries)
