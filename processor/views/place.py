"""How far in the log a fold is, and whether the log is still the one that it was folded from.

A record counts if and only if it names the last claim before it; what does not is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, Protocol
from zlib import crc32

from processor.codec.records import LogRecordBody
from processor.core.records.marks import Answered, Mark
from processor.core.records.turn import Claim
from processor.views.fold import Folded

__all__ = (
    "PLACE_COLUMNS",
    "SET_PLACE",
    "LogEntry",
    "LogPlace",
    "LogRecordLike",
    "ReadLog",
    "changed",
    "counts",
    "untaken",
)

PLACE_COLUMNS: Final = (
    "position INTEGER, epoch INTEGER, time_ms INTEGER, last INTEGER, digest INTEGER"
)
SET_PLACE: Final = "position = ?, epoch = ?, time_ms = ?, last = ?, digest = ?"


class LogRecordLike(Protocol):
    """A record of the log."""

    @property
    def offset(self) -> int: ...

    @property
    def value(self) -> bytes | None: ...


ReadLog = Callable[[int, int], Iterable[LogRecordLike]]
"""Yields what the log keeps from one offset up to another; blocks."""


class LogEntry(NamedTuple):
    """A record of the log, and its bytes; ``record`` is None for what is no record of ours, or a
    tombstone.
    """

    offset: int
    record: LogRecordBody | None
    value: bytes | None = None


class LogPlace(NamedTuple):
    """How far a fold is: the offset after the last record, the claim under which that counts, and
    when the last one was made that says so (0: none did). ``last`` is the offset of the last record
    with a value (-1: none), and ``digest`` a checksum of it.
    """

    position: int = 0
    epoch: int = -1
    time_ms: int = 0
    last: int = -1
    digest: int = 0

    def after(self, entry: LogEntry) -> tuple[LogPlace, Folded | None]:
        """Return the place behind a record, and the record if it is one of a run, and counts."""
        offset, record, value = entry
        place = self._replace(position=offset + 1)
        if value is not None:
            place = place._replace(last=offset, digest=crc32(value))
        if isinstance(record, Claim):
            return place._replace(epoch=max(self.epoch, offset)), None
        if record is None or not counts(record.epoch, self.epoch):
            return place, None
        time_ms = max(self.time_ms, record.time_ms)
        place = place._replace(epoch=record.epoch, time_ms=time_ms)
        return place, None if isinstance(record, Mark | Answered) else record

    def ended(self, end: int | None) -> LogPlace:
        """Return the place where all was looked at below ``end``."""
        return self._replace(position=max(self.position, end or 0))


def changed(place: LogPlace, read: ReadLog) -> str:
    """Return why the log is not the one that a fold comes of; "": it is.

    It has another record where the last one was that was taken. One that the cleaner has removed
    says nothing.
    """
    for record in read(place.last, place.last + 1) if place.last >= 0 else ():
        value = record.value if record.offset == place.last else None
        if value is not None and crc32(value) != place.digest:
            return (
                f"the log has another record at offset {place.last} than what was taken there: it "
                "was put back to an earlier state (a backup)"
            )
    return ""


def untaken(entries: Iterable[LogEntry], place: LogPlace) -> Iterator[LogEntry]:
    """Yield the records that a fold at a place has not taken."""
    return (entry for entry in entries if entry.offset >= place.position)


def counts(named: int, epoch: int) -> bool:
    """Return whether a record counts that names a claim, where ``epoch`` is the last one known.

    A later one than that was there, and has gone since: records name claims that exist.
    """
    return named >= epoch
