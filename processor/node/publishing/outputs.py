"""What one shard has to publish, and what may keep it from being published."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple, Protocol

from processor.core.data.undelivered import Undelivered
from processor.core.records.effects import Publish, RunResult
from processor.errors import LogTruncated
from processor.node.publishing.faults import Asks, Fault, Place, PublishingFailed
from processor.node.publishing.undeliverable import NOWHERE, Letter, Outlets, Undeliverable
from processor.shard.ports import OutputRecord

__all__ = ("Batch", "Delays", "Output", "ShardOutputs")

_log = logging.getLogger("processor.kafka")

_CAREFUL_MAX: Final = 100
"""Records of a transaction in which some go one by one; it must end before its time-out."""

_AHEAD_TURNS: Final = 2_000
"""Turns whose topics are looked up together: those that are missing are waited for together."""

_SAY_EVERY_S: Final = 30.0
_REFRESH_S: Final = 3_600.0
"""An offset expires that was not committed for long (``offsets.retention.minutes``, 7 days)."""

_Turns = Sequence[tuple[int, Sequence[OutputRecord]]]


class Delays(Protocol):
    """How long to wait before something is tried again, ever longer."""

    def next_s(self) -> float: ...

    def reset(self) -> None: ...


class Output(NamedTuple):
    """A record of a transaction, or the dead letter in its place.

    ``alone``: it has to be in a request of its own, to learn whether it is refused.
    """

    place: Place
    record: OutputRecord
    letter: Letter | None
    alone: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """A shard's part of a transaction: turns, and the position in the log behind them."""

    shard: ShardOutputs
    turns: _Turns
    position: int
    records: int = 0
    size: int = 0


