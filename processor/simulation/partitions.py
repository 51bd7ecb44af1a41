"""The partitions of a simulated broker: the log with its cleaner, the inputs, the outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from processor.codec.records import decode_as, encode
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.records.effects import Publish
from processor.shard.ports import LogRecord, OutputRecord

__all__ = (
    "COMPACTION_LAG_MS",
    "DELETE_RETENTION_MS",
    "InputPartition",
    "LogPartition",
    "Output",
    "Outputs",
    "Portion",
    "Transactions",
)

COMPACTION_LAG_MS = 3_600_000
DELETE_RETENTION_MS = 7 * 24 * 3_600_000
"""``min.compaction.lag.ms`` and ``delete.retention.ms`` of ``events``: see topics/events.yaml."""

T = TypeVar("T")

Output = tuple[int, int, OutputRecord]
"""A committed output: the log offset of its turn, its place in the turn, and the record."""


class LogPartition:
    """One partition of ``events``. Compaction may leave holes; offsets are never used again.

    ``written`` is all that was ever appended, whatever a cleaner took since.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.written: list[LogRecord] = []
        self._records: dict[int, LogRecord] = {}
        self._appended_ms: dict[int, int] = {}
        self._cleaned_ms: dict[int, int] = {}
        self._now_ms = now_ms
        self.first = 0
        self.end = 0

    def copy(self) -> LogPartition:
        """Return what is left of it now, for whoever wants to try something."""
        log = LogPartition(self._now_ms)
        log.first, log.end, log.written = self.first, self.end, list(self.written)
        log._records, log._appended_ms = dict(self._records), dict(self._appended_ms)
        log._cleaned_ms = dict(self._cleaned_ms)
        return log

    def append(self, key: bytes, value: bytes | None) -> int:
        offset = self.end
        record = self._records[offset] = LogRecord(offset, key, value)
        self.written.append(record)
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

    def compact(self, below: int, rewritten: int | None = None) -> int:
        """Keep the last record of each key below an offset; return how many were removed.

        A tombstone stays for ``delete.retention.ms`` after a cleaner first came upon it. A cleaner
        goes segment by segment: one that dies has ``rewritten`` the log up to some offset only.
        """
        now_ms = self._now_ms()
        found = [record for offset, record in self._records.items() if offset < below]
        last = {record.key: record.offset for record in found}
        removed = 0
        for offset, key, value in found:
            if rewritten is not None and offset >= rewritten:
                break
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


@dataclass(frozen=True, slots=True)
class Portion:
    """A shard's part of a transaction. ``position``: all below is there once it is committed.

    ``messages`` are the records among it that are for inputs, of this namespace or another one.
    """

    partition: int
    turns: Sequence[tuple[int, Sequence[OutputRecord]]]
    position: int
    messages: Sequence[Publish] = ()


class Outputs:
    """What one shard has published.

    ``position`` is written together with the records: the log offset below which all is there.
    ``publisher`` is the process that wrote it. ``written_at`` has, for each turn by its offset,
    where the log ended just then. ``again``: turns that an owner handed over although it had been
    told that they are there.
    """

    def __init__(self, log: LogPartition) -> None:
        self.records: list[Output] = []
        self.written_at: dict[int, int] = {}
        self.again: list[int] = []
        self._log = log
        self.position = 0
        self.publisher = ""

    def write(self, sent: Portion, publisher: str) -> None:
        for offset, records in sent.turns:
            assert offset >= self.position, f"turn {offset} again, after {self.position}"
            self.records += [(offset, index, record) for index, record in enumerate(records)]
            self.position = offset + 1
            self.written_at[offset] = self._log.end
        assert sent.position >= self.position, f"position {sent.position}, after {self.position}"
        self.position, self.publisher = sent.position, publisher

    def of(self, cls: type[T]) -> list[T]:
        """Return the committed records of one kind, as a ``read_committed`` consumer sees them."""
        return [record for _, _, record in self.records if isinstance(record, cls)]


class Transactions:
    """The transactional producers of all processes; each has one open transaction at the most.

    ``take`` gets the messages of those that are committed.
    """

    def __init__(self, outputs: Sequence[Outputs], take: Callable[[Publish], None]) -> None:
        self._outputs = outputs
        self._take = take
        self._epochs: Counter[str] = Counter()
        self._open: dict[str, Sequence[Portion]] = {}

    def begin(self, name: str) -> int:
        """Begin a producer's next epoch: what the one before has open never will be committed."""
        self._open.pop(name, None)
        self._epochs[name] += 1
        return self._epochs[name]

    def send(self, name: str, epoch: int, sent: Sequence[Portion], *, is_member: bool) -> bool:
        """Take records and positions in; what a former epoch or generation sends is refused."""
        if epoch != self._epochs[name] or not is_member:
            return False
        self._open[name] = sent
        return True

    def commit(self, name: str, epoch: int) -> bool:
        """Write what a producer has open, or nothing where it was fenced."""
        if epoch != self._epochs[name]:
            return False
        for sent in self._open.pop(name, ()):
            self._outputs[sent.partition].write(sent, name)
            for message in sent.messages:
                self._take(message)
        return True

    def abort(self, name: str, epoch: int) -> None:
        """Give up what a producer has open, if it is still the one."""
        if epoch == self._epochs[name]:
            self._open.pop(name, None)

    def is_open(self, partition: int) -> bool:
        """Whether a transaction may yet change what is published of a shard."""
        return any(each.partition == partition for sent in self._open.values() for each in sent)

    def settle(self, partition: int) -> None:
        """Wait until nobody has anything open on a shard: its time-out ends it."""
        for name, sent in list(self._open.items()):
            if any(each.partition == partition for each in sent):
                self.begin(name)
