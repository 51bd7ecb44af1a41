"""Carries out what ``Publishing`` asks for, with librdkafka's transactional producer.

After any error the producer is thrown away, because librdkafka does not speak transactions v2: a
delayed end of one transaction could otherwise commit or abort the next (KIP-890;
https://jepsen.io/analyses/bufstream-0.1.0; librdkafka#5423). The next one with its transactional id
aborts or completes what it left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Lock
from time import sleep
from typing import Any, Final, assert_never

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from processor.kafka.clients.bounded import let_go, send_positions, within
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import made
from processor.kafka.publishing.probing import probed
from processor.kafka.publishing.writing import fault_of, write
from processor.kafka.shards.identity import check_ids
from processor.node.publishing.faults import Fault, PublishingFailed, Refusal, TopicFault
from processor.node.publishing.outputs import Batch, ShardOutputs
from processor.node.publishing.steps import (
    Committed,
    Connect,
    Exclusively,
    Fence,
    GiveUp,
    LastCommitted,
    Pause,
    Probe,
    Step,
    Steps,
    Transact,
)

__all__ = ("TransactionalClient",)

_log = logging.getLogger("processor.kafka")

_CALL_S: Final = 10.0
_POSITION_S: Final = 2.0
"""Asking again is faster than waiting: after a broker's absence the first call may see no end."""

_OFFSETS_S = 5.0
"""A thousand times what it takes; the shards of the process publish nothing meanwhile."""

_ABORT_S: Final = 1.0


class TransactionalClient:
    """``instance_id`` names this process. ``drive`` may be called from several threads.

    ``last_committed`` reads a committed offset, although a transaction may be about to change it.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        instance_id: str,
        last_committed: Callable[[TopicPartition], TopicPartition],
    ) -> None:
        self._connection = connection
        self._events = connection.events
        self._marker = connection.topic("timers")
        self._instance_id = instance_id
        self._last_committed = last_committed
        self._positions = made(Consumer, connection.consumer({"isolation.level": "read_committed"}))
        self._positions_lock = Lock()
        self._locks = {"transaction": Lock(), "fencing": Lock()}
        self._producer: Producer | None = None

    def drive(self, steps: Steps) -> Any:
        """Do all steps, and return what they return. Blocks."""
        try:
            step = next(steps)
            while True:
                try:
                    done = self._do(step)
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(done)
        except StopIteration as end:
            return end.value

    def close(self) -> None:
        with self._positions_lock:
            self._positions.close()

    def _do(self, step: Step) -> Any:
        try:
            match step:
                case Exclusively():
                    with self._locks[step.what]:
                        return self.drive(step.steps)
                case Pause():
                    sleep(step.seconds)
                case LastCommitted():
                    last = self._last_committed(TopicPartition(self._events, step.partition))
                    return (last.metadata or "").partition(";")[2]
                case Fence():
                    let_go(self._begun(step.name))
                case Connect():
                    self._connect()
                case Committed():
                    return self._committed(step.shards)
                case Transact():
                    self._transact(step)
                case GiveUp():
                    self._give_up(step.fault)
                case TopicFault():
                    return self._topic_fault(step.topic)
                case Probe():
                    error = probed(self._connected, step.record)
                    return None if error is None else fault_of(error)
                case _:
                    assert_never(step)
        except KafkaException as error:
            raise PublishingFailed(fault_of(error.args[0])) from error
        return None

    @property
    def _connected(self) -> Producer:
        assert self._producer is not None, "connected before"
        return self._producer

    # --- one transaction --------------------------------------------------------------------------

    def _transact(self, step: Transact) -> None:
        producer = self._connected
        refusals: dict[int, list[Refusal]] = {each.shard.partition: [] for each in step.batches}
        try:
            producer.begin_transaction()
            for batch in step.batches:
                shard, refused = batch.shard, refusals[batch.shard.partition]
                for output in shard.outputs(batch):
                    write(producer, self._connection, shard.partition, output, refused)
            self._send_positions(producer, step.batches, step.group)
            producer.commit_transaction(_CALL_S)
        except KafkaException as error:
            raise PublishingFailed(fault_of(error.args[0]), refusals) from error
        except PublishingFailed as error:
            raise PublishingFailed(error.fault, refusals) from error

    def _send_positions(self, producer: Producer, batches: Sequence[Batch], group: object) -> None:
        """Add the positions to the transaction.

        They are committed with the ids of the shard's topics, and once more beside it for
        ``timers``: Kafka drops a topic's offsets together with the topic.
        """
        places = []
        for batch in batches:
            partition, text = batch.shard.partition, f"{batch.shard.ids};{self._instance_id}"
            places.append(TopicPartition(self._events, partition, batch.position, text))
            places.append(TopicPartition(self._marker, partition, 0, text))
        send_positions(producer, places, group, _OFFSETS_S)

    def _give_up(self, fault: Fault) -> None:
        """Let the producer go.

        Without the abort, the next one finds its transaction open, and waits for a fixed 500 ms.
        """
        producer, self._producer = self._connected, None
        try:
            producer.purge(in_queue=True, in_flight=True, blocking=False)
            if fault.aborts:
                within(_ABORT_S, lambda: producer.abort_transaction(_ABORT_S))
        except (KafkaException, TimeoutError) as cause:
            _log.debug("giving up the publisher: %s", cause)
        let_go(producer)

    # --- producers and positions ------------------------------------------------------------------

    def _connect(self) -> None:
        """Begin a producer; one whose positions could not be read is let go."""
        former, self._producer = self._producer, None
        if former is not None:
            let_go(former)
        self._producer = self._begun(self._instance_id)

    def _begun(self, instance_id: str) -> Producer:
        """Return a producer in the name of a process; whoever had it is fenced. Blocks.

        The topic is looked up so that a missing one is named, and so that a broker is connected:
        ``init_transactions`` of a producer without one waits for a fixed 500 ms (measured with
        librdkafka 2.16).
        """
        transactional_id = f"{self._connection.namespace}.publisher.{instance_id}"
        producer = made(Producer, self._connection.transactional_producer(transactional_id))
        results = self._connection.topic("results")
        try:
            found = producer.list_topics(results, _CALL_S).topics.get(results)
            if found is not None and found.error is not None:
                raise KafkaException(found.error)
            producer.init_transactions(_CALL_S)
        except KafkaException:
            let_go(producer)
            raise
        return producer

    def _committed(self, shards: Sequence[ShardOutputs]) -> Sequence[int | None]:
        places = [
            TopicPartition(topic, shard.partition)
            for topic in (self._events, self._marker)
            for shard in shards
        ]
        with self._positions_lock:
            found = self._positions.committed(places, _POSITION_S)
        holder = f"the offset of group {self._connection.shards_group}"
        for place, shard in zip(found, (*shards, *shards), strict=True):
            if place.error is not None:
                raise KafkaException(place.error)
            check_ids(self._connection, (place.metadata or "").partition(";")[0], shard.ids, holder)
        positions = [place.offset for place in found[: len(shards)]]
        return [None if offset < 0 else offset for offset in positions]

    def _topic_fault(self, topic: str) -> Fault | None:
        found = self._connected.list_topics(topic, _CALL_S).topics.get(topic)
        if found is None:
            return fault_of(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        if found.error is None and any(each.leader < 0 for each in found.partitions.values()):
            no_leader = "a partition of it has no leader"
            return fault_of(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, no_leader))
        return None if found.error is None else fault_of(found.error)
