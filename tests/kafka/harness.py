"""What the adapter tests share: the adapters of one process, and the broker seen from beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from processor.config import Settings
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun
from processor.core.records.effects import ActivityTask
from processor.kafka.clients.connection import NO_OPTIONS, KafkaSettings, partition_of
from processor.kafka.shards.log import KafkaLog
from processor.kafka.shards.ports import KafkaPorts
from processor.kafka.topics.upkeep import apply, plan, read_topics
from processor.kafka.transport import KafkaTransport
from processor.node.publishing.steps import Standing
from processor.shard.ports import InboxRecord, ShardPorts

PARTITIONS = 4


class FrozenClock:
    def now_ms(self) -> int:
        return 1_000


class Adapters:
    """The adapters of one process ("me"), and the means to look at the broker beside them."""

    def __init__(
        self,
        servers: str,
        namespace: str,
        admin: AdminClient,
        state: Path,
        extra: Mapping[str, Any] = NO_OPTIONS,
    ) -> None:
        self.connection = KafkaSettings(servers, namespace, extra)
        self.admin = admin
        self.state = state
        self.wakes = 0
        self.transport = self.new_transport()
        self.ports = self.new_ports(self.transport)
        self._opened: dict[int, ShardPorts] = {}

    def new_transport(self) -> KafkaTransport:
        return KafkaTransport(self.connection, Settings(inbox_records_max=1_000))

    def new_ports(self, transport: KafkaTransport) -> KafkaPorts:
        none: Any = None
        nobody = nobodys(self.connection)
        return KafkaPorts(
            transport, self.state, none, FrozenClock(), "me", lambda _: True, lambda: nobody
        )

    def open(self, partition: int = 0) -> ShardPorts:
        """Return the ports of a shard; those it had before are closed first."""
        self._close(partition)
        opened = self._opened[partition] = self.ports.open(partition, self.wake)
        return opened

    def wake(self) -> None:
        self.wakes += 1

    def close(self) -> None:
        for partition in list(self._opened):
            self._close(partition)
        self.ports.close()
        self.transport.close()

    def _close(self, partition: int) -> None:
        opened = self._opened.pop(partition, None)
        if opened is not None:
            opened.inbox.close()
            opened.outbox.close()
            opened.tables.close()

    def topic(self, name: str) -> str:
        return self.connection.topic(name)

    def produce(self, name: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        producer = Producer({"bootstrap.servers": self.connection.servers})
        producer.produce(self.topic(name), value, key, partition)
        assert producer.flush(10) == 0

    def records(
        self, topic: str, count: int, partitions: int = 1, isolation: str = "read_committed"
    ) -> list[Message]:
        """Return a topic's records once there are ``count``, and any that follow within 0.3 s."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.connection.servers,
                "group.id": "looks",
                "isolation.level": isolation,
            }
        )
        consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        found: list[Message] = []
        deadline = time.monotonic() + 60
        while len(found) < count and time.monotonic() < deadline:
            found += consumer.consume(1_000, 0.2)
        found += consumer.consume(1_000, 0.3)
        consumer.close()
        assert not [m for m in found if m.error()]
        return found


def nobodys(connection: KafkaSettings) -> Standing:
    """Return the standing of a process in a group without members, where nobody is refused."""
    consumer = Consumer(connection.consumer())
    metadata = consumer.consumer_group_metadata()
    consumer.close()
    return Standing(metadata, dict.fromkeys(range(PARTITIONS), 1))


@contextmanager
def adapters(
    servers: str,
    namespace: str,
    admin: AdminClient,
    state: Path,
    extra: Mapping[str, Any] = NO_OPTIONS,
) -> Iterator[Adapters]:
    """Make a namespace and its adapters; nothing of them runs afterwards."""
    apply(admin, plan(admin, namespace, PARTITIONS, 1))
    made = Adapters(servers, namespace, admin, state, extra)
    try:
        yield made
    finally:
        made.close()


def until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.002)


def acknowledged(log: KafkaLog, count: int) -> list[int]:
    offsets: list[int] = []

    def all_there() -> bool:
        offsets.extend(log.acknowledged())
        return len(offsets) >= count

    until(all_there, f"{count} acknowledgements")
    return offsets


def log_of(ports: ShardPorts) -> KafkaLog:
    assert isinstance(ports.log, KafkaLog)
    return ports.log


def taken(ports: ShardPorts, count: int) -> list[InboxRecord]:
    records: list[InboxRecord] = []

    def all_there() -> bool:
        records.extend(ports.inbox.take(count))
        return len(records) >= count

    until(all_there, f"{count} inputs")
    return records


def start(workflow_id: str) -> ClientCommand:
    return ClientCommand(workflow_id, StartRun("order"))


def id_on(partition: int, number: int = 0) -> str:
    """Return a workflow id of a partition."""
    candidates = (f"order-{n}" for n in range(10_000))
    return [c for c in candidates if partition_of(c, PARTITIONS) == partition][number]


def task(queue: str = "default", id: int = 1, value: bytes = b"[]") -> ActivityTask:
    return ActivityTask(
        "w", "0-0", "order", id, 1, "charge", value, queue, False, 0, None, None, None, None
    )


def set_config(admin: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    request = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([request]).values():
        future.result()
    until(lambda: read_topics(admin, [topic])[topic].configs[name] == value, f"{name}={value}")


def delete_below(admin: AdminClient, topic: str, partition: int, offset: int) -> None:
    """Delete records of a topic whose policy allows it, as soon as its log has heard of that."""
    place = TopicPartition(topic, partition, offset)

    def deleted() -> bool:
        [future] = admin.delete_records([place]).values()
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.POLICY_VIOLATION:
                raise
            return False
        return True

    until(deleted, f"the deletion of records of {topic}")


def recreate(admin: AdminClient, topic: str, partitions: int) -> None:
    """Delete a topic and make it again: the same name, another topic id."""
    for future in admin.delete_topics([topic], operation_timeout=10).values():
        future.result()
    until(lambda: not read_topics(admin, [topic]), "the deletion")
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result()
    until(lambda: bool(read_topics(admin, [topic])), "the creation")
