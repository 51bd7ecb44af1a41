"""Connects shards to Kafka: implements the node's ``PortsFactory``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import urandom
from pathlib import Path
from threading import Lock

from confluent_kafka.admin import AdminClient

from processor.checks import RECORD_BYTES_MAX
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.kafka.clients.connection import LOG_RECORD_BYTES_MAX, partition_of
from processor.kafka.clients.faults import made
from processor.kafka.clients.producers import which_producer
from processor.kafka.publishing.publisher import KafkaPublisher, ShardPublisher
from processor.kafka.shards.identity import check_ids, describe_shard_topics, ids_text, log_id
from processor.kafka.shards.inbox import INPUTS, KafkaInbox
from processor.kafka.shards.log import KafkaLog
from processor.kafka.shards.looking import Looks
from processor.kafka.shards.outbox import KafkaOutbox
from processor.kafka.topics.upkeep import read_topics
from processor.kafka.transport import KafkaTransport
from processor.node.publishing.steps import Standing
from processor.shard.messages.border import Border
from processor.shard.ports import Activities, Clock, ShardPorts
from processor.shard.recovery.survey import entry_of
from processor.store.projections import FAMILIES
from processor.store.rocks import Rocks, destroy
from processor.store.tables import StateTables

__all__ = ("KafkaPorts",)

_BATCH_BYTES = 1_024
"""What a batch of one record has beside its value, and more."""

_TOMBSTONES_DEFAULT_MS = 86_400_000
"""Kafka's own default, for where we may not read the topic's configuration."""


class KafkaPorts:
    """``may_own`` and ``standing`` are the membership's; ``instance_id`` names this process.

    State directories are ``state_dir/instance_id/namespace/partition``.
    """

    def __init__(
        self,
        transport: KafkaTransport,
        state_dir: Path,
        activities: Activities,
        clock: Clock,
        instance_id: str,
        may_own: Callable[[int], bool],
        standing: Callable[[], Standing],
    ) -> None:
        self._transport = transport
        self._connection = transport.connection
        self._state_dir = state_dir / instance_id / self._connection.namespace
        self._activities = activities
        self._clock = clock
        self._instance_id = instance_id
        self._may_own = may_own
        self._standing = standing
        self._publisher: KafkaPublisher | None = None
        self._admin: AdminClient | None = None
        self._lock = Lock()
        self._ids = ""
        self._looks: Looks | None = None
        self._inboxes: dict[int, KafkaInbox] = {}

    def open(self, partition: int, wake: Callable[[], None]) -> ShardPorts:
        transport = self._transport
        ids, partitions, tombstones_ms, record_bytes_max = self._describe()
        if self._looks is None:
            self._looks = Looks(self._connection, self._admin_client(), partitions)
        self._ids = self._ids or ids
        tables = self._open_tables(partition, ids)
        try:
            transport.wake_on_delivery(wake)
            watermarks, producing = transport.watermarks, transport.log
            log = KafkaLog(self._connection, partition, log_id(ids), producing, watermarks)
            process = self._shared_publisher()
            publisher = ShardPublisher(
                partition, process, ids, lambda: _is_new(self._connection.events, partition, log)
            )
            outbox = KafkaOutbox(partition, partitions, transport, producing, publisher)
            topics = [self._connection.topic(name) for name in INPUTS.values()]
            inbox = KafkaInbox(partition, partitions, topics, transport.reader, watermarks, wake)
        except BaseException:
            tables.close()
            raise
        self._inboxes[partition] = inbox
        return ShardPorts(
            log,
            inbox,
            outbox,
            tables,
            self._activities,
            self._clock,
            partial(urandom, 16),
            lambda workflow_id: partition_of(workflow_id, partitions) == partition,
            tombstones_ms,
            log_topic=self._connection.events,
            record_bytes_max=record_bytes_max,
            producer=partial(which_producer, self._connection.servers, self._connection.extra),
            border=Border(self._connection.namespace),
        )

    def drain(self, timeout_s: float) -> None:
        """Publish what is pending now. Blocks."""
        if self._publisher is not None:
            self._publisher.drain(timeout_s)

    def close(self) -> None:
        """Stop publishing. Blocks."""
        if self._publisher is not None:
            self._publisher.close()

    def wipe(self, partition: int) -> None:
        destroy(self._path(partition))

    def may_own(self, partition: int) -> bool:
        return self._may_own(partition)

    def begin_pass(self) -> None:
        self._transport.begin_pass()

    def end_pass(self) -> bool:
        return self._transport.end_pass()

    def wait(self, timeout_s: float) -> bool:
        return self._transport.wait(timeout_s)

    def watch(self) -> None:
        self._transport.watch()

    def next_command(self, partition: int) -> int:
        """Return the offset in ``commands`` that a shard takes next, -1 where it is not known."""
        inbox = self._inboxes.get(partition)
        return -1 if inbox is None else inbox.next_command

    def check_topics(self) -> None:
        """Raise where topics were deleted or made again since the first shard was opened. Blocks.

        Clients may say nothing of it: one that reads a new topic at the offset of an old one.
        """
        if self._ids:
            ids, _ = describe_shard_topics(self._admin_client(), self._connection)
            check_ids(self._connection, self._ids, ids_text(ids), "this process")
        if self._looks is not None:
            self._looks.look([shard for shard in list(self._inboxes) if self._may_own(shard)])

    def _path(self, partition: int) -> Path:
        return self._state_dir / str(partition)

    def _open_tables(self, partition: int, ids: str) -> StateTables:
        """Open the state directory; ``ids`` are those of the topics that it is a cache of."""
        shard = f"{self._connection.namespace}/{partition}@"
        path = self._path(partition)
        store = Rocks(path, FAMILIES, marked=True)
        try:
            held = (store.get("meta", b"identity") or b"").decode(errors="replace")
            if held.startswith(shard):
                holder = f"the state directory {path}"
                check_ids(self._connection, held.removeprefix(shard), ids, holder)
            return StateTables(store, shard + ids)
        except BaseException:
            store.close()
            raise

    def _describe(self) -> tuple[str, int, int, int]:
        """Return the topics' ids and partitions, and what ``events`` keeps and takes.

        That is how many ms it keeps tombstones, and how many bytes a record may have.
        """
        admin = self._admin_client()
        ids, partitions = describe_shard_topics(admin, self._connection)
        events = self._connection.events
        state = read_topics(admin, (events,)).get(events)
        configs = {} if state is None else state.configs
        tombstones_ms = int(configs.get("delete.retention.ms", _TOMBSTONES_DEFAULT_MS))
        takes = int(configs.get("max.message.bytes", LOG_RECORD_BYTES_MAX)) - _BATCH_BYTES
        return ids_text(ids), partitions, tombstones_ms, min(takes, RECORD_BYTES_MAX)

    def _shared_publisher(self) -> KafkaPublisher:
        with self._lock:
            if self._publisher is None:
                transport = self._transport
                self._publisher = KafkaPublisher(
                    self._connection,
                    self._instance_id,
                    self._standing,
                    transport.last_committed,
                    transport.settings.publish_linger_ms / 1000,
                )
            return self._publisher

    def _admin_client(self) -> AdminClient:
        with self._lock:
            if self._admin is None:
                self._admin = made(AdminClient, self._connection.admin())
            return self._admin


def _is_new(topic: str, partition: int, log: KafkaLog) -> bool:
    """Return whether no turn was ever written: there are claims at the most."""
    for record in log.read(*log.bounds()):
        if record.value is not None:
            if isinstance(entry_of(topic, partition, record), Turn | Snapshot):
                return False
    return True
