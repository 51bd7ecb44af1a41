"""What a producer knows: the partitions that it writes to, and the brokers that lead them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from confluent_kafka import KafkaError

from processor.kafka.clients.backoff import Pace
from processor.kafka.clients.connection import murmur2
from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.wire.batch import record_batch

__all__ = ("Place", "RecordBatch", "WireBroker", "partition_for", "size_of", "tell")

_RECORDS_MAX: Final = 100_000
"""Of one batch; its bytes end it long before, unless its records have next to none."""

_SEQUENCES: Final = 0x7FFFFFFF
_BATCH_BYTES: Final = 1_000_000
"""Below what the smallest topic takes; a larger record has a batch of its own."""


def size_of(outgoing: Outgoing) -> int:
    return len(outgoing.key or b"") + len(outgoing.value or b"")


def partition_for(key: bytes | None, partitions: int, random: Random) -> int:
    """Return the partition of a key, as Kafka's own clients choose it; any one where it is None."""
    number = random.getrandbits(31) if key is None else murmur2(key) & 0x7FFFFFFF
    return number % partitions


class ProducedAt:
    """A record that a broker took: ``Produced``."""

    __slots__ = ("_offset",)

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        """Return its offset; -1 where the broker knows only that it has it."""
        return self._offset


def tell(records: Sequence[Outgoing], error: KafkaError | None, offset: int) -> Exception | None:
    """Call back who sent these records; return what one of them failed with, if so.

    ``offset`` is that of the first one, below 0 where it is not known.
    """
    failure = None
    for number, outgoing in enumerate(records):
        try:
            if error is not None:
                outgoing.delivered(error, None)
            else:
                outgoing.delivered(None, ProducedAt(offset + number if offset >= 0 else -1))
        except Exception as failed:
            failure = failed
    return failure


@dataclass(slots=True)
class RecordBatch:
    """``tries``: how often it was sent. After the first, a broker may have it, whatever it says."""

    records: Sequence[Outgoing]
    data: bytes
    tries: int = 0


@dataclass(slots=True, eq=False)
class Place:
    """One partition. ``batch`` waits for its answer if ``out``, and else to be sent again.

    ``resting``: it is not sent before a while. ``room``: how many records the next batch may have;
    fewer after one that was too large. ``epoch`` and ``sequence`` are those of the next batch.
    """

    topic: str
    partition: int
    pace: Pace
    leader: WireBroker | None = None
    waiting: deque[Outgoing] = field(default_factory=deque)
    batch: RecordBatch | None = None
    out: bool = False
    resting: bool = False
    epoch: int = 0
    sequence: int = 0
    room: int = _RECORDS_MAX

    @property
    def busy(self) -> bool:
        return self.batch is not None or bool(self.waiting)

    @property
    def used(self) -> bool:
        """Whether a broker may know us here."""
        return self.epoch > 0 or self.sequence > 0 or self.batch is not None

    def next_batch(self, time_ms: int, producer_id: int, epoch: int) -> RecordBatch:
        """Take what waits, as far as one batch takes it."""
        waiting = self.waiting
        assert waiting, f"{self.topic}-{self.partition} has something to send"
        records: list[Outgoing] = []
        size = 0
        while waiting and len(records) < self.room:
            size += size_of(waiting[0])
            if records and size > _BATCH_BYTES:
                break
            records.append(waiting.popleft())
        data = record_batch(records, time_ms, producer_id, epoch + self.epoch, self.sequence)
        return RecordBatch(records, data)

    def go_on(self) -> None:
        """Count the batch as written."""
        assert self.batch is not None, "it was sent"
        self.sequence = (self.sequence + len(self.batch.records)) & _SEQUENCES
        self.batch, self.room = None, _RECORDS_MAX

    def drop(self) -> Sequence[Outgoing]:
        """Give the batch up, and return its records.

        If it was sent, its numbers are never used again: a broker that has it would take another
        batch with them for this one, and say that it is written. So the next batch is the first
        one of a new epoch, as KIP-360 has it; brokers keep an epoch for each partition.
        """
        batch, self.batch = self.batch, None
        if batch is None:
            return ()
        if batch.tries:
            self.epoch, self.sequence = self.epoch + 1, 0
        return batch.records


@dataclass(slots=True, eq=False)
class WireBroker:
    """``up``: there is a connection to it. ``out`` are the places whose batches it was sent.

    ``ready`` are the places that it leads and that have something to send, in order. ``refusals``
    counts how often in a row it did not let us in.
    """

    host: str
    port: int
    pace: Pace
    up: bool = False
    dialing: bool = False
    ready: dict[Place, None] = field(default_factory=dict)
    out: Sequence[Place] | None = None
    sent_at: float = 0.0
    lost_at: float = 0.0
    refusals: int = 0

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port
