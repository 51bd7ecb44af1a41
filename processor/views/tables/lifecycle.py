"""The events of a turn as the functions of tables are told them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from processor.attributes import Attributes, decode
from processor.core.data.payloads import Payloads
from processor.core.event import Event
from processor.core.nouns.run import Closing, WorkflowFailed, WorkflowStarted
from processor.core.nouns.value import AttributesSet, StatusSet, ValueSet
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.errors import SchemaMismatch
from processor.views.fold import Row, steps
from processor.views.tables.events import (
    AttributesChanged,
    CustomStatusChanged,
    RunBegan,
    RunEnded,
    RunEvent,
    ValueChanged,
)
from processor.views.words import moment

__all__ = ("told",)


def told(row: Row | None, turn: Turn | Snapshot, payloads: Payloads) -> Iterator[RunEvent]:
    """Yield what a turn says that comes behind the row of its run."""
    before = row
    for number, event, after in steps(row, turn):
        found = _told(event, before, after, number, turn.time_ms, payloads)
        if found is not None:
            yield found
        before = after


def _told(
    event: Event, before: Row | None, after: Row, number: int, time_ms: int, payloads: Payloads
) -> RunEvent | None:
    of: dict[str, Any] = {
        "workflow_id": after.workflow_id,
        "run_id": after.run_id,
        "workflow": after.workflow,
        "number": number,
        "started": _time(after.started_ms),
        "time": _time(time_ms),
        "attributes": _attributes(after),
    }
    match event:
        case WorkflowStarted():
            return RunBegan(**of, payload=event.arguments, payloads=payloads)
        case Closing():
            failure = event.failure.type if isinstance(event, WorkflowFailed) else None
            result = getattr(event, "result", None)  # only a completed run has one
            of |= {"status": event.ends_as, "failure": failure}
            return RunEnded(**of, payload=result, payloads=payloads)
        case AttributesSet():
            assert before is not None, "a run begins with its start"
            return AttributesChanged(**of, before=_attributes(before))
        case StatusSet():
            return CustomStatusChanged(**of, payload=event.value, payloads=payloads)
        case ValueSet():
            return ValueChanged(**of, name=event.name, payload=event.value, payloads=payloads)
        case _:
            return None


def _attributes(row: Row) -> Attributes:
    try:
        return decode(row.attributes)
    except SchemaMismatch:  # none of ours wrote it: a start is checked before it counts
        return {}


def _time(ms: int) -> datetime:
    return moment(ms * 1_000)
