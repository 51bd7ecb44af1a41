"""What one shard has to publish, and what may keep it from being published."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processor.codec.records import encode
from processor.core.data.undelivered import Undelivered
from processor.core.records.effects import Publish, RunResult
from processor.errors import LogTruncated
from processor.kafka.clients.backoff import Backoff
from processor.kafka.clients.faults import FENCED, PURGED
from processor.kafka.shards.undeliverable import (
    NOWHERE,
    TOPIC_HEADER,
    Letter,
    Place,
    Refusal,
    Undeliverable,
)
from processor.shard.ports import OutputRecord

if TYPE_CHECKING:
    from processor.kafka.publishing.transactions import Publishing

__all__ = ("BYTES_MAX", "RECORDS_MAX", "RESULT_HEADERS", "Batch", "ShardPublisher")

_log = logging.getLogger("processor.kafka")

RECORDS_MAX: Final = 2_000
BYTES_MAX: Final = 8_000_000
"""A transaction with so much takes no more in."""

_CAREFUL_MAX: Final = 100
"""Records of a transaction in which some go one by one; it must end before its time-out."""

_AHEAD_TURNS: Final = 2_000
"""Turns whose topics are looked up together: those that are missing are waited for together."""

_FLUSH_S: Final = 5.0
_REASON_S: Final = 0.5
_NOT_ITS_OWN: Final = PURGED | FENCED | {KafkaError._INVALID_DIFFERENT_RECORD, KafkaError._STATE}
_SAY_EVERY_S = 30.0
_REFRESH_S = 3_600.0
"""An offset expires that was not committed for long (``offsets.retention.minutes``, 7 days)."""

RESULT_HEADERS: Final[list[tuple[str, str | bytes | None]]] = [("content-type", b"avro/binary")]

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
        self._refused: list[Refusal] = []
        self._letters: list[Letter] = []
        self._ends_at = NOWHERE
        self._undeliverable = Undeliverable(publishing.connection, partition)
        self._retry_at = 0.0
        self._backoff = Backoff()
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

    def begin(self) -> int:
        """Shut the owner before us out and return the position below which all is published."""
        begun = said = monotonic()
        backoff = Backoff()
        while True:
            try:
                position = self._publishing.take_over(self)
                break
            except KafkaException as error:
                cause = error.args[0]
                if self._closed or cause.code() == KafkaError._ASSIGNMENT_LOST:
                    raise  # whoever waits for this thread would wait for ever
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

    def undelivered(self, run_id: str) -> Undelivered | None:
        """Return what of a run is in dead letters, as far as this process knows."""
        return self._undeliverable.of(run_id)

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

    def batch(self, now: float, error_of: Callable[[str], KafkaError | None]) -> Batch | None:
        """Return what the next transaction holds, if it is time; drop what an earlier one did."""
        if self._closed or now < self.due_at:
            return None
        pending = self._pending
        while pending and pending[0][0] < self._position:
            pending.popleft()
        turns: list[tuple[int, Sequence[OutputRecord]]] = []
        count = size = 0
        most = _CAREFUL_MAX if self._undeliverable.is_careful else RECORDS_MAX
        for index in range(len(pending)):
            offset, records = pending[index]
            if missing := self._undeliverable.waits_for(records, error_of, now):
                self._undeliverable.look_ahead(_published(pending, index), error_of, now)
                self._say_missing(missing, offset, now)
                break
            turns.append((offset, records))
            count += len(records)
            size += sum(map(_size, records))
            if count >= most or size >= BYTES_MAX or offset >= self._ends_at:
                break
        if not turns and now < self.committed_at + _REFRESH_S:
            return None
        return Batch(self, turns, turns[-1][0] + 1 if turns else self._position, count, size)

    def produce(self, producer: Producer, batch: Batch) -> None:
        """Hand the records of a batch over, to an open transaction."""
        self._refused, self._letters = [], []
        for offset, records in batch.turns:
            for index, record in enumerate(records):
                self._produce(producer, (offset, index), record)

    def committed(self, batch: Batch, now: float) -> None:
        """Note that a batch is published."""
        for _ in batch.turns:
            self._pending.popleft()
        self._position = batch.position
        self.committed_at = now
        self._ends_at = NOWHERE
        self._undeliverable.delivered(self._letters, batch.position, now)
        self._letters = []
        self._backoff.reset()

    def resume(self, position: int) -> None:
        """Go on from what is committed, after a transaction of unknown outcome."""
        self._position = position
        self._undeliverable.delivered(self._letters, position, monotonic())
        self._letters = []

    def published(self, batch: Batch) -> Iterator[Publish]:
        """Yield the records of a batch that are for topics of the user's, and no letters yet."""
        for offset, records in batch.turns:
            for index, record in enumerate(records):
                if isinstance(record, Publish):
                    if self._undeliverable.letter_for((offset, index), record) is None:
                        yield record

    def forget_topics(self) -> None:
        """Look the topics up again that records are for."""
        self._undeliverable.forget_topics()

    def suspect(self, topic: str, error: KafkaError, now: float) -> bool:
        """Note that a topic takes nothing; return whether its records are letters from now on."""
        return self._undeliverable.suspect(topic, error, now)

    def put_off(self, error: KafkaError, now: float) -> bool:
        """Wait a while after a failed transaction, if it was a record of ours that was refused.

        What will never be taken is replaced by a dead letter, at once. The other shards go on
        without us. Returns whether it was ours.
        """
        refused, self._refused = self._refused, []
        if self._closed:
            return False
        ends_at = self._undeliverable.take(refused, error, now)
        self._ends_at = NOWHERE if ends_at is None else ends_at
        if ends_at is not None:
            return True
        if not refused:
            return False
        self._undeliverable.forget_topics()
        cause = refused[0].error
        delay_s = self._backoff.next_s()
        self._retry_at = now + delay_s
        _log.warning(
            "shard %d: publishing failed: a record was refused (%s: %s). It is tried again in "
            "%.1f s, and what this shard publishes waits for it%s",
            self.partition,
            cause.name(),
            cause.str(),
            delay_s,
            self._publishing.hint(cause),
        )
        return True

    def _produce(self, producer: Producer, place: Place, record: OutputRecord) -> None:
        letter = self._undeliverable.letter_for(place, record)
        key: bytes | None
        value: bytes | None
        headers: list[tuple[str, str | bytes | None]] = []
        if letter is not None:
            self._letters.append(letter)
            topic, value = (
                self._connection.topic("dead-letters"),
                self._undeliverable.encoded(letter),
            )
            key = f"events/{self.partition}/{place[0]}".encode()
            headers = [(TOPIC_HEADER, letter.topic.encode())]
        elif isinstance(record, RunResult):
            topic, value = self._connection.topic("results"), encode(record)
            key, headers = record.workflow_id.encode(), RESULT_HEADERS
        else:
            topic, key, value = record.topic, record.key, record.value
        delivered = partial(self._delivered, place, record if letter is None else None)
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=delivered, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                delivered(error.args[0], None)
                if not self._refused:
                    producer.poll(_REASON_S)  # what was refused before ended the transaction
                self._abort_if_refused()
                raise
        if letter is None and self._undeliverable.goes_alone(record):
            producer.flush(_FLUSH_S)
            self._abort_if_refused()

    def _abort_if_refused(self) -> None:
        """Raise what was refused. The error says that the transaction is to be aborted."""
        if self._refused:
            cause = self._refused[0].error
            raise KafkaException(KafkaError(cause.code(), cause.str(), txn_requires_abort=True))

    def _delivered(
        self,
        place: Place,
        record: OutputRecord | None,
        error: KafkaError | None,
        _message: Message | None,
    ) -> None:
        """Note an error that is the record's own, and not what became of all of them."""
        if error is not None and error.code() not in _NOT_ITS_OWN:
            self._refused.append(Refusal(place, record, error))

    # --- what can go wrong --------------------------------------------------------------------

    def _say_missing(self, topic: str, offset: int, now: float) -> None:
        self._retry_at = now + 1.0
        if now - self._said_at >= _SAY_EVERY_S:
            self._said_at = now
            _log.error(
                "shard %d: workflow.publish to topic %r, which does not exist, or takes nothing "
                "now (a partition has no leader): make the topic, or start its brokers. Results "
                "and published records of this shard wait from log offset %d on, 30 s at the "
                "most; then records for that topic go to dead-letters",
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


def _published(pending: Sequence[tuple[int, Sequence[OutputRecord]]], first: int) -> set[str]:
    """Return the topics of the user's that the next turns have records for."""
    turns = islice(pending, first, first + _AHEAD_TURNS)
    return {r.topic for _, records in turns for r in records if isinstance(r, Publish)}


def _size(record: OutputRecord) -> int:
    value = record.result if isinstance(record, RunResult) else record.value
    return len(value or b"")
