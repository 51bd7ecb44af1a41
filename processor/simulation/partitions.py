"""The partitions of a simulated broker: the log with its cleaner, the inputs, the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from processor.codec.records import decode_as, encode
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.shard.ports import LogRecord, OutputRecord

__all__ = (
    "COMPACTION_LAG_MS",
    "DELETE_RETENTION_MS",
    "InputPartition",
    "LogPartition",
    "Output",
    "Outputs",
)

COMPACTION_LAG_MS = 3_600_000
DELETE_RETENTION_MS = 7 * 24 * 3_600_000
"""``min.compaction.lag.ms`` and ``delete.retention.ms`` of ``events``: see topics/events.yaml."""

T = TypeVar("T")

Output = tuple[int, int, OutputRecord]
"""A committed output: the log offset of its turn, its place in the turn, and the record."""


class LogPartition:
    """One partition of ``events``. Compaction may leave holes; offsets are never used again."""

    def __init__(self, now_ms: Callable[[], int] = lambda: 0) -> None:
        self._records: dict[int, LogRecord] = {}
        self._appended_ms: dict[int, int] = {}
        self._cleaned_ms: dict[int, int] = {}
        self._now_ms = now_ms
        self.first = 0
        self.end = 0

    def append(self, key: bytes, value: bytes | None) -> int:
        offset = self.end
        self._records[offset] = LogRecord(offset, key, value)
        self._appended_ms[offset] = self._now_ms()
        self.end += 1
        return offset

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        for offset in range(max(first, self.first), min(end, self.end)):
            record = self._records.get(offset)
            if record is not None:
                yield record

    def cleanable(self) -> int:
        """Return the offset up to which a cleaner may come: below it all is old enough."""
        old_ms = self._now_ms() - COMPACTION_LAG_MS
        for offset, appended_ms in self._appended_ms.items():
            if appended_ms > old_ms:
                return offset
        return self.end

    def compact(self, below: int) -> int:
        """Keep the last record of each key below an offset; return how many were removed.

        A tombstone stays for ``delete.retention.ms`` after a cleaner first came upon it.
        """
        now_ms = self._now_ms()
        found = [record for offset, record in self._records.items() if offset < below]
        last = {record.key: record.offset for record in found}
        removed = 0
        for offset, key, value in found:
            gone = last[key] != offset
            if not gone and value is None:
                cleaned_ms = self._cleaned_ms.setdefault(offset, now_ms)
                gone = now_ms - cleaned_ms > DELETE_RETENTION_MS
            if gone:
                del self._records[offset], self._appended_ms[offset]
                removed += 1
        return removed


class InputPartition:
    """One partition of an input."""

    def __init__(self, cls: type) -> None:
        self.first = 0
        self._cls = cls
        self._records: list[bytes] = []
        self._readers: list[Callable[[], None]] = []

    @property
    def end(self) -> int:
        return self.first + len(self._records)

    def append(self, record: ClientCommand | ActivityReport | TimerDue) -> None:
        self.append_bytes(encode(record))

    def append_bytes(self, value: bytes) -> None:
        """Take whatever a stranger wrote."""
        self._records.append(value)
        for wake in list(self._readers):
            wake()

    def get(self, offset: int) -> ClientCommand | ActivityReport | TimerDue:
        """Return a record; raises ``SchemaMismatch`` where it is none."""
        record: ClientCommand | ActivityReport | TimerDue
        record = decode_as(self._cls, self._records[offset - self.first])
        return record

    def get_bytes(self, offset: int) -> bytes:
        return self._records[offset - self.first]

    def truncate(self, first: int) -> None:
        """Drop what is below ``first``, as retention does."""
        del self._records[: first - self.first]
        self.first = first

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._readers.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        if wake in self._readers:
            self._readers.remove(wake)


class Outputs:
    """What one shard has published, and the transactional id that fences its owners.

    ``position`` is written together with the records: the log offset below which all is there.
    """

    def __init__(self) -> None:
        self.records: list[Output] = []
        self.position = 0
        self._fence = 0

    def fence(self) -> int:
        """Begin a new owner's session: what an earlier one has not committed never will be."""
        self._fence += 1
        return self._fence

    def commit(self, session: int, batch: Sequence[tuple[int, Sequence[OutputRecord]]]) -> bool:
        """Write the records of some turns and the position, or nothing where fenced."""
        if session != self._fence:
            return False
        for offset, records in batch:
            assert offset >= self.position, f"turn {offset} again, after {self.position}"
            self.records += [(offset, index, record) for index, record in enumerate(records)]
            self.position = offset + 1
        return True

    def of(self, cls: type[T]) -> list[T]:
        """Return the committed records of one kind, as a ``read_committed`` consumer sees them."""
        return [record for _, _, record in self.records if isinstance(record, cls)]
