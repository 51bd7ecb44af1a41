"""What one shard has to publish, and what may keep it from being published."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processor.codec.records import encode
from processor.core.effects import RunResult
from processor.errors import LogTruncated
from processor.kafka.backoff import Backoff
from processor.kafka.faults import FENCED, PURGED
from processor.shard.ports import OutputRecord

if TYPE_CHECKING:
    from processor.kafka.publishing import Publishing

__all__ = ("BYTES_MAX", "RECORDS_MAX", "Batch", "ShardPublisher")

_log = logging.getLogger("processor.kafka")

RECORDS_MAX: Final = 2_000
BYTES_MAX: Final = 8_000_000
"""A transaction with so much takes no more in."""

_SAY_EVERY_S = 30.0
_REFRESH_S = 3_600.0
"""An offset expires that was not committed for long (``offsets.retention.minutes``, 7 days)."""

_RESULT_HEADERS: Final[list[tuple[str, str | bytes | None]]] = [("content-type", b"avro/binary")]

_Turns = Sequence[tuple[int, Sequence[OutputRecord]]]


@dataclass(frozen=True, slots=True)
class Batch:
    """A shard's part of a transaction: turns, and the position of ``events`` behind them."""

    shard: ShardPublisher
    turns: _Turns
    position: int
    records: int = 0
    size: int = 0


