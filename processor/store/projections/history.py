"""history: run id, first event number -> the turn as it is in the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from processor.core.records.snapshot import EntityDelta, EntitySnapshot, Snapshot
from processor.core.records.turn import Turn
from processor.shard.ports import Confirmed
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import Handler
from processor.store.rows import place_key

__all__ = ("History",)

_NONE: Final[dict[int, bytes | None]] = {}


class History:
    families = ("history",)

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._rows: dict[str, dict[int, bytes | None]] = {}

    def takes(self) -> Mapping[type, Handler]:
        return dict.fromkeys((Turn, EntityDelta, Snapshot, EntitySnapshot), self._put)

    def mutations(self) -> list[Mutation]:
        return [
            ("history", place_key(run_id, first), value)
            for run_id, rows in self._rows.items()
            for first, value in rows.items()
        ]

    def written(self) -> None:
        self._rows.clear()

    def forget(self, run_id: str, first: int) -> None:
        self._rows.setdefault(run_id, {})[first] = None

    def turn(self, run_id: str, first: int) -> bytes | None:
        rows = self._rows.get(run_id, _NONE)
        return (
            rows[first] if first in rows else self._store.get("history", place_key(run_id, first))
        )

    def turns(self, run_id: str, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the turns of a run that are written, in order, each with its first event."""
        prefix = run_id.encode() + b"\0"
        for key, value in self._store.scan("history", place_key(run_id, first)):
            if not key.startswith(prefix):
                return
            yield int.from_bytes(key[-8:], "big"), value

    def all_turns(self, run_id: str, first: int = 0) -> list[tuple[int, bytes]]:
        """Return the turns of a run from an event on, written or not, in order, each with its first
        event.
        """
        turns: dict[int, bytes | None] = dict(self.turns(run_id, first))
        for number, value in reversed(self._rows.get(run_id, _NONE).items()):
            if value is not None and number < first:
                break  # turns come in order
            turns[number] = value
        return sorted((number, value) for number, value in turns.items() if value is not None)

    def _put(self, turn: Turn | Snapshot, confirmed: Confirmed) -> None:
        self._rows.setdefault(turn.run_id, {})[turn.first] = confirmed.value
