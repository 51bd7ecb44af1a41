"""runs: run id -> Summary. latest: workflow id -> run id of its latest run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from processor.core.nouns.run import Summary
from processor.core.records.snapshot import EntityDelta, EntitySnapshot, Snapshot
from processor.core.records.turn import AttemptRecord, Purged, Turn
from processor.shard.ports import Confirmed
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import Handler
from processor.store.rows import pack, reader

__all__ = ("Runs",)

_summary: Final = reader(Summary)


class Runs:
    families = ("runs", "latest")

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._summaries: dict[str, Summary | None] = {}
        self._latest: dict[str, str | None] = {}

    def takes(self) -> Mapping[type, Handler]:
        return {
            Turn: self._turn,
            EntityDelta: self._turn,
            AttemptRecord: self._attempt,
            Snapshot: self._snapshot,
            EntitySnapshot: self._snapshot,
            Purged: self._purged,
        }

    def mutations(self) -> list[Mutation]:
        rows: list[Mutation] = [
            ("runs", run_id.encode(), None if summary is None else pack(summary))
            for run_id, summary in self._summaries.items()
        ]
        rows += [
            ("latest", id.encode(), None if run_id is None else run_id.encode())
            for id, run_id in self._latest.items()
        ]
        return rows

    def written(self) -> None:
        self._summaries.clear()
        self._latest.clear()

    def holds(self, run_id: str) -> bool:
        return run_id in self._summaries

    def run(self, run_id: str) -> Summary | None:
        if run_id in self._summaries:
            return self._summaries[run_id]
        value = self._store.get("runs", run_id.encode())
        return None if value is None else _summary(value)

    def latest(self, workflow_id: str) -> Summary | None:
        run_id = self._latest_of(workflow_id)
        return None if run_id is None else self.run(run_id)

    def runs(self, after: str) -> Iterator[Summary]:
        """Yield the latest runs that are written, in the order of their workflow ids."""
        first = after.encode() + b"\0" if after else b""
        for _, run_id in self._store.scan("latest", first):
            summary = self.run(run_id.decode())
            if summary is not None:
                yield summary

    def forget(self, run_id: str) -> None:
        summary = self.run(run_id)
        self._summaries[run_id] = None
        if summary is not None and self._latest_of(summary.workflow_id) == run_id:
            self._latest[summary.workflow_id] = None

    def _latest_of(self, workflow_id: str) -> str | None:
        if workflow_id in self._latest:
            return self._latest[workflow_id]
        value = self._store.get("latest", workflow_id.encode())
        return None if value is None else value.decode()

    def _turn(self, turn: Turn, confirmed: Confirmed) -> None:
        self._summaries[turn.run_id] = confirmed.summary
        if turn.first == 0:
            self._latest[turn.workflow_id] = turn.run_id

    def _attempt(self, record: AttemptRecord, confirmed: Confirmed) -> None:
        self._summaries[record.run_id] = confirmed.summary

    def _snapshot(self, snapshot: Snapshot, confirmed: Confirmed) -> None:
        """An open run is the latest one, and the turn that began it may be gone."""
        self._summaries[snapshot.run_id] = confirmed.summary
        self._latest[snapshot.workflow_id] = snapshot.run_id

    def _purged(self, purged: Purged, confirmed: Confirmed) -> None:
        self._summaries[purged.run_id] = confirmed.summary
        if purged.latest:
            self._latest[purged.workflow_id] = purged.run_id
