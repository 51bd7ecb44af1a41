"""The records on their way into the log: in order, acknowledged in order, by nobody but us.

Each is of one of three types: of a run, of the shard itself, or a tombstone.

The offsets of acknowledged appends have to be contiguous. A gap means that somebody else wrote: a
later claim in it, or anything under one, ends our ownership; what an earlier owner still had on its
way is a ghost, which counts for nobody and is deleted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from processor.core.nouns.run import Summary
from processor.core.records.marks import Answered, Mark
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Claim, Purged, Turn
from processor.errors import ReleaseTooOld
from processor.shard.ports import Confirmed, Log, Replaced
from processor.shard.recovery.survey import entry_of, stranger
from processor.shard.turns.cache import Entry

__all__ = ("Appended", "Flight", "Ghost", "RunRecord", "ShardLost", "ShardRecord", "Tombstone")


class ShardLost(Exception):
    """Somebody else owns the shard now: drop everything that is not confirmed."""


@dataclass(slots=True)
class Appended(Confirmed):
    """A record on its way into the log, confirmed once it is acknowledged and has its offset.

    ``after``: what is called when it is confirmed, and ``answers`` how much of it only waits for
    what is before it.
    """

    after: list[Callable[[], None]] = field(default_factory=list)
    answers: int = 0


@dataclass(slots=True)
class RunRecord(Appended):
    """A turn, or where an attempt stands. ``summary`` is that of its run after it."""

    record: Turn | AttemptRecord | Snapshot
    summary: Summary
    entry: Entry = field(kw_only=True)


@dataclass(slots=True)
class ShardRecord(Appended):
    """A record of the shard itself: a mark, what a command was told, or that a run is gone."""

    record: Mark | Answered | Purged


@dataclass(slots=True)
class Tombstone:
    """What deletes a record of the log, on its way there. ``forgotten``: the row that it is for."""

    key: bytes
    forgotten: Replaced
    after: list[Callable[[], None]] = field(default_factory=list)
    offset: int = -1
    value: None = None
    answers: int = 0


@dataclass(slots=True)
class Ghost:
    """A record that came after our claim, of an earlier owner or of somebody else."""

    offset: int
    key: bytes


class Flight:
    """``ghosts`` are those that were found since somebody took them.

    ``answers`` counts what waits for records, and is none itself.
    """

    def __init__(self, partition: int, log: Log, epoch: int, topic: str = "events") -> None:
        self._partition = partition
        self._topic = topic
        self._told = False
        self._log = log
        self._epoch = epoch
        self._expected = epoch + 1
        self._in_flight: deque[Appended | Tombstone] = deque()
        self.bytes = 0
        self.answers = 0
        self.ghosts: list[Ghost] = []

    def __len__(self) -> int:
        return len(self._in_flight)

    @property
    def waiting(self) -> bool:
        """Whether ``acknowledged`` may have something to say."""
        return self._log.waiting

    @property
    def number(self) -> int:
        """A number for the key of the next record: another one for each record of an epoch."""
        return self._expected + len(self._in_flight)

    def append(self, appended: Appended | Tombstone) -> None:
        self.bytes += len(appended.value or b"")
        self._log.append(appended.key, appended.value)
        self._in_flight.append(appended)

    def then(self, callback: Callable[[], None]) -> None:
        """Call back once every record before now is acknowledged."""
        if self._in_flight:
            last = self._in_flight[-1]
            last.after.append(callback)
            last.answers += 1
            self.answers += 1
        else:
            callback()

    def acknowledged(self) -> list[Appended | Tombstone]:
        """Return the records that the log has taken since the last call. Raises ``ShardLost``."""
        confirmed: list[Appended | Tombstone] = []
        in_flight = self._in_flight
        for offset in self._log.acknowledged():
            if offset != self._expected:
                offset = self._check_gap(offset, in_flight[0])
            appended = in_flight.popleft()
            appended.offset = offset
            self.bytes -= len(appended.value or b"")
            self.answers -= appended.answers
            confirmed.append(appended)
            self._expected = offset + 1
        return confirmed

    def _check_gap(self, offset: int, appended: Appended | Tombstone) -> int:
        """Find out who else wrote; return the offset of our record, or raise ``ShardLost``."""
        end = offset + 1 if offset >= 0 else self._log.bounds()[1]
        for record in self._log.read(self._expected, end):
            if record.key == appended.key and record.value == appended.value:
                return record.offset
            if record.value is None:
                continue
            try:
                written = entry_of(self._topic, self._partition, record)
            except ReleaseTooOld:  # the takeover says what to do
                self._lose("a later release wrote", record.offset)
            if isinstance(written, Claim):
                self._lose(f"{written.owner} claimed it", record.offset)
            if written is None:
                self._say_stranger(record.offset)
            elif written.epoch > self._epoch:
                self._lose("a later owner wrote", record.offset)
            self.ghosts.append(Ghost(record.offset, record.key))
        raise ShardLost(f"shard {self._partition}: our record is not in the log below {end}")

    def _say_stranger(self, offset: int) -> None:
        if not self._told:
            self._told = True
            stranger(self._topic, self._partition, offset)

    def _lose(self, who: str, offset: int) -> NoReturn:
        raise ShardLost(
            f"shard {self._partition}: {who} at log offset {offset}, after our claim at "
            f"{self._epoch}"
        )
