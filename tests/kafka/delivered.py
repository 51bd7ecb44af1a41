"""A shard's publisher on a real broker, and what it leaves there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from processor.codec.records import decode_as
from processor.config import Settings
from processor.core.records.effects import DeadLetter, Publish, RunResult
from processor.kafka.publishing.publisher import KafkaPublisher, ShardPublisher
from processor.kafka.topics.upkeep import read_topics
from processor.kafka.transport import KafkaTransport

from .harness import PARTITIONS, Adapters, nobodys, until


def publishers(kafka: Adapters) -> Iterator[ShardPublisher]:
    """Yield the publisher of shard 0, and end its process after that."""
    nobody = nobodys(kafka.connection)
    transport = KafkaTransport(kafka.connection, Settings())
    process = KafkaPublisher(kafka.connection, "me", lambda: nobody, transport.last_committed, 0.02)
    publisher = ShardPublisher(0, process, "", lambda: True)
    publisher.begin()
    yield publisher
    publisher.close()
    process.close()
    transport.close()


def result(number: int) -> RunResult:
    of = f"w{number}", f"run-{number}", f"run-{number}"
    return RunResult(*of, "workflow", "completed", b"%d" % number, None, None, 1)


def record(topic: str, value: bytes, number: int = 1, key: bytes | None = b"k") -> Publish:
    return Publish(topic, key, value, {}, f"w{number}", f"run-{number}")


def topic_of(kafka: Adapters, name: str, **configs: str) -> str:
    """Make a topic of the user's."""
    topic = f"{kafka.connection.namespace}-{name}"
    made = NewTopic(topic, 1, 1, config={name.replace("_", "."): v for name, v in configs.items()})
    for future in kafka.admin.create_topics([made]).values():
        future.result()
    until(lambda: bool(read_topics(kafka.admin, [topic])), f"topic {topic}")
    return topic


def letters(kafka: Adapters, count: int) -> list[DeadLetter]:
    found = kafka.records(kafka.topic("dead-letters"), count)
    return [decode_as(DeadLetter, message.value() or b"") for message in found]


def results(kafka: Adapters, count: int) -> list[int]:
    found = kafka.records(kafka.topic("results"), count, PARTITIONS)
    return sorted(int(decode_as(RunResult, m.value() or b"").result or b"") for m in found)


def is_done(publisher: ShardPublisher) -> Callable[[], bool]:
    return lambda: publisher.outputs.backlog == 0


def deny(admin: AdminClient, topic: str, operation: AclOperation) -> AclBinding:
    """Make the rule by which nobody may do this with a topic, and return it."""
    kinds = ResourceType.TOPIC, topic, ResourcePatternType.LITERAL
    rule = AclBinding(*kinds, "User:ANONYMOUS", "*", operation, AclPermissionType.DENY)
    for future in admin.create_acls([rule]).values():
        future.result()
    return rule


def allow(admin: AdminClient, rule: AclBinding) -> None:
    """Take a rule back."""
    kinds = rule.restype, rule.name, rule.resource_pattern_type
    only = AclBindingFilter(*kinds, rule.principal, rule.host, rule.operation, rule.permission_type)
    for future in admin.delete_acls([only]).values():
        future.result()
