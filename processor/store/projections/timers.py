"""timers: due time, run id, kind, id, attempt -> SetTimer: timers that are set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from processor.core.records.effects import ClearTimer, SetTimer
from processor.shard.ports import Confirmed
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import Handler
from processor.store.rows import number_key, pack, reader

__all__ = ("TimerRows",)

_timer: Final = reader(SetTimer)


class TimerRows:
    families = ("timers",)

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._rows: dict[bytes, bytes | None] = {}

    def takes(self) -> Mapping[type, Handler]:
        return {SetTimer: self._set, ClearTimer: self._clear}

    def mutations(self) -> list[Mutation]:
        return [("timers", key, packed) for key, packed in self._rows.items()]

    def written(self) -> None:
        self._rows.clear()

    def due(self, after_ms: int, limit: int, until_ms: int) -> list[SetTimer]:
        """Return those that are written: see ``Tables.timers``."""
        rows: list[SetTimer] = []
        for _, value in self._store.scan("timers", _due_key(after_ms + 1)):
            timer: SetTimer = _timer(value)
            if timer.due_ms > until_ms:
                break
            if len(rows) >= limit and timer.due_ms != rows[-1].due_ms:
                break
            rows.append(timer)
        return rows

    def _set(self, timer: SetTimer, confirmed: Confirmed) -> None:
        self._rows[_key(timer)] = pack(timer)

    def _clear(self, timer: ClearTimer, confirmed: Confirmed) -> None:
        self._rows[_key(timer)] = None


def _due_key(due_ms: int) -> bytes:
    return number_key(max(due_ms, 0))


def _key(timer: SetTimer | ClearTimer) -> bytes:
    name = f"{timer.run_id}\0{timer.kind}\0{timer.id}\0{timer.attempt}"
    return _due_key(timer.due_ms) + name.encode()
