"""The rows of runs and tables of users: what one partition's records of Kafka go through."""

from __future__ import annotations

from collections.abc import Sequence

from processor.shard.ports import LogRecord
from processor.shard.recovery.survey import entry_of, stranger
from processor.views.rows import LogEntry, Rows
from processor.views.tables.stored import TableRows

__all__ = ("RunsFold", "log_entries")


class RunsFold:
    """Gives the records of one partition of ``topic`` to rows, and to tables of the user's.

    Each passes over what it has taken. A table that stands still holds nothing up.
    """

    def __init__(self, topic: str, rows: Rows, tables: Sequence[TableRows] = ()) -> None:
        self._topic = topic
        self._rows = rows
        self._tables = tables

    @property
    def position(self) -> int:
        rows: int = self._rows.position
        return min([rows, *(each.position for each in self._tables if not each.error)])

    def take(self, records: Sequence[LogRecord]) -> None:
        """Fold records. Raises ``ReleaseTooOld`` where a later release wrote one."""
        entries = log_entries(self._topic, self._rows.partition, records)
        self._rows.take(entries)
        for table in self._tables:
            table.take(entries)

    def close(self) -> None:
        self._rows.close()
        for table in self._tables:
            table.close()


def log_entries(topic: str, partition: int, records: Sequence[LogRecord]) -> list[LogEntry]:
    """Return what records of the log say. Raises ``ReleaseTooOld`` where a later release wrote one.

    What is no record of ours is logged.
    """
    entries, strangers = [], []
    for record in records:
        entry = None
        if record.value is not None:
            entry = entry_of(topic, partition, record)
            if entry is None:
                strangers.append(record.offset)
        entries.append(LogEntry(record.offset, entry, record.value))
    if strangers:
        stranger(topic, partition, strangers[0], len(strangers))
    return entries
