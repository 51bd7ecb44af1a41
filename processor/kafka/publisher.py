"""Results and ``workflow.publish``, exactly once: a transactional producer for each shard.

Each transaction writes what is pending together with its position in ``events``, as a consumer
offset. The order of everything below, after a takeover and after every error:

    1. a new producer with the shard's transactional id: ``init_transactions`` fences whoever had
       it, and aborts (or completes) what that one left open
    2. read the committed position; drop what lies below it
    3. one transaction at a time: begin, produce, send the position, commit

After any error the producer is thrown away, because librdkafka does not speak transactions v2:
a delayed end of one transaction could otherwise commit or abort the next (KIP-890;
https://jepsen.io/analyses/bufstream-0.1.0; librdkafka#5423).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from processor.codec.records import encode
from processor.core.effects import RunResult
from processor.errors import LogTruncated
from processor.kafka.bounded import within
from processor.kafka.connection import KafkaSettings
from processor.kafka.faults import FENCED, MISSING
from processor.kafka.identity import check_ids
from processor.shard.ports import OutputRecord

__all__ = ("Publishing", "ShardPublisher")

_log = logging.getLogger("processor.kafka")

_CALL_S = 10.0
_POSITION_S = 2.0
"""Asking again is faster than waiting: after a broker's absence the first call may see no end."""

_OFFSETS_S = 5.0
"""A thousand times what it takes; the shards of the process publish nothing meanwhile."""

_IDLE_S = 60.0
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0
_SAY_EVERY_S = 30.0
_BATCH_RECORDS = 2_000
_BATCH_BYTES = 8_000_000
_REFRESH_S = 3_600.0
"""An offset of a group without members expires (``offsets.retention.minutes``, 7 days)."""

_RESULT_HEADERS: Final[list[tuple[str, str | bytes | None]]] = [("content-type", b"avro/binary")]


class Publishing:
    """The thread that commits the transactions of all shards of a process, in turns.

    ``linger_s`` is the time from one round to the next while there is something in each: what
    comes after a pause is published at once, and a busy shard publishes much in few transactions.
    """

    def __init__(self, connection: KafkaSettings, linger_s: float) -> None:
        self.connection = connection
        self._linger_s = linger_s
        options = {"isolation.level": "read_committed"}
        self._positions = Consumer(connection.consumer(options, group=connection.results_group))
        self._positions_lock = Lock()
        self.group = self._positions.consumer_group_metadata()
        self._shards: tuple[ShardPublisher, ...] = ()
        self._shards_lock = Lock()
        self._closed = False
        self._hurry = Event()
        self._work = Event()
        self._thread = Thread(target=self._run, name="kafka publisher", daemon=True)
        self._thread.start()

    def add(self, shard: ShardPublisher) -> None:
        with self._shards_lock:
            self._shards = (*self._shards, shard)
        self._work.set()

    def remove(self, shard: ShardPublisher) -> None:
        with self._shards_lock:
            self._shards = tuple(known for known in self._shards if known is not shard)

    def wake(self) -> None:
        if not self._work.is_set():
            self._work.set()

    def connect_anew(self) -> None:
        """Let every shard use another producer. From this thread, between two transactions."""
        for shard in self._shards:
            shard.connect_anew()

    def committed(self, partition: int, ids: str) -> int | None:
        """Return a shard's committed position in ``events``; None if there is none. Blocks.

        Raises ``LogTruncated`` where it was committed for other topics than those of ``ids``.
        """
        topics = (self.connection.events, self.connection.topic("commands"))
        places = [TopicPartition(topic, partition) for topic in topics]
        with self._positions_lock:
            found = self._positions.committed(places, _POSITION_S)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
            holder = f"the offset of group {self.connection.results_group}"
            check_ids(self.connection, place.metadata or "", ids, holder)
        return None if found[0].offset < 0 else found[0].offset

    def drain(self, timeout_s: float) -> None:
        """Publish what is pending, without lingering from now on. Blocks."""
        deadline = monotonic() + timeout_s
        self._hurry.set()
        self._work.set()
        while any(shard.backlog for shard in self._shards) and monotonic() < deadline:
            sleep(0.005)

    def close(self) -> None:
        """Stop after the transaction that is open now. Blocks."""
        self._closed = True
        self._hurry.set()
        self._work.set()
        self._thread.join(_CALL_S)
        with self._positions_lock:
            self._positions.close()

    def _run(self) -> None:
        begun = next_at = monotonic()
        while not self._closed:
            self._work.wait(max(next_at - monotonic(), 0.0))
            self._hurry.wait(max(begun + self._linger_s - monotonic(), 0.0))
            self._work.clear()
            begun = monotonic()
            next_at = begun + _IDLE_S
            for shard in self._shards:
                if self._closed:
                    return
                try:
                    next_at = min(next_at, shard.serve(monotonic()))
                except Exception:  # a bug must not silence every other shard's results
                    _log.exception("publishing for shard %d", shard.partition)
                    next_at = min(next_at, monotonic() + _RETRY_MAX_S)


