"""replaced: log offset, log key -> (empty): records that may go once that offset is covered.

A record that counts says what is gone; the rows say what waits for its tombstone because of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from processor.codec.records import read_head
from processor.core.records.effects import Forget
from processor.core.records.marks import Answered, Mark
from processor.core.records.snapshot import EntitySnapshot, Snapshot
from processor.core.records.turn import Purged, turn_key, turn_of_key
from processor.shard.ports import Changes, Confirmed
from processor.shard.ports import Replaced as Row
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.history import History
from processor.store.projections.meta import Meta
from processor.store.projections.projection import Handler
from processor.store.rows import number_key

__all__ = ("Replaced", "replaced_of")


class Replaced:
    """No row that is written is before ``first``: RocksDB passes over all that was deleted there,
    one by one, whenever somebody looks from the beginning on.
    """

    families = ("replaced",)

    def __init__(self, store: KeyValue, meta: Meta, history: History) -> None:
        self._store = store
        self._meta = meta
        self._history = history
        self._rows: dict[bytes, bytes | None] = {}
        self.first = b""

    def takes(self) -> Mapping[type, Handler]:
        return {
            Forget: self._forgotten,
            Answered: self._answered,
            Mark: self._marked,
            Snapshot: self._snapshot,
            EntitySnapshot: self._entity_snapshot,
            Purged: self._purged,
        }

    def mutations(self) -> list[Mutation]:
        self.first = min(self.first, *self._rows) if self._rows else self.first
        return [("replaced", key, value) for key, value in self._rows.items()]

    def written(self) -> None:
        self._rows.clear()

    def replaced(self, below: int, limit: int) -> list[Row]:
        """Return those that are written: see ``Tables.replaced``."""
        end = number_key(below)
        found: list[Row] = []
        first: bytes | None = None
        for row, _ in self._store.scan("replaced", self.first):
            if first is None:
                first = self.first = row
            if row[:8] >= end or len(found) >= limit:
                break
            found.append(replaced_of(row))
        return found

    def holds(self, offset: int, key: bytes) -> bool:
        row = replaced_key(offset, key)
        if row in self._rows:
            return self._rows[row] is not None
        return self._store.get("replaced", row) is not None

    def replace(self, offset: int, key: bytes) -> None:
        self._rows[replaced_key(offset, key)] = b""

    def change(self, changes: Changes) -> None:
        for key in changes.replaced:
            self.replace(0, key)
        for offset, key in changes.forgotten:
            self._forget(offset, key)
        if changes.tombstones:
            self._forget_all(set(changes.tombstones))

    def _forgotten(self, effect: Forget, confirmed: Confirmed) -> None:
        self.replace(confirmed.offset, effect.key)

    def _answered(self, record: Answered, confirmed: Confirmed) -> None:
        self.replace(confirmed.offset, confirmed.key)

    def _marked(self, mark: Mark, confirmed: Confirmed) -> None:
        before = self._meta.marked(confirmed.key)
        if before is not None and before != confirmed.key:
            self.replace(0, before)

    def _snapshot(self, snapshot: Snapshot, confirmed: Confirmed) -> None:
        self._replace_history(snapshot.run_id, snapshot.first, confirmed.offset)

    def _entity_snapshot(self, snapshot: EntitySnapshot, confirmed: Confirmed) -> None:
        which = snapshot.run_id, snapshot.first, confirmed.offset
        self._replace_history(*which, snapshot.previous)

    def _purged(self, purged: Purged, confirmed: Confirmed) -> None:
        self._replace_history(purged.run_id, None, confirmed.offset)

    def _replace_history(self, run_id: str, below: int | None, offset: int, since: int = 0) -> None:
        """Give up the turns of a run, all or those below an event, once that offset is covered.

        Those before ``since`` have been given up.
        """
        begun: list[bytes] = []
        for first, value in self._history.all_turns(run_id, since):
            if below is not None and first >= below:
                break
            kind, head = read_head(value)
            if issubclass(kind, Snapshot):
                begun.clear()  # what is older has been given up with it
            begun.append(turn_key(run_id, first, head.epoch))
        for key in begun:
            self.replace(offset, key)

    def _forget(self, offset: int, key: bytes) -> None:
        """Drop what is left of a record whose key has its tombstone."""
        self._rows[replaced_key(offset, key)] = None
        turn = turn_of_key(key)
        if turn is not None and offset > 0:  # a ghost has no row, but may be called like one
            self._history.forget(*turn)

    def _forget_all(self, keys: set[bytes]) -> None:
        rows = {row for row, _ in self._store.scan("replaced", b"") if row not in self._rows}
        rows.update(row for row, value in self._rows.items() if value is not None)
        for row in rows:
            offset, key = replaced_of(row)
            if key in keys:
                self._forget(offset, key)


def replaced_key(offset: int, key: bytes) -> bytes:
    """Return the row of a key that goes. The turns of a run go in order, the first one first.

    So whatever is gone of a run, its beginning is, and nobody takes the rest for a whole.
    """
    turn = turn_of_key(key)
    return number_key(offset) + number_key(0 if turn is None else turn[1]) + key


def replaced_of(row: bytes) -> Row:
    return int.from_bytes(row[:8], "big"), row[16:]
