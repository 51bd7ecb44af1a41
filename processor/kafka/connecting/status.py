"""How far a connection is: its position in each partition, and what is left to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processor.errors import ProcessorError, ShardUnavailable
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import ends_of, made
from processor.kafka.connecting.source import group_of
from processor.kafka.topics.upkeep import connect

__all__ = ("ConnectionStatus", "ConnectionUnknown", "PartitionStatus", "status_of")

_CALL_S: Final = 10.0


class ConnectionUnknown(ProcessorError):
    """No connection of this group has read anything."""


@dataclass(frozen=True)
class PartitionStatus:
    """``position`` is the next offset to read, ``lag`` how many records that leaves."""

    topic: str
    partition: int
    position: int
    end: int
    lag: int


@dataclass(frozen=True)
class ConnectionStatus:
    """``processes`` are those that read now, in connections."""

    group: str
    processes: int
    partitions: tuple[PartitionStatus, ...]


def status_of(connection: KafkaSettings, group: str) -> ConnectionStatus:
    """Return how far a connection is. Blocks.

    Raises ``ConnectionUnknown``, ``BrokerUnreachable`` and ``ShardUnavailable``.
    """
    admin, name = connect(connection.servers, connection.extra), group_of(connection, group)
    try:
        positions = _positions(connection, name)
        described = admin.describe_consumer_groups([name], request_timeout=_CALL_S)
        processes = len(described[name].result(_CALL_S).members)
        places = [TopicPartition(*place) for place in positions]
        ends = ends_of(admin, places, _CALL_S, committed=True)
    except KafkaException as error:
        raise ShardUnavailable(f"group {name} cannot be read: {error.args[0].str()}") from error
    if not positions and not processes:
        raise ConnectionUnknown(
            f"no connection {group!r} has read anything in namespace {connection.namespace!r}: its "
            "name is the topic's, or what --group says"
        )
    found = [
        PartitionStatus(
            *(place.topic, place.partition),
            *(positions[place.topic, place.partition], end),
            max(end - positions[place.topic, place.partition], 0),
        )
        for place, end in ends.items()
    ]
    ordered = tuple(sorted(found, key=lambda each: (each.topic, each.partition)))
    return ConnectionStatus(group, processes, ordered)


def _positions(connection: KafkaSettings, name: str) -> dict[tuple[str, int], int]:
    """Return what a group has committed, of all topics that there are.

    A consumer asks: the admin client's own call is not safe (``Headroom`` says why).
    """
    consumer = made(Consumer, connection.consumer(group=name))
    try:
        topics = consumer.list_topics(timeout=_CALL_S).topics
        places = [
            TopicPartition(topic, partition)
            for topic, found in topics.items()
            for partition in found.partitions
            if not topic.startswith("__")
        ]
        return {
            (each.topic, each.partition): each.offset
            for each in (consumer.committed(places, _CALL_S) if places else ())
            if each.offset >= 0
        }
    finally:
        consumer.close()
