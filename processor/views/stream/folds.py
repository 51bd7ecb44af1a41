"""The rows of runs, as the fold of a partition that Kafka's records go through."""

from __future__ import annotations

from collections.abc import Sequence

from processor.shard.ports import LogRecord
from processor.shard.recovery.survey import entry_of, stranger
from processor.views.rows import LogEntry, Rows

__all__ = ("RunsFold", "log_entries")


class RunsFold:
    """Gives the records of one partition of ``topic`` to rows."""

    def __init__(self, topic: str, rows: Rows) -> None:
        self._topic = topic
        self._rows = rows

    @property
    def position(self) -> int:
        position: int = self._rows.position
        return position

    def take(self, records: Sequence[LogRecord]) -> None:
        """Fold records. Raises ``ReleaseTooOld`` where a later release wrote one."""
        self._rows.take(log_entries(self._topic, self._rows.partition, records))

    def close(self) -> None:
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