class ShardPublisher:
    """``ids`` are those of the shard's topics. They are committed with the position, and once more
    beside it for ``timers``: Kafka drops a topic's offsets together with the topic.

    ``log_is_new`` says whether no turn was ever written; it may block. Only ``publish`` and
    ``close`` are called from the event loop; from ``batch`` on it is the publisher's thread.
    """

    def __init__(
        self,
        partition: int,
        publishing: Publishing,
        ids: str,
        log_is_new: Callable[[], bool],
    ) -> None:
        self.partition = partition
        self.ids = ids
        self.assignment = -1
        """The number of the assignment by which the shard is ours, in the membership's standing."""

        self.committed_at = 0.0
        self._publishing = publishing
        self._connection = publishing.connection
        self._log_is_new = log_is_new
        self._pending: deque[tuple[int, Sequence[OutputRecord]]] = deque()
        self._position = 0
        self._closed = False
        self._refused: KafkaError | None = None
        self._retry_at = 0.0
        self._backoff = Backoff()
        self._said_at = -_SAY_EVERY_S
        self._known_topics: set[str] = {self._connection.topic("results")}

    @property
    def backlog(self) -> int:
        """How many turns wait to be published."""
        return len(self._pending)

    @property
    def due_at(self) -> float:
        """When it has something to publish next, or a position to refresh."""
        due_at = 0.0 if self._pending else self.committed_at + _REFRESH_S
        return max(due_at, self._retry_at)

    def begin(self) -> int:
        """Shut the owner before us out and return the position below which all is published."""
        begun = said = monotonic()
        backoff = Backoff()
        while True:
            try:
                position = self._publishing.take_over(self)
                break
            except KafkaException as error:
                if self._closed:
                    raise
                cause = error.args[0]
                _log.info("shard %d: reading its position: %s", self.partition, cause.str())
                if monotonic() - said >= _SAY_EVERY_S:
                    said = monotonic()
                    self._say_stuck(cause, said - begun)
                sleep(backoff.next_s())
        self._position = position
        self.committed_at = monotonic()
        if not self._closed:
            self._publishing.add(self)
        return position

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        """Publish a turn's records; an empty sequence only moves the position."""
        self._pending.append((offset, records))
        self._publishing.wake()

    def floor(self, released: int) -> int:
        """Return below which offset all is published, if all below ``released`` was handed over."""
        try:
            return min(self._pending[0][0], released)
        except IndexError:  # nothing waits, or the publisher's thread has just taken the last one
            return released

    def close(self) -> None:
        """Give up what is pending; the next owner publishes it."""
        self._closed = True
        self._publishing.remove(self)
        self._publishing.wake()

    def first_position(self) -> int:
        """Return the position of a shard that never published; refuse to guess a lost one."""
        if self._log_is_new():
            return 0
        events, group = self._connection.events, self._connection.shards_group
        raise LogTruncated(
            f"{events}[{self.partition}] holds turns, but group {group} has no offset for it: "
            "nobody published for longer than the broker keeps offsets "
            "(offsets.retention.minutes), or it was deleted. To publish again from offset N on "
            "(consumers of results may see duplicates), or --to-latest for nothing of the past, "
            f"stop the workers and run: kafka-consumer-groups.sh --group {group} --topic "
            f"{events}:{self.partition} --reset-offsets --to-offset N --execute"
        )

    # --- the publisher's thread -------------------------------------------------------------------

    def batch(self, now: float, has_topic: Callable[[str], bool]) -> Batch | None:
        """Return what the next transaction holds, if it is time; drop what an earlier one did."""
        if self._closed or now < self.due_at:
            return None
        pending = self._pending
        while pending and pending[0][0] < self._position:
            pending.popleft()
        turns: list[tuple[int, Sequence[OutputRecord]]] = []
        count = size = 0
        for index in range(len(pending)):
            offset, records = pending[index]
            if missing := self._missing_topic(records, has_topic):
                self._say_missing(missing, offset, now)
                break
            turns.append((offset, records))
            count += len(records)
            size += sum(map(_size, records))
            if count >= RECORDS_MAX or size >= BYTES_MAX:
                break
        if not turns and now < self.committed_at + _REFRESH_S:
            return None
        return Batch(self, turns, turns[-1][0] + 1 if turns else self._position, count, size)

    def produce(self, producer: Producer, batch: Batch) -> None:
        """Hand the records of a batch over, to an open transaction."""
        for _, records in batch.turns:
            for record in records:
                try:
                    self._produce(producer, record)
                except KafkaException as error:
                    self._delivered(error.args[0], None)
                    raise

    def committed(self, batch: Batch, now: float) -> None:
        """Note that a batch is published."""
        for _ in batch.turns:
            self._pending.popleft()
        self._position = batch.position
        self.committed_at = now
        self._backoff.reset()

    def resume(self, position: int) -> None:
        """Go on from what is committed, after a transaction of unknown outcome."""
        self._position = position

    def put_off(self, now: float) -> bool:
        """Wait a while after a failed transaction, if it was a record of ours that was refused.

        The other shards go on without us. Returns whether it was.
        """
        refused, self._refused = self._refused, None
        if refused is None or self._closed:
            return False
        self._known_topics = {self._connection.topic("results")}
        delay_s = self._backoff.next_s()
        self._retry_at = now + delay_s
        _log.warning(
            "shard %d: publishing failed: a record was refused (%s: %s). It is tried again in "
            "%.1f s, and what this shard publishes waits for it%s",
            self.partition,
            refused.name(),
            refused.str(),
            delay_s,
            self._publishing.hint(refused),
        )
        return True

    def _produce(self, producer: Producer, record: OutputRecord) -> None:
        while True:
            try:
                if isinstance(record, RunResult):
                    producer.produce(
                        self._connection.topic("results"),
                        encode(record),
                        record.workflow_id.encode(),
                        on_delivery=self._delivered,
                        headers=_RESULT_HEADERS,
                    )
                else:
                    producer.produce(
                        record.topic, record.value, record.key, on_delivery=self._delivered
                    )
                return
            except BufferError:
                producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, _message: Message | None) -> None:
        """Note the first error that is the record's own, and not what became of all of them."""
        if error is not None and error.code() not in PURGED | FENCED and self._refused is None:
            self._refused = error

    # --- what can go wrong --------------------------------------------------------------------

    def _missing_topic(
        self, records: Sequence[OutputRecord], has_topic: Callable[[str], bool]
    ) -> str | None:
        for record in records:
            if isinstance(record, RunResult) or record.topic in self._known_topics:
                continue
            if not has_topic(record.topic):
                return record.topic
            self._known_topics.add(record.topic)
        return None

    def _say_missing(self, topic: str, offset: int, now: float) -> None:
        self._retry_at = now + 1.0
        if now - self._said_at >= _SAY_EVERY_S:
            self._said_at = now
            _log.error(
                "shard %d: workflow.publish to topic %r, which does not exist: make the topic. "
                "Results and published records of this shard wait from log offset %d on, and are "
                "published then; workflows go on",
                self.partition,
                topic,
                offset,
            )

    def _say_stuck(self, error: KafkaError, waited_s: float) -> None:
        """Name what keeps a position from being read for ever.

        Seen with Kafka 4.3: the only broker dies by kill -9 while it ends a transaction, and after
        its restart the transaction counts as complete, but has no marker in its partitions.
        """
        _log.error(
            "shard %d: its position in group %s could not be taken over for %.0f s (%s: %s), so "
            "the shard waits. If the brokers are well, a transaction may hang in them: "
            "`kafka-transactions.sh --bootstrap-server %s find-hanging --broker-id N` lists it, "
            "and its `abort` ends it (consumers may then see the results of that one transaction "
            "twice). Workflows of other shards go on%s",
            self.partition,
            self._connection.shards_group,
            waited_s,
            error.name(),
            error.str(),
            self._connection.servers,
            self._publishing.hint(error),
        )


def _size(record: OutputRecord) -> int:
    value = record.result if isinstance(record, RunResult) else record.value
    return len(value or b"")
