"""Results and ``workflow.publish``, exactly once: one transactional producer for a whole process.

A transaction writes what its shards have to publish together with their positions in ``events``, as
consumer offsets of the group that says whose the shards are. So a coordinator refuses the positions
of whoever is not a member of the present generation (KIP-447), and with them the records. The order
of everything below, when a shard is taken over:

    1. ask the membership which generation this is; what follows counts in no other
    2. the producer of the owner before (the committed position names it) is fenced: what it left
       open is aborted, and readers do not wait for its time-out
    3. ours is connected, so that an earlier transaction of this process has ended, one way or the
       other
    4. read the committed position; drop what lies below it
    5. commit the position with our name

and for each transaction:

    1. ask the membership which generation this is, and then which shards are still ours in it
    2. begin, produce, send the positions, commit

After any error the producer is thrown away, because librdkafka does not speak transactions v2: a
delayed end of one transaction could otherwise commit or abort the next (KIP-890;
https://jepsen.io/analyses/bufstream-0.1.0; librdkafka#5423). The next one with its transactional id
aborts or completes what it left, and all positions are read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Lock, Thread
from time import monotonic, sleep

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from processor.core.records.effects import Publish
from processor.kafka.clients.backoff import Backoff
from processor.kafka.clients.bounded import within
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import FENCED, MISSING, NOT_A_MEMBER
from processor.kafka.group.membership import Standing
from processor.kafka.publishing.probing import PROBES_MAX, let_go, probed
from processor.kafka.publishing.publisher import BYTES_MAX, RECORDS_MAX, Batch, ShardPublisher
from processor.kafka.shards.identity import check_ids

__all__ = ("Publishing",)

_log = logging.getLogger("processor.kafka")

_CALL_S = 10.0
_POSITION_S = 2.0
"""Asking again is faster than waiting: after a broker's absence the first call may see no end."""

_OFFSETS_S = 5.0
"""A thousand times what it takes; the shards of the process publish nothing meanwhile."""

_ABORT_S = 1.0
_FENCE_AGAIN_S = 1.0
_IDLE_S = 60.0
_AFTER_A_BUG_S = 5.0


