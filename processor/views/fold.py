"""The pure fold of a view: the row of a run, and a record of the log, make the next row.

One row for each run, open or closed, until it is purged. Records come in the order of the log; one
that is folded already changes nothing. The cleaner works by segments, so that the end of a run may
be there without its beginning: a run has no row before its start, or its snapshot, is folded. Where
turns are gone that a row has not seen, the snapshot behind them makes the row anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from processor.core.data.failure import BENIGN
from processor.core.data.frozen import frozen
from processor.core.event import Event
from processor.core.nouns.activity import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    AttemptState,
)
from processor.core.nouns.lineage import Lineage
from processor.core.nouns.run import BEGIN, Closing, RunParked, RunUnparked, WorkflowStarted
from processor.core.nouns.timer import TimerFired
from processor.core.nouns.value import AttributesSet
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Purged, Turn
from processor.policy import Status

__all__ = ("VERSION", "Folded", "Row", "folded", "steps")

VERSION: Final = 3
"""Number of what the fold does. Rows of another one are folded anew from the log."""

Folded: TypeAlias = Turn | Snapshot | AttemptRecord | Purged
"""The records of the log that rows are made of."""

_PROBLEM_MAX: Final = 200
_FAILING_MAX: Final = 100


@frozen
class Row:
    """What a view knows of a run. Times are milliseconds since the epoch.

    ``begins_ms`` is when its code begins or began. ``attributes`` are encoded. ``parked`` says why
    it is parked; ``failing`` are its open activities that have failed, by their ids, and with what.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    workflow: str
    status: Status
    started_ms: int
    begins_ms: int
    closed_ms: int | None
    events: int
    attempt: int
    parent_workflow_id: str | None
    parent_run_id: str | None
    root_workflow_id: str | None
    root_run_id: str | None
    attributes: bytes | None
    parked: str | None = None
    failing: tuple[tuple[int, str], ...] = ()

    @property
    def problem(self) -> str | None:
        """Why it does not go on as its author meant it to; None where nothing is known."""
        if self.parked is not None:
            return self.parked
        return self.failing[0][1] if self.failing else None


def folded(row: Row | None, record: Folded) -> Row | None:
    """Return the row of a run after a record of it; None where it has none."""
    match record:
        case Purged():
            return None
        case AttemptRecord():
            return None if row is None else _attempted(row, record.name, record.state)
        case Snapshot() if row is None or row.events < record.first:
            return _of_image(record)
        case _:
            return _turned(row, record)


def _turned(row: Row | None, turn: Turn | Snapshot) -> Row | None:
    """Return the row after the events of a turn that it has not seen yet."""
    for _, _, after in steps(row, turn):
        row = after
    return row


def steps(row: Row | None, turn: Turn | Snapshot) -> Iterator[tuple[int, Event, Row]]:
    """Yield the events of a turn that a row has not seen yet: number, event, the row after it."""
    for number, event in enumerate(turn.events, turn.first):
        if row is None and number == 0 and isinstance(event, WorkflowStarted):
            row = _begun(turn, event, turn.time_ms)
        elif row is not None and number == row.events:
            row = replace(_happened(row, event, turn.time_ms), events=number + 1)
        else:
            continue
        yield number, event, row


def _begun(turn: Turn | Snapshot, started: WorkflowStarted, started_ms: int) -> Row:
    lineage = started.lineage or Lineage()
    parent = lineage.parent
    root = lineage.root or parent
    return Row(
        turn.workflow_id,
        turn.run_id,
        lineage.first_run_id or turn.run_id,
        started.workflow,
        Status.RUNNING,
        started_ms,
        started_ms if started.begins_ms is None else max(started.begins_ms, started_ms),
        None,
        1,
        lineage.attempt,
        None if parent is None else parent.workflow_id,
        None if parent is None else parent.run_id,
        None if root is None else root.workflow_id,
        None if root is None else root.run_id,
        None if started.plan is None else started.plan.attributes,
    )


def _of_image(snapshot: Snapshot) -> Row:
    """Return the row of a run whose beginning is gone, from the state that a snapshot has."""
    image = snapshot.image
    row = replace(_begun(snapshot, image.started, image.started_ms), events=image.events)
    if image.parked is not None:
        row = _happened(row, image.parked, snapshot.time_ms)
    for activity in image.activities:
        row = _attempted(row, activity.scheduled.name, activity.state)
    return row


def _happened(row: Row, event: Event, now_ms: int) -> Row:
    match event:
        case AttributesSet(attributes):
            return replace(row, attributes=attributes)
        case ActivityCompleted(id) | ActivityFailed(id) | ActivityCancelled(id):
            return _without(row, id) if row.failing else row
        case TimerFired(id) if id == BEGIN:
            return replace(row, begins_ms=now_ms)
        case RunParked():
            why = _short(f"parked: {event.kind}: {event.error}")
            return replace(row, status=Status.PARKED, parked=why)
        case RunUnparked():
            return replace(row, status=Status.RUNNING, parked=None)
        case Closing():
            ended = replace(row, status=event.ends_as, closed_ms=now_ms)
            return replace(ended, parked=None, failing=())
        case _:
            return row


def _attempted(row: Row, name: str, state: AttemptState) -> Row:
    """Return the row after a record of where an activity stands."""
    failure = state.last_failure
    if not row.status.is_open or failure is None or failure.kind == BENIGN:
        return row
    text = _short(f"activity: {name}: {failure.type}: {failure.message}")
    others = _without(row, state.id).failing[1 - _FAILING_MAX :]
    return replace(row, failing=(*others, (state.id, text)))


def _without(row: Row, id: int) -> Row:
    return replace(row, failing=tuple(each for each in row.failing if each[0] != id))


def _short(text: str) -> str:
    return text if len(text) <= _PROBLEM_MAX else text[: _PROBLEM_MAX - 3] + "..."
