"""Has the look-up of a namespace made anew from the log."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Final

from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient

from processor.errors import ProcessorError
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.shards.identity import describe_existing
from processor.kafka.topics.upkeep import connect
from processor.views.stream.lookup.app import TOPIC
from processor.views.stream.lookup.entries import forgotten, position_key
from processor.views.stream.lookup.running import changelog_of

__all__ = ("rebuild",)

_ASK_S: Final = 10.0
_SEND_S: Final = 30.0
_GONE_S: Final = 20.0
_LOOK_S: Final = 0.5


def rebuild(connection: KafkaSettings) -> int:
    """Let each partition forget how far it is; return how many there are. Blocks.

    The process that has a partition next deletes what its table holds, and begins anew. Raises
    ``ProcessorError`` where a process serves the look-up: it would write its own position again.
    One that has just stopped is in the group for 12 s more, which are waited for.
    """
    admin = connect(connection.servers, connection.extra)
    count = len(describe_existing(admin, connection, ("events",))["events"].partitions)
    changelog_of(admin, connection, count)
    group = f"{connection.namespace}.{TOPIC}"
    until = monotonic() + _GONE_S
    while members := members_of(admin, group):
        if monotonic() > until:
            raise ProcessorError(
                f"{members} processes serve the look-up (group {group}): stop each `processor "
                "views serve`, then try again"
            )
        sleep(_LOOK_S)
    producer = Producer(connection.producer({"message.timeout.ms": int(_SEND_S * 1000)}))
    refused: list[KafkaError] = []
    for partition in range(count):
        producer.produce(
            connection.topic(TOPIC),
            key=position_key(partition),
            value=forgotten(),
            partition=partition,
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
    producer.flush(_SEND_S + 1)
    if refused:
        raise ProcessorError(
            f"{connection.topic(TOPIC)} did not take the record that makes it anew "
            f"({refused[0].str()}): nothing else was changed. Try again"
        )
    return count


def members_of(admin: AdminClient, group: str) -> int:
    """Return how many processes a group has."""
    found = admin.describe_consumer_groups([group], request_timeout=_ASK_S)[group].result()
    return len(found.members)
