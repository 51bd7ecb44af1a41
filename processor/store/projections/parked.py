"""parked: workflow id -> (empty): runs that wait for fixed code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from processor.core.event import Event
from processor.core.nouns.run import (
    RunParked,
    RunUnparked,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.shard.ports import Confirmed
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import Handler

__all__ = ("Parked",)


class Parked:
    families = ("parked",)

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._rows: dict[str, bytes | None] = {}

    def takes(self) -> Mapping[type, Handler]:
        ends = dict.fromkeys((RunUnparked, WorkflowTerminated, WorkflowTimedOut), self._end)
        return {RunParked: self._park, **ends}

    def mutations(self) -> list[Mutation]:
        return [("parked", id.encode(), value) for id, value in self._rows.items()]

    def written(self) -> None:
        self._rows.clear()

    def parked(self) -> Iterator[str]:
        """Yield those that are written."""
        for key, _ in self._store.scan("parked", b""):
            yield key.decode()

    def _park(self, event: RunParked, confirmed: Confirmed) -> None:
        self._rows[_workflow_id(event, confirmed)] = b""

    def _end(self, event: Event, confirmed: Confirmed) -> None:
        self._rows[_workflow_id(event, confirmed)] = None


def _workflow_id(event: Event, confirmed: Confirmed) -> str:
    record = confirmed.record
    assert isinstance(record, Turn | Snapshot), f"{event} stands in a turn"
    return record.workflow_id
