"""meta: the checkpoint, the key of the last mark, and whose log it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from processor.core.records.turn import Positions
from processor.errors import StoreCorrupt
from processor.shard.ports import Checkpoint
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import Handler
from processor.store.rows import pack, reader

__all__ = ("Meta",)

_CHECKPOINT: Final = b"checkpoint"
_IDENTITY: Final = b"identity"
_MARK: Final = b"mark"

_stored: Final = reader(tuple[int, int, int, Positions, int, int, int])


class Meta:
    families = ("meta",)

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._mark: bytes | None = None
        self._checkpoint: Checkpoint | None = None

    def takes(self) -> Mapping[type, Handler]:
        return {}

    def mutations(self) -> list[Mutation]:
        rows: list[Mutation] = []
        if self._mark is not None:
            rows.append(("meta", _MARK, self._mark))
        if self._checkpoint is not None:
            rows.append(("meta", _CHECKPOINT, pack(_row(self._checkpoint))))
        return rows

    def written(self) -> None:
        self._mark = self._checkpoint = None

    def identify(self, identity: str) -> None:
        """Name the log. Raises ``StoreCorrupt`` where the tables are those of another one."""
        held = self._store.get("meta", _IDENTITY)
        if held is None:
            self._store.write([("meta", _IDENTITY, identity.encode())])
        elif held != identity.encode():
            raise StoreCorrupt(
                f"the state directory belongs to {held.decode(errors='replace')}, not to {identity}"
            )

    def reached(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def checkpoint(self) -> Checkpoint:
        if self._checkpoint is not None:
            return self._checkpoint
        value = self._store.get("meta", _CHECKPOINT)
        return Checkpoint() if value is None else Checkpoint(*_stored(value))

    def marked(self, key: bytes) -> bytes | None:
        """Note the key of a mark; return that of the mark before it."""
        before = self._mark or self._store.get("meta", _MARK)
        self._mark = key
        return before


def _row(checkpoint: Checkpoint) -> tuple[object, ...]:
    return (
        checkpoint.next_offset,
        checkpoint.epoch,
        checkpoint.level,
        checkpoint.positions,
        checkpoint.delivered,
        checkpoint.published,
        checkpoint.time_ms,
    )