class ShardPublisher:
    """What one shard has to publish.

    ``ids`` are those of the shard's topics. They are committed with the position, and once more
    beside it for ``commands``: Kafka drops a topic's offsets together with the topic.
    ``still_ours`` confirms ownership; ``log_is_new`` says whether no turn was ever written. Both
    may block. Only ``publish`` and ``close`` are called from the event loop.
    """

    def __init__(
        self,
        partition: int,
        publishing: Publishing,
        ids: str,
        still_ours: Callable[[], bool],
        log_is_new: Callable[[], bool],
    ) -> None:
        self.partition = partition
        self._publishing = publishing
        self._connection = publishing.connection
        self._ids = ids
        self._still_ours = still_ours
        self._log_is_new = log_is_new
        self._place = f"{self._connection.events}[{partition}]"
        self._producer: Producer | None = None
        self._pending: deque[tuple[int, Sequence[OutputRecord]]] = deque()
        self._position = 0
        self._committed_at = 0.0
        self._closed = False
        self._fenced = False
        self._retry_at = 0.0
        self._delay_s = _RETRY_FIRST_S
        self._said_at = -_SAY_EVERY_S
        self._known_topics: set[str] = {self._connection.topic("results")}
        self._refused: KafkaError | None = None

    @property
    def backlog(self) -> int:
        """How many turns wait to be published."""
        return len(self._pending)

    def begin(self) -> int:
        """Fence the owner before us and return the position below which all is published."""
        begun = said = monotonic()
        while True:
            try:
                position = self._connect()
                break
            except KafkaException as error:
                if self._closed:
                    raise
                self._failed(error.args[0])
                if monotonic() - said >= _SAY_EVERY_S:
                    said = monotonic()
                    self._say_stuck(said - begun)
                Event().wait(max(self._retry_at - monotonic(), 0.0))
        if position is None:
            position = self._first_position()
        self._position = position
        if not self._closed:
            self._publishing.add(self)
        return position

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        """Publish a turn's records; an empty sequence only moves the position."""
        self._pending.append((offset, records))
        self._publishing.wake()

    def close(self) -> None:
        """Give up what is pending; the next owner publishes it."""
        self._closed = True
        self._publishing.remove(self)
        self._publishing.wake()

    # --- the publisher's thread -------------------------------------------------------------------

    def serve(self, now: float) -> float:
        """Publish what is pending; return when to be called again."""
        if self._closed:
            return now + _IDLE_S
        if now < self._retry_at:
            return self._retry_at
        try:
            self._serve(now)
        except KafkaException as error:
            self._failed(error.args[0])
            return self._retry_at
        if self._retry_at > now:
            return self._retry_at
        self._delay_s = _RETRY_FIRST_S
        return now if self._pending else self._committed_at + _REFRESH_S

    def _serve(self, now: float) -> None:
        if self._producer is None and not self._reconnect():
            return
        batch = self._batch()
        if batch or now - self._committed_at > _REFRESH_S:
            self._commit(batch)

    def _connect(self) -> int | None:
        """Steps 1 and 2 above.

        The topic is looked up so that a missing one is named, and so that a broker is connected:
        ``init_transactions`` of a producer without one waits for a fixed 500 ms (measured with
        librdkafka 2.16).
        """
        transactional_id = f"{self._connection.namespace}.shard.{self.partition}"
        producer = Producer(self._connection.transactional_producer(transactional_id))
        results = self._connection.topic("results")
        found = producer.list_topics(results, _CALL_S).topics.get(results)
        if found is not None and found.error is not None:
            raise KafkaException(found.error)
        producer.init_transactions(_CALL_S)
        position = self._publishing.committed(self.partition, self._ids)
        self._producer = producer
        self._committed_at = monotonic()
        self._fenced = False
        return position

    def _reconnect(self) -> bool:
        """Connect again, unless another owner fenced us: then wait to hear whose shard it is.

        A transaction of ours that timed out (a paused process) looks the same as a new owner.
        """
        if self._fenced and not self._still_ours():
            self._retry_at = monotonic() + 1.0
            return False
        position = self._connect()
        if position is not None:
            self._position = position
        return True

    def _batch(self) -> list[tuple[int, Sequence[OutputRecord]]]:
        """Return what the next transaction holds; drop what an earlier one did."""
        pending = self._pending
        while pending and pending[0][0] < self._position:
            pending.popleft()
        batch: list[tuple[int, Sequence[OutputRecord]]] = []
        count = size = 0
        for index in range(len(pending)):
            offset, records = pending[index]
            if missing := self._missing_topic(records):
                self._say_missing(missing, offset)
                break
            batch.append((offset, records))
            count += len(records)
            size += sum(map(_size, records))
            if count >= _BATCH_RECORDS or size >= _BATCH_BYTES:
                break
        return batch

    def _commit(self, batch: Sequence[tuple[int, Sequence[OutputRecord]]]) -> None:
        """Step 3 above."""
        producer = self._producer
        assert producer is not None, "connected before"
        position = batch[-1][0] + 1 if batch else self._position
        producer.begin_transaction()
        for _, records in batch:
            for record in records:
                self._produce(producer, record)
        self._send_position(producer, position)
        producer.commit_transaction(_CALL_S)
        self._position = position
        self._committed_at = monotonic()
        for _ in batch:
            self._pending.popleft()

    def _send_position(self, producer: Producer, position: int) -> None:
        """Add the position to the transaction.

        The call may never return once the connection to the group's coordinator broke, whatever
        time-out it is given (librdkafka#5456, #5511; seen with 2.16 after a cut network). Then the
        other shards' producers have lost theirs as well.
        """
        places = [
            TopicPartition(self._connection.events, self.partition, position, self._ids),
            TopicPartition(self._connection.topic("commands"), self.partition, 0, self._ids),
        ]
        group = self._publishing.group
        try:
            within(
                _OFFSETS_S,
                lambda: producer.send_offsets_to_transaction(places, group, _OFFSETS_S),
            )
        except TimeoutError:
            self._publishing.connect_anew()
            raise KafkaException(
                KafkaError(KafkaError._TIMED_OUT, "the group's coordinator does not answer")
            ) from None

    def connect_anew(self) -> None:
        """Use another producer from the next transaction on; none is open now."""
        self._producer = None

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
        if error is not None and self._refused is None:
            self._refused = error

    def _first_position(self) -> int:
        """Return the position of a shard that never published; refuse to guess a lost one."""
        if not self._log_is_new():
            raise LogTruncated(
                f"{self._place} holds turns, but group {self._connection.results_group} has no "
                "offset for it: nobody published for longer than the broker keeps offsets "
                "(offsets.retention.minutes), or it was deleted. To publish again from offset N "
                "on (consumers of results may see duplicates), or --to-latest for nothing of the "
                f"past: kafka-consumer-groups.sh --group {self._connection.results_group} --topic "
                f"{self._connection.events}:{self.partition} --reset-offsets --to-offset N "
                "--execute"
            )
        self._commit(())
        return 0

    # --- what can go wrong --------------------------------------------------------------------

    def _failed(self, error: KafkaError) -> None:
        """Throw the producer away, whatever the error: the outcome may be unknown."""
        self._fenced = error.code() in FENCED
        refused, self._refused = self._refused, None
        self._known_topics = {self._connection.topic("results")}
        producer, self._producer = self._producer, None
        if producer is not None:
            _purge(producer)
        if self._closed:
            return
        self._retry_at = monotonic() + self._delay_s
        self._delay_s = min(self._delay_s * 2, _RETRY_MAX_S)
        level = logging.INFO if self._fenced else logging.WARNING
        reason = refused if refused is not None and refused.code() in MISSING else error
        if refused is not None and not self._fenced:
            reason = refused
        hint = ""
        if reason.code() in MISSING:
            results = self._connection.topic("results")
            hint = (
                f". {results} or a topic of workflow.publish is missing: `processor topics apply`"
            )
        _log.log(
            level,
            "shard %d: publishing failed (%s: %s); it is tried again from the committed position%s",
            self.partition,
            reason.name(),
            reason.str(),
            hint,
        )

    def _say_stuck(self, waited_s: float) -> None:
        """Name what keeps a position from being read for ever.

        Seen with Kafka 4.3: the only broker dies by kill -9 while it ends a transaction, and after
        its restart the transaction counts as complete, but has no marker in its partitions.
        """
        _log.error(
            "shard %d: the position of group %s has not been readable for %.0f s, so the shard "
            "waits. If the brokers are well, a transaction may hang in them: "
            "`kafka-transactions.sh --bootstrap-server %s find-hanging --broker-id N` lists it, "
            "and its `abort` ends it (consumers may then see the results of that one transaction "
            "twice). Workflows of other shards go on",
            self.partition,
            self._connection.results_group,
            waited_s,
            self._connection.servers,
        )

    def _missing_topic(self, records: Sequence[OutputRecord]) -> str | None:
        for record in records:
            if isinstance(record, RunResult) or record.topic in self._known_topics:
                continue
            assert self._producer is not None, "connected before"
            found = self._producer.list_topics(record.topic, _CALL_S).topics.get(record.topic)
            if found is None or found.error is not None:
                return record.topic
            self._known_topics.add(record.topic)
        return None

    def _say_missing(self, topic: str, offset: int) -> None:
        self._retry_at = monotonic() + 1.0
        if monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = monotonic()
            _log.error(
                "shard %d: workflow.publish to topic %r, which does not exist: make the topic. "
                "Results and published records of this shard wait from log offset %d on, and are "
                "published then; workflows go on",
                self.partition,
                topic,
                offset,
            )


def _size(record: OutputRecord) -> int:
    value = record.result if isinstance(record, RunResult) else record.value
    return len(value or b"")


def _purge(producer: Producer) -> None:
    try:
        producer.purge(in_queue=True, in_flight=True, blocking=False)
    except KafkaException as error:
        _log.debug("purging a publisher: %s", error)
