"""purged: time, run id -> key of the record that says so. Marks say which are forgotten."""

from __future__ import annotations

from collections.abc import Mapping

from processor.core.records.marks import Mark
from processor.core.records.turn import Purged as PurgedRecord
from processor.shard.ports import Confirmed
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import Handler
from processor.store.projections.replaced import Replaced
from processor.store.projections.runs import Runs
from processor.store.rows import number_key

__all__ = ("PurgedRows",)


class PurgedRows:
    families = ("purged",)

    def __init__(self, store: KeyValue, runs: Runs, replaced: Replaced) -> None:
        self._store = store
        self._runs = runs
        self._replaced = replaced
        self._rows: dict[bytes, bytes | None] = {}

    def takes(self) -> Mapping[type, Handler]:
        return {PurgedRecord: self._put, Mark: self._forget}

    def mutations(self) -> list[Mutation]:
        return [("purged", key, value) for key, value in self._rows.items()]

    def written(self) -> None:
        self._rows.clear()

    def _put(self, record: PurgedRecord, confirmed: Confirmed) -> None:
        self._rows[number_key(record.time_ms) + record.run_id.encode()] = confirmed.key

    def _forget(self, mark: Mark, confirmed: Confirmed) -> None:
        """Forget the runs that were purged before the time that a mark names."""
        if not mark.forgotten_ms:
            return
        end = number_key(mark.forgotten_ms)
        rows: dict[bytes, bytes | None] = {}
        for row, key in self._store.scan("purged", b""):
            if row >= end:
                break
            rows[row] = key
        rows.update((row, key) for row, key in self._rows.items() if row < end)
        for row, known in rows.items():
            if known is not None:
                self._rows[row] = None
                self._replaced.replace(confirmed.offset, known)
                self._runs.forget(row[8:].decode())
