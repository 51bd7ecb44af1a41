"""What the log holds in vain is deleted: replaced records, ghosts, purged runs, former claims.

Nobody ever acts on a tombstone: a record that counts says what is gone, and the tombstones follow
its acknowledgement. A record goes only when nothing can need it any more: when a mark above the
record that replaced it is acknowledged (so that no position, origin or request is lost with it),
and says that everything below that was delivered and published (so that a takeover, which derives
undelivered effects from records, has nothing to derive from it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from processor.core.records.marks import Mark
from processor.shard.flight import Tombstone
from processor.shard.ports import Replaced, Tables

__all__ = ("Forgetting",)

_AT_ONCE: Final = 64
"""Tombstones on their way at once."""


class Forgetting:
    """``more``: whether there may be keys that can be given up now."""

    def __init__(self, tables: Tables, append: Callable[[Tombstone], None]) -> None:
        self._tables = tables
        self._append = append
        self._below = 1
        self._under_way: set[Replaced] = set()
        self.more = True

    def covered(self, mark: Mark, offset: int) -> None:
        """Note that a mark was acknowledged at an offset."""
        self._below = max(self._below, min(mark.delivered, mark.published, offset))
        self.more = True

    def is_waiting(self) -> bool:
        """Return whether something waits for a mark that covers more."""
        return bool(self._tables.replaced(1 << 62, 1))

    def step(self) -> None:
        """Append tombstones for what can be given up."""
        free = _AT_ONCE - len(self._under_way)
        if free <= 0:
            return
        rows = self._tables.replaced(self._below, _AT_ONCE)
        found = [row for row in rows if row not in self._under_way]
        for row in found[:free]:
            self._under_way.add(row)
            self._append(Tombstone(row[1], row))
        self.more = False

    def forgotten(self, row: Replaced) -> None:
        """Note that a tombstone was acknowledged."""
        self._under_way.discard(row)
        self.more = True