class Publishing:
    """``instance_id`` names this process; ``standing`` is the membership's.

    ``last_committed`` reads a committed offset, although a transaction may be about to change it.
    ``linger_s`` is the time from one transaction to the next while there is something to publish:
    what comes after a pause is published at once, and a busy process publishes much in few.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        instance_id: str,
        standing: Callable[[], Standing],
        last_committed: Callable[[TopicPartition], TopicPartition],
        linger_s: float,
    ) -> None:
        self.connection = connection
        self._events = connection.events
        self._marker = connection.topic("timers")
        self._instance_id = instance_id
        self._standing = standing
        self._last_committed = last_committed
        self._linger_s = linger_s
        self._positions = Consumer(connection.consumer({"isolation.level": "read_committed"}))
        self._positions_lock = Lock()
        self._producer: Producer | None = None
        self._transaction = Lock()
        self._shards: tuple[ShardPublisher, ...] = ()
        self._shards_lock = Lock()
        self._fenced_at: dict[str, float] = {}
        self._fencing = Lock()
        self._retry_at = 0.0
        self._probed_to = 0
        self._backoff = Backoff()
        self._closed = False
        self._hurry = Event()
        self._work = Event()
        self._thread = Thread(target=self._run, name="kafka publisher", daemon=True)
        self._thread.start()

    def take_over(self, shard: ShardPublisher) -> int:
        """Do the steps of a takeover; return the position below which all is published. Blocks.

        Raises ``LogTruncated`` where it was committed for other topics than the shard's.
        """
        standing = self._standing()
        assignment = standing.owned.get(shard.partition)
        if assignment is None:
            raise KafkaException(KafkaError(KafkaError._ASSIGNMENT_LOST, "the shard is not ours"))
        last = self._last_committed(TopicPartition(self._events, shard.partition))
        former = (last.metadata or "").partition(";")[2]
        if former not in ("", self._instance_id):
            self._fence(former)
        with self._transaction:
            self._connected()
        [committed] = self._committed([shard])
        position = shard.first_position() if committed is None else committed
        if former != self._instance_id:
            with self._transaction:
                self._transact([Batch(shard, [], position)], standing)
        shard.assignment = assignment
        return position

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

    # --- the publisher's thread -------------------------------------------------------------------

    def _run(self) -> None:
        begun = next_at = monotonic()
        while not self._closed:
            self._work.wait(max(next_at - monotonic(), 0.0))
            self._hurry.wait(max(begun + self._linger_s - monotonic(), 0.0))
            self._work.clear()
            begun = monotonic()
            try:
                next_at = self._round(begun)
            except Exception:  # a bug must not silence the results for ever
                _log.exception("publishing results")
                next_at = begun + _AFTER_A_BUG_S

    def _round(self, now: float) -> float:
        """Publish what is pending; return when to be called again."""
        standing = self._standing()
        owned = standing.owned
        shards = [each for each in self._shards if owned.get(each.partition) == each.assignment]
        if now >= self._retry_at:
            self._publish(sorted(shards, key=lambda shard: shard.committed_at), standing, now)
        return min([now + _IDLE_S, *(max(shard.due_at, self._retry_at) for shard in shards)])

    def _publish(self, shards: Sequence[ShardPublisher], standing: Standing, now: float) -> None:
        """Publish what some shards have to, in one transaction; what is too much waits."""
        if self._closed:
            return
        batches: list[Batch] = []
        try:
            with self._transaction:
                self._connected()
                batches += self._batches(shards, now)
                if batches:
                    self._transact(batches, standing)
        except KafkaException as error:
            self._put_off(error.args[0], batches, now)
        else:
            self._backoff.reset()

    def _batches(self, shards: Sequence[ShardPublisher], now: float) -> Iterator[Batch]:
        records = size = 0
        for shard in shards:
            batch = shard.batch(now, self._topic_error)
            if batch is not None:
                yield batch
                records, size = records + batch.records, size + batch.size
                if records >= RECORDS_MAX or size >= BYTES_MAX:
                    return

    # --- one transaction; the lock is held --------------------------------------------------------

    def _transact(self, batches: Sequence[Batch], standing: Standing) -> None:
        """The steps of a transaction. ``standing`` is older than the batches."""
        producer = self._connected()
        try:
            producer.begin_transaction()
            for batch in batches:
                batch.shard.produce(producer, batch)
            self._send_positions(producer, batches, standing.group)
            producer.commit_transaction(_CALL_S)
        except KafkaException as error:
            self._throw_away(error.args[0])
            raise
        now = monotonic()
        for batch in batches:
            batch.shard.committed(batch, now)

    def _send_positions(self, producer: Producer, batches: Sequence[Batch], group: object) -> None:
        """Add the positions to the transaction.

        The call may never return once the connection to the group's coordinator broke, whatever
        time-out it is given (librdkafka#5456, #5511; seen with 2.16 after a cut network).
        """
        places = []
        for batch in batches:
            partition, text = batch.shard.partition, f"{batch.shard.ids};{self._instance_id}"
            places.append(TopicPartition(self._events, partition, batch.position, text))
            places.append(TopicPartition(self._marker, partition, 0, text))
        try:
            within(
                _OFFSETS_S,
                lambda: producer.send_offsets_to_transaction(places, group, _OFFSETS_S),
            )
        except TimeoutError:
            raise KafkaException(
                KafkaError(KafkaError._TIMED_OUT, "the group's coordinator does not answer")
            ) from None

    def _connected(self) -> Producer:
        """Return our producer; a new one reads all positions again."""
        if self._producer is None:
            shards = self._shards
            producer = self._begun(self._instance_id)
            for shard, position in zip(shards, self._committed(shards), strict=True):
                if position is not None:
                    shard.resume(position)
            self._producer = producer
        return self._producer

    def _throw_away(self, error: KafkaError) -> None:
        """Let the producer go, whatever the error: the outcome may be unknown.

        Without the abort, the next one finds its transaction open, and waits for a fixed 500 ms.
        """
        producer, self._producer = self._producer, None
        assert producer is not None, "it had an error"
        try:
            producer.purge(in_queue=True, in_flight=True, blocking=False)
            if error.txn_requires_abort():
                within(_ABORT_S, lambda: producer.abort_transaction(_ABORT_S))
        except (KafkaException, TimeoutError) as cause:
            _log.debug("giving up the publisher: %s", cause)
        let_go(producer)

    # --- producers and positions ------------------------------------------------------------------

    def _begun(self, instance_id: str) -> Producer:
        """Return a producer in the name of a process; whoever had it is fenced. Blocks.

        The topic is looked up so that a missing one is named, and so that a broker is connected:
        ``init_transactions`` of a producer without one waits for a fixed 500 ms (measured with
        librdkafka 2.16).
        """
        transactional_id = f"{self.connection.namespace}.publisher.{instance_id}"
        producer = Producer(self.connection.transactional_producer(transactional_id))
        results = self.connection.topic("results")
        try:
            found = producer.list_topics(results, _CALL_S).topics.get(results)
            if found is not None and found.error is not None:
                raise KafkaException(found.error)
            producer.init_transactions(_CALL_S)
        except KafkaException:
            let_go(producer)
            raise
        return producer

    def _fence(self, former: str) -> None:
        """Abort what another process left open. If it still lives, it connects again."""
        with self._fencing:
            oldest = monotonic() - _FENCE_AGAIN_S
            self._fenced_at = {name: at for name, at in self._fenced_at.items() if at > oldest}
            if former not in self._fenced_at:
                let_go(self._begun(former))
                self._fenced_at[former] = monotonic()

    def _committed(self, shards: Sequence[ShardPublisher]) -> Sequence[int | None]:
        """Return what is committed for shards, None where nothing is. Blocks.

        A transaction that is about to change one of them is waited for. Raises ``LogTruncated``
        where it was committed for other topics than the shard's.
        """
        if not shards:
            return ()
        places = [
            TopicPartition(topic, shard.partition)
            for topic in (self._events, self._marker)
            for shard in shards
        ]
        with self._positions_lock:
            found = self._positions.committed(places, _POSITION_S)
        holder = f"the offset of group {self.connection.shards_group}"
        for place, shard in zip(found, (*shards, *shards), strict=True):
            if place.error is not None:
                raise KafkaException(place.error)
            check_ids(self.connection, (place.metadata or "").partition(";")[0], shard.ids, holder)
        positions = [place.offset for place in found[: len(shards)]]
        return [None if offset < 0 else offset for offset in positions]

    def _topic_error(self, topic: str) -> KafkaError | None:
        """Return why a topic takes nothing now. Blocks."""
        assert self._producer is not None, "connected before"
        found = self._producer.list_topics(topic, _CALL_S).topics.get(topic)
        if found is None:
            return KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        if found.error is None and any(each.leader < 0 for each in found.partitions.values()):
            return KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "a partition of it has no leader")
        error: KafkaError | None = found.error
        return error

    # --- what can go wrong --------------------------------------------------------------------

    def _put_off(self, error: KafkaError, batches: Sequence[Batch], now: float) -> None:
        """Try again later, or at once without what was refused."""
        shards = [batch.shard for batch in batches]
        refused = [shard for shard in shards if shard.put_off(error, now)]
        if self._closed or refused:
            return
        for shard in shards:
            shard.forget_topics()
        if error.code() not in FENCED | NOT_A_MEMBER and self._found(batches):
            return
        self._retry_at = now + self._backoff.next_s()
        expected = error.code() in FENCED | NOT_A_MEMBER
        _log.log(
            logging.INFO if expected else logging.WARNING,
            "publishing failed for %d shards (%s: %s); it is tried again from the committed "
            "positions%s",
            len(shards) or len(self._shards),
            error.name(),
            error.str(),
            self.hint(error),
        )

    def _found(self, batches: Sequence[Batch]) -> bool:
        """Try the topics of a transaction that failed for none in particular, one by one.

        Those that take nothing are closed for all their shards. Returns whether there was one.
        """
        samples: dict[str, Publish] = {}
        for batch in batches:
            for record in batch.shard.published(batch):
                samples.setdefault(record.topic, record)
        first = self._probed_to % max(len(samples), 1)
        tried = [*samples.values()][first:][:PROBES_MAX]
        self._probed_to = first + len(tried)
        found = False
        for record in tried:
            try:
                with self._transaction:
                    error = probed(self._connected(), record)
                    if error is not None:
                        self._throw_away(error)
            except KafkaException:  # no broker serves us: the topics are not to blame
                return found
            for shard in {batch.shard for batch in batches}:
                if error is not None:
                    found |= shard.suspect(record.topic, error, monotonic())
        return found

    def hint(self, error: KafkaError) -> str:
        """Return what to do about an error, for the end of a message."""
        if error.code() not in MISSING:
            return ""
        results = self.connection.topic("results")
        return f". {results} or a topic of workflow.publish is missing: `processor topics apply`"
