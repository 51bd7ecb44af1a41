"""A table that is behind the rows of its partition: it reads the log by itself until it is there.

So a table that is new, or is folded anew, holds neither the rows of runs up nor other tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from threading import Event, Lock, Thread
from typing import Final, TypeAlias

from processor.errors import LogTruncated
from processor.shard.ports import LogRecord
from processor.views.place import LogEntry
from processor.views.rows import Rows
from processor.views.tables.stored import TableRows

__all__ = ("LateTable", "ReadRecords")

_log = logging.getLogger("processor.views")

_GROUP: Final = 1_000
_LOOK_S: Final = 0.05
_AGAIN_S: Final = 5.0

ReadRecords: TypeAlias = Callable[[int, int], Iterable[LogRecord]]
"""As ``ReadLog``, with keys."""


class LateTable:
    """Follows ``rows`` in a thread of its own, until it ``joins`` them or is closed."""

    def __init__(
        self,
        table: TableRows,
        rows: Rows,
        read: ReadRecords,
        entries: Callable[[Sequence[LogRecord]], list[LogEntry]],
    ) -> None:
        self.table = table
        self._rows = rows
        self._read = read
        self._entries = entries
        self._lock = Lock()
        self._stopped = Event()
        Thread(target=self._run, name=f"table-{table.name}", daemon=True).start()

    def joins(self) -> bool:
        """Return whether the table is where the rows are; then it takes nothing by itself."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self.table.position >= self._rows.position or self.table.error:
                self._stopped.set()
            return self._stopped.is_set()
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the table. Its thread may wait for the log for a while, and takes nothing more."""
        self._stopped.set()
        with self._lock:
            self.table.close()

    def _run(self) -> None:
        while not self._stopped.is_set() and not self.table.error:
            end: int = self._rows.position
            if self.table.position >= end:
                self._stopped.wait(_LOOK_S)
                continue
            try:
                self._fold(end)
            except LogTruncated as error:
                with self._lock:
                    if not self._stopped.is_set():
                        self.table.stand_still(str(error))
            except Exception as error:  # a broker that is away, a disk that is full
                _log.warning(
                    "table %s of partition %d cannot go on at offset %d (%s: %s): it is tried "
                    "again in %g s",
                    self.table.name,
                    self.table.partition,
                    self.table.position,
                    type(error).__name__,
                    error,
                    _AGAIN_S,
                )
                self._stopped.wait(_AGAIN_S)

    def _fold(self, end: int) -> None:
        """Take what the log has up to an offset, in groups."""
        records = iter(self._read(self.table.position, end))
        while not self.table.error:
            group = list(islice(records, _GROUP))
            until = group[-1].offset + 1 if len(group) == _GROUP else end
            entries = self._entries(group)
            with self._lock:
                if self._stopped.is_set():
                    return
                self.table.take(entries, until)
            if until >= end:
                return
