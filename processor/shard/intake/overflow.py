"""Messages of a shard to itself that are in the log and not in memory, read again in their turn."""

from __future__ import annotations

from collections.abc import Iterator

from processor.core.data.cause import Origin
from processor.core.records.effects import Message
from processor.core.records.turn import Claim
from processor.shard.messages.border import Border
from processor.shard.ports import NEVER_MS, Log, Tables
from processor.shard.recovery.owed import Owing
from processor.shard.recovery.survey import entry_of

__all__ = ("Overflow",)


class Overflow:
    """The messages of all records from one on. It keeps two offsets, however many those are.

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
        self._first = self._end = 0

    def __bool__(self) -> bool:
        return self._first < self._end

    def add(self, offset: int) -> None:
        """Leave the messages of a record in the log. Offsets only grow."""
        if not self:
            self._first = offset
            self._owing = Owing(self._tables, offset, NEVER_MS, self._border)
        assert offset >= self._end - 1, f"offset {offset} comes after those below {self._end}"
        self._end = offset + 1

    def read(self) -> Iterator[tuple[int, int, list[tuple[Message, Origin]]]]:
        """Yield the offset, the bytes and the messages of each record; it is left no more. Blocks.

        Whoever stops reading gets the rest another time.
        """
        owing = self._owing
        assert owing is not None, "something was left"
        for record in self._log.read(self._first, self._end):
            self._first = record.offset + 1
            if record.value is None:
                continue
            entry = entry_of(self._topic, self._partition, record)
            if entry is None or isinstance(entry, Claim):
                continue
            owing.collect_known(record.offset, record.key, record.value, entry)
            found = [
                (each.effect, Origin(self._log.id, self._partition, each.offset, each.index))
                for each in owing.drained()
                if isinstance(each.effect, Message)
            ]
            if found:
                yield record.offset, len(record.value), found
        self._first, self._owing = self._end, None
