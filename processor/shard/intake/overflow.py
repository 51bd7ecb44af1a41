"""Messages of a shard to itself that are in the log and not in memory, read again in their turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from processor.core.data.cause import Origin
from processor.core.records.effects import Message
from processor.core.records.turn import Claim
from processor.shard.messages.border import Border
from processor.shard.ports import NEVER_MS, Log, LogRecord, Tables
from processor.shard.recovery.owed import Owing
from processor.shard.recovery.survey import entry_of

__all__ = ("Overflow",)

_RECORDS_AT_ONCE: Final = 64
"""So many are looked at in one go: other inputs wait meanwhile."""


class Overflow:
    """The messages of all records from one on: ``first`` is the next of them that is read.

    It keeps two offsets, however many those are, and a reader that fetches ahead.

    What it reads is in the log until it is delivered: nothing that sends a message which has not
    arrived is given up before.
    """

    def __init__(
        self, partition: int, topic: str, log: Log, tables: Tables, border: Border
    ) -> None:
        self._partition = partition
        self._topic = topic
        self._log = log
        self._tables = tables
        self._border = border
        self._owing: Owing | None = None
        self._reader: Iterator[LogRecord | None] | None = None
        self.first = self._end = self._reads_to = 0

    def __bool__(self) -> bool:
        return self.first < self._end

    def add(self, offset: int) -> None:
        """Leave the messages of a record in the log. Offsets only grow."""
        if not self:
            self.first = offset
            self._owing = Owing(self._tables, offset, NEVER_MS, self._border)
        assert offset >= self._end - 1, f"offset {offset} comes after those below {self._end}"
        self._end = offset + 1

    def read(self) -> Iterator[tuple[int, int, list[tuple[Message, Origin]]]]:
        """Yield the offset, the bytes and the messages of some records; they are left no more.

        It does not block: nothing is yielded where nothing has arrived. Whoever stops reading gets
        the rest another time.
        """
        owing = self._owing
        assert owing is not None, "something was left"
        for _ in range(_RECORDS_AT_ONCE):
            if self._reader is None:
                self._reads_to = self._end
                self._reader = self._log.read_along(self.first, self._end)
            try:
                record = next(self._reader)
            except StopIteration:
                self._reader = None
                self.first = self._reads_to
                if not self:
                    self._owing = None
                    return
                continue
            if record is None:
                return
            self.first = record.offset + 1
            if found := self._messages(owing, record):
                yield record.offset, len(record.value or b""), found

    def close(self) -> None:
        """Read no more."""
        self._reader = None

    def _messages(self, owing: Owing, record: LogRecord) -> list[tuple[Message, Origin]]:
        if record.value is None:
            return []
        entry = entry_of(self._topic, self._partition, record)
        if entry is None or isinstance(entry, Claim):
            return []
        owing.collect_known(record.offset, record.key, record.value, entry)
        return [
            (each.effect, Origin(self._log.id, self._partition, each.offset, each.index))
            for each in owing.drained()
            if isinstance(each.effect, Message)
        ]
