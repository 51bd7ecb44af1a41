"""State tables: a cache of the fold of a shard's log, on local disk (RocksDB) or in memory."""

from __future__ import annotations

from pathlib import Path

from processor.store.projections import FAMILIES
from processor.store.rocks import Rocks
from processor.store.tables import StateTables

__all__ = ("open_tables",)


def open_tables(path: Path, identity: str) -> StateTables:
    """Open (or make) the tables in a directory; ``StoreCorrupt`` says that they are to be wiped."""
    store = Rocks(path, FAMILIES, marked=True)
    try:
        return StateTables(store, identity)
    except BaseException:
        store.close()
        raise
