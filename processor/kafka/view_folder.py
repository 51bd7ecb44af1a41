"""The folder of a namespace's view: the rows of its partitions, tables, and who feeds them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from processor.errors import ProcessorError
from processor.store.lock import hold, holder
from processor.views.rows import Rows, open_rows, read_rows
from processor.views.tables.stored import StoredTable, read_tables

__all__ = ("ViewFolder",)

_LOCK: Final = "feeder.lock"
_LOOKUP_LOCK: Final = "lookup.lock"
_MEMBER: Final = "member"


class ViewFolder:
    """One process at a time feeds it; any may read it."""

    def __init__(self, views_dir: Path, namespace: str) -> None:
        self.path = views_dir / namespace

    def fed(self) -> AbstractContextManager[None]:
        """Be the one that feeds it. ``ProcessorError`` where another process is."""
        return self._held(_LOCK, "fed")

    def served(self) -> AbstractContextManager[None]:
        """Be the one that serves the look-up there. ``ProcessorError`` where another process is."""
        return self._held(_LOOKUP_LOCK, "served")

    @contextmanager
    def _held(self, lock: str, what: str) -> Iterator[None]:
        held = hold(self.path / lock)
        if held is None:
            raise ProcessorError(
                f"{self.path} is {what} by {holder(self.path / lock)}: give this process another "
                "--views-dir"
            )
        try:
            yield
        finally:
            os.close(held)

    @property
    def is_fed(self) -> bool:
        """Whether a process feeds it."""
        held = hold(self.path / _LOCK)
        if held is None:
            return True
        os.close(held)
        return False

    def member(self) -> str:
        """Return the name in the group of whoever feeds it, which is kept in it."""
        path = self.path / _MEMBER
        if not path.exists():
            partial = path.with_suffix(".new")
            partial.write_text(f"views-{secrets.token_hex(8)}")
            partial.replace(path)
        return path.read_text()

    def open(self, partition: int, log_id: str) -> Rows:
        """Open the rows of a partition, to feed them."""
        return open_rows(self.path, partition, log_id, histories=True)

    def read(self) -> list[Rows]:
        """Open the rows of all partitions that are there, to read them."""
        return read_rows(self.path)

    def tables(self, name: str) -> list[StoredTable]:
        """Open a table of the user's of all partitions that are there, to read it."""
        return read_tables(self.path, name)

    def table_names(self) -> list[str]:
        """Return the names of the user's tables that are there."""
        found = (path.stem for path in self.path.glob("table-*.sqlite"))
        return sorted({stem.removeprefix("table-").rpartition("-")[0] for stem in found})

    def drop(self) -> int:
        """Drop rows and tables, which nobody feeds; return how many files that were."""
        kinds = ("runs-*.sqlite*", "table-*.sqlite*")
        files = [file for kind in kinds for file in self.path.glob(kind)]
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)
