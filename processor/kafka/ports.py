"""Connects shards to Kafka: implements the node's ``PortsFactory``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription

from processor.codec.records import decode
from processor.core.turn import Turn
from processor.errors import LogTruncated, TopicsNotReady
from processor.kafka.faults import MISSING
from processor.kafka.inbox import INPUTS, KafkaInbox
from processor.kafka.log import KafkaLog
from processor.kafka.outbox import KafkaOutbox
from processor.kafka.publisher import ShardPublisher
from processor.kafka.transport import KafkaTransport
from processor.shard.ports import Activities, Clock, ShardPorts
from processor.store.rocks import Rocks, destroy
from processor.store.tables import StateTables

__all__ = ("KafkaPorts",)

_CALL_S = 10.0


class KafkaPorts:
    """``may_own`` is the membership's. State directories are ``state_dir/namespace/partition``."""

    def __init__(
        self,
        transport: KafkaTransport,
        state_dir: Path,
        activities: Activities,
        clock: Clock,
        may_own: Callable[[int], bool],
    ) -> None:
        self._transport = transport
        self._connection = transport.connection
        self._state_dir = state_dir / self._connection.namespace
        self._activities = activities
        self._clock = clock
        self._may_own = may_own
        self._admin: AdminClient | None = None
        self._admin_lock = Lock()
        self._inboxes: dict[int, KafkaInbox] = {}

    def open(self, partition: int, wake: Callable[[], None]) -> ShardPorts:
        transport = self._transport
        topic_id, partitions = self._describe_log()
        tables = self._open_tables(partition, topic_id)
        try:
            transport.wake_on_delivery(wake)
            watermarks = transport.watermarks
            log = KafkaLog(self._connection, partition, transport.log, watermarks)
            publisher = ShardPublisher(
                partition,
                transport.publishing,
                lambda: self._may_own(partition),
                lambda: _is_new(log),
            )
            outbox = KafkaOutbox(partition, partitions, transport, publisher)
            topics = [self._connection.topic(name) for name in INPUTS]
            inbox = KafkaInbox(partition, partitions, topics, transport.reader, watermarks, wake)
        except BaseException:
            tables.close()
            raise
        self._inboxes[partition] = inbox
        return ShardPorts(log, inbox, outbox, tables, self._activities, self._clock)

    def wipe(self, partition: int) -> None:
        destroy(self._path(partition))

    def may_own(self, partition: int) -> bool:
        return self._may_own(partition)

    def begin_pass(self) -> None:
        self._transport.begin_pass()

    def end_pass(self) -> bool:
        return self._transport.end_pass()

    def watch(self) -> None:
        self._transport.watch()

    def next_command(self, partition: int) -> int:
        """Return the offset in ``commands`` that a shard takes next, -1 where it is not known."""
        inbox = self._inboxes.get(partition)
        return -1 if inbox is None else inbox.next_command

    def _path(self, partition: int) -> Path:
        return self._state_dir / str(partition)

    def _open_tables(self, partition: int, topic_id: str) -> StateTables:
        """Open the state directory; ``identity`` tells the log that it is a cache of."""
        shard = f"{self._connection.namespace}/{partition}@"
        identity = shard + topic_id
        store = Rocks(self._path(partition))
        try:
            held = store.get("meta", b"identity")
            if held is not None and held != identity.encode() and held.startswith(shard.encode()):
                raise LogTruncated(
                    f"{self._connection.events} was deleted and made again: the state directory "
                    f"{self._path(partition)} belongs to topic id {held.decode()[len(shard) :]}, "
                    f"and the topic's is {topic_id}. The workflows of the old log are gone from "
                    "Kafka. If that is intended, delete the state directory"
                )
            return StateTables(store, identity)
        except BaseException:
            store.close()
            raise

    def _describe_log(self) -> tuple[str, int]:
        """Return the id of the topic ``events`` and how many partitions it has."""
        topic = self._connection.events
        with self._admin_lock:
            if self._admin is None:
                self._admin = AdminClient(self._connection.admin())
            future = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_CALL_S)[
                topic
            ]
        try:
            described: TopicDescription = future.result()
        except KafkaException as error:
            if error.args[0].code() not in MISSING:
                raise
            raise TopicsNotReady(
                f"topic {topic} does not exist ({error.args[0].str()}): run `processor topics "
                f"apply --namespace {self._connection.namespace}`"
            ) from error
        return str(described.topic_id), len(described.partitions)


def _is_new(log: KafkaLog) -> bool:
    """Return whether no turn was ever written: there are claims at the most."""
    for record in log.read(*log.bounds()):
        if record.value is not None and isinstance(decode(record.value), Turn):
            return False
    return True
