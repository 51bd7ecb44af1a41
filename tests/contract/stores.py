"""The stores under the tables: in memory, and RocksDB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from processor.store.keyvalue import KeyValue, Memory
from processor.store.projections import FAMILIES
from processor.store.rocks import Rocks, destroy

IDENTITY = "events-0@log"


class Store:
    """Opens the same store again and again; ``wipe`` deletes it."""

    def __init__(self, open: Callable[[], KeyValue], wipe: Callable[[], None]) -> None:
        self._open, self._wipe = open, wipe
        self.held = open()

    def again(self) -> KeyValue:
        self.held.close()
        self.held = self._open()
        return self.held

    def wiped(self) -> KeyValue:
        self.held.close()
        self._wipe()
        self.held = self._open()
        return self.held


def made(kind: str, path: Path) -> Store:
    if kind == "rocks":
        return Store(lambda: Rocks(path, FAMILIES, marked=True), lambda: destroy(path))
    disk = [Memory()]
    return Store(lambda: disk[0], lambda: disk.__setitem__(0, Memory()))