class ShardOutputs:
    """``ids`` are those of the shard's topics. ``log_is_new``: whether no turn was ever written.

    It may block. Only ``publish`` and ``close`` are called from the event loop; all else belongs
    to ``Publishing``.
    """

    def __init__(
        self,
        partition: int,
        ids: str,
        outlets: Outlets,
        now: Callable[[], float],
        delays: Delays,
        log_is_new: Callable[[], bool],
    ) -> None:
        self.partition = partition
        self.ids = ids
        self.assignment = -1
        """The number of the assignment by which the shard is ours, in the membership's standing."""

        self.committed_at = 0.0
        self.closed = False
        self._outlets = outlets
        self._log_is_new = log_is_new
        self._pending: deque[tuple[int, Sequence[OutputRecord]]] = deque()
        self._position = 0
        self._letters: list[Letter] = []
        self._ends_at = NOWHERE
        self._undeliverable = Undeliverable(outlets, partition, now)
        self._retry_at = 0.0
        self._delays = delays
        self._said_at = -_SAY_EVERY_S

    @property
    def backlog(self) -> int:
        """How many turns wait to be published."""
        return len(self._pending)

    @property
    def due_at(self) -> float:
        """When it has something to publish next, or a position to refresh."""
        due_at = 0.0 if self._pending else self.committed_at + _REFRESH_S
        return max(due_at, self._retry_at)

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        """Publish a turn's records; an empty sequence only moves the position."""
        self._pending.append((offset, records))

    def floor(self, released: int) -> int:
        """Return below which offset all is published, if all below ``released`` was handed over."""
        try:
            return min(self._pending[0][0], released)
        except IndexError:  # nothing waits, or the publisher's thread has just taken the last one
            return released

    def undelivered(self, run_id: str) -> Undelivered | None:
        """Return what of a run is in dead letters, as far as this process knows."""
        return self._undeliverable.of(run_id)

    def close(self) -> None:
        """Give up what is pending; the next owner publishes it."""
        self.closed = True

    # --- for Publishing ---------------------------------------------------------------------------

    def first_position(self) -> int:
        """Return the position of a shard that never published; refuse to guess a lost one."""
        if self._log_is_new():
            return 0
        events, group = self._outlets.events, self._outlets.group
        raise LogTruncated(
            f"{events}[{self.partition}] holds turns, but group {group} has no offset for it: "
            "nobody published for longer than the broker keeps offsets "
            "(offsets.retention.minutes), or it was deleted. To publish again from offset N on "
            "(consumers of results may see duplicates), or --to-latest for nothing of the past, "
            f"stop the workers and run: kafka-consumer-groups.sh --group {group} --topic "
            f"{events}:{self.partition} --reset-offsets --to-offset N --execute"
        )

    def begin(self, position: int, now: float) -> None:
        """Begin at the position below which all is published."""
        self._position = position
        self.committed_at = now

    def batch(self, now: float, records_max: int, bytes_max: int) -> Asks:
        """Return what the next transaction holds, if it is time; drop what an earlier one did."""
        if self.closed or now < self.due_at:
            return None
        pending, undeliverable = self._pending, self._undeliverable
        while pending and pending[0][0] < self._position:
            pending.popleft()
        turns: list[tuple[int, Sequence[OutputRecord]]] = []
        count = size = 0
        most = min(_CAREFUL_MAX, records_max) if undeliverable.is_careful else records_max
        undeliverable.begin_batch()
        for index in range(len(pending)):
            offset, records = pending[index]
            if missing := (yield from undeliverable.waits_for(offset, records, now)):
                yield from undeliverable.look_ahead(_published(pending, index), now)
                self._say_missing(missing, offset, now)
                break
            turns.append((offset, records))
            count += len(records)
            size += sum(map(_size, records))
            if count >= most or size >= bytes_max or offset >= self._ends_at:
                break
        if not turns and now < self.committed_at + _REFRESH_S:
            return None
        return Batch(self, turns, turns[-1][0] + 1 if turns else self._position, count, size)

    def outputs(self, batch: Batch) -> Iterator[Output]:
        """Yield what a transaction has to write for a batch, in order."""
        self._letters = []
        for offset, records in batch.turns:
            for index, record in enumerate(records):
                place = offset, index
                letter = self._undeliverable.letter_for(place, record)
                if letter is not None:
                    self._letters.append(letter)
                alone = letter is None and self._undeliverable.goes_alone(record)
                yield Output(place, record, letter, alone)

    def committed(self, batch: Batch, now: float) -> None:
        """Note that a batch is published."""
        for _ in batch.turns:
            self._pending.popleft()
        self.committed_at = now
        self._ends_at = NOWHERE
        self.resume(batch.position, now)
        self._delays.reset()

    def resume(self, position: int, now: float) -> None:
        """Go on from what is committed, maybe after a transaction of unknown outcome."""
        self._position = position
        self._undeliverable.delivered(self._letters, position, now)
        self._letters = []

    def probes(self, batch: Batch) -> Iterator[Publish]:
        """Yield the records of a batch that are for topics of the user's, and no letters yet."""
        for offset, records in batch.turns:
            for index, record in enumerate(records):
                if isinstance(record, Publish):
                    if self._undeliverable.letter_for((offset, index), record) is None:
                        yield record

    def forget_topics(self) -> None:
        """Look the topics up again that records are for."""
        self._undeliverable.forget_topics()

    def suspect(self, topic: str, fault: Fault, now: float) -> bool:
        """Note that a topic takes nothing; return whether its records are letters from now on."""
        return self._undeliverable.suspect(topic, fault, now)

    def put_off(self, error: PublishingFailed, now: float) -> bool:
        """Wait a while after a failed transaction, if it was a record of ours that was refused.

        What will never be taken is replaced by a dead letter, at once. The other shards go on
        without us. Returns whether it was ours.
        """
        if self.closed:
            return False
        refused = error.refusals.get(self.partition, [])
        ends_at = self._undeliverable.take(refused, error.fault, now)
        self._ends_at = NOWHERE if ends_at is None else ends_at
        if ends_at is not None:
            return True
        if not refused:
            return False
        self._undeliverable.forget_topics()
        cause = refused[0].fault
        delay_s = self._delays.next_s()
        self._retry_at = now + delay_s
        _log.warning(
            "shard %d: publishing failed: a record for topic %r was refused (%s: %s). It is tried "
            "again in %.1f s, and what this shard publishes waits for it%s",
            self.partition,
            self._outlets.topic_of(refused[0].record),
            cause.name,
            cause.text,
            delay_s,
            self._outlets.hint(cause),
        )
        return True

    def _say_missing(self, topic: str, offset: int, now: float) -> None:
        self._retry_at = now + 1.0
        if now - self._said_at >= _SAY_EVERY_S:
            self._said_at = now
            _log.error(
                "shard %d: a record for topic %r, which does not exist, or takes nothing now (a "
                "partition has no leader): make the topic, or start its brokers. Results, "
                "published records and messages to other namespaces of this shard wait from log "
                "offset %d on, 30 s at the most; then records for that topic go to dead-letters",
                self.partition,
                topic,
                offset,
            )


def _published(pending: Sequence[tuple[int, Sequence[OutputRecord]]], first: int) -> set[str]:
    """Return the topics of the user's that the next turns have records for."""
    turns = islice(pending, first, first + _AHEAD_TURNS)
    return {r.topic for _, records in turns for r in records if isinstance(r, Publish)}


def _size(record: OutputRecord) -> int:
    value = record.result if isinstance(record, RunResult) else record.value
    return len(value or b"")
