"""The state tables of one shard, each row derived from what the log acknowledged.

Each table is a projection: see ``store.projections``. Rows are MessagePack, but for history. One
batch holds a group of records and the checkpoint, so that the tables are always the exact fold of
the log below ``next_offset``.

Rows wait in memory for a while, and then become one batch: a run that takes six turns meanwhile has
one row in ``runs`` to write, not six, and an attempt that is over leaves no row behind. Nothing is
lost with them that the log does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from processor.core.nouns.run import Summary
from processor.core.records.effects import SetTimer
from processor.shard.dedup import Known
from processor.shard.ports import (
    NEVER_MS,
    Changes,
    Checkpoint,
    ClaimRow,
    Confirmed,
    OpenAttempt,
    Replaced,
)
from processor.store.keyvalue import KeyValue
from processor.store.projections import Projections

__all__ = ("StateTables",)

_GROUP_RECORDS = 500
_GROUP_BYTES = 4_000_000


class StateTables:
    """Tables over a store. ``identity`` names the log: tables of another log are corrupt."""

    def __init__(self, store: KeyValue, identity: str) -> None:
        self._store = store
        self._projections = Projections(store)
        self._records = self._bytes = 0
        self._waits = False
        self._projections.meta.identify(identity)

    def checkpoint(self) -> Checkpoint:
        return self._projections.meta.checkpoint()

    def write(self, group: Sequence[Confirmed], checkpoint: Checkpoint, changes: Changes) -> None:
        take = self._projections.take
        for confirmed in group:
            take(confirmed)
            self._bytes += len(confirmed.value)
        self._projections.change(changes)
        self._projections.meta.reached(checkpoint)
        self._records += len(group)
        self._waits = True
        if self._records >= _GROUP_RECORDS or self._bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._waits:
            self._store.write(self._projections.mutations())
            self._projections.written()
            self._records = self._bytes = 0
            self._waits = False

    def latest(self, workflow_id: str) -> Summary | None:
        return self._projections.runs.latest(workflow_id)

    def run(self, run_id: str) -> Summary | None:
        return self._projections.runs.run(run_id)

    def runs(self, after: str) -> Iterator[Summary]:
        self.flush()
        return self._projections.runs.runs(after)

    def history(self, run_id: str, first: int = 0) -> Iterator[tuple[int, bytes]]:
        self._flush_of(run_id)
        return self._projections.history.turns(run_id, first)

    def turn(self, run_id: str, first: int) -> bytes | None:
        return self._projections.history.turn(run_id, first)

    def parked(self) -> Iterator[str]:
        self.flush()
        return self._projections.parked.parked()

    def open_attempts(self, run_id: str | None = None) -> Iterator[OpenAttempt]:
        if run_id is None:
            self.flush()
        else:
            self._flush_of(run_id)
        return self._projections.attempts.open_attempts(run_id)

    def timers(self, after_ms: int, limit: int, until_ms: int = NEVER_MS) -> list[SetTimer]:
        self.flush()
        return self._projections.timers.due(after_ms, limit, until_ms)

    def requests(self) -> Iterator[Known]:
        self.flush()
        return self._projections.requests.known()

    def claims(self) -> Iterator[ClaimRow]:
        self.flush()
        return self._projections.claims.claims()

    def replaced(self, below: int, limit: int) -> list[Replaced]:
        self.flush()
        return self._projections.replaced.replaced(below, limit)

    def is_replaced(self, offset: int, key: bytes) -> bool:
        return self._projections.replaced.holds(offset, key)

    def close(self) -> None:
        self._store.close()

    def _flush_of(self, run_id: str) -> None:
        if self._projections.runs.holds(run_id):
            self.flush()
