"""The rows of runs and tables of users: what one partition's records of Kafka go through."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from processor.shard.ports import LogRecord
from processor.shard.recovery.survey import entry_of, stranger
from processor.views.place import LogEntry
from processor.views.rows import Rows
from processor.views.stream.late import LateTable, ReadRecords
from processor.views.tables.stored import TableRows

__all__ = ("RunsFold", "log_entries")


class RunsFold:
    """Gives the records of one partition of ``topic`` to rows, and to tables of the user's.

    A table that is behind the rows reads the log by itself (``read``) until it is where they are.
    """

    def __init__(
        self,
        topic: str,
        rows: Rows,
        tables: Sequence[TableRows] = (),
        read: ReadRecords | None = None,
    ) -> None:
        self._rows = rows
        self._entries = partial(log_entries, topic, rows.partition)
        self._tables = [each for each in tables if each.position >= rows.position]
        self._late: list[LateTable] = []
        for each in tables:
            if each.position < rows.position:
                assert read is not None, "tables come with what reads the log"
                self._late.append(LateTable(each, rows, read, self._entries))

    @property
    def position(self) -> int:
        position: int = self._rows.position
        return position

    def take(self, records: Sequence[LogRecord]) -> None:
        """Fold records. Raises ``ReleaseTooOld`` where a later release wrote one."""
        there = [each for each in self._late if each.joins()]
        self._late = [each for each in self._late if each not in there]
        self._tables += [each.table for each in there]
        entries = self._entries(records)
        self._rows.take(entries)
        for table in self._tables:
            table.take(entries)

    def close(self) -> None:
        for late in self._late:
            late.close()
        for table in self._tables:
            table.close()
        self._rows.close()


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
