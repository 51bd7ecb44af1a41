"""Kafka's error codes, classed by the reaction that they demand; and clients that are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from processor.kafka.clients.bounded import silence
from processor.kafka.clients.properties import KafkaConfigInvalid

__all__ = (
    "ELSEWHERE",
    "FENCED",
    "FORBIDDEN",
    "FOR_NOW",
    "INVALID",
    "MISSING",
    "NOT_A_MEMBER",
    "PRODUCER_UNKNOWN",
    "PURGED",
    "TOO_LARGE",
    "TRUNCATED",
    "ends_of",
    "forbidding",
    "made",
    "watermarks_of",
)

C = TypeVar("C")

_REFUSED: Final = frozenset((KafkaError._INVALID_ARG, KafkaError._CONFLICT))
"""A property, or two that do not go together."""

MISSING: Final = frozenset(
    (
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
    )
)
"""The topic or partition does not exist (any more)."""

TRUNCATED: Final = frozenset((KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE))
"""The offset that is wanted is not kept (any more)."""

TOO_LARGE: Final = frozenset(
    (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
    )
)
"""The record can never be written to this topic as it is."""

INVALID: Final = frozenset(
    (
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
        KafkaError._INVALID_ARG,
    )
)
"""The topic refuses the record for what it holds, and will refuse it again."""

FORBIDDEN: Final = frozenset((KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION))
"""We may not write to the topic, or no topic can have its name."""

FENCED: Final = frozenset(
    (
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
    )
)
"""Another producer with this transactional id took over, or our transaction timed out."""

_ALLOWED: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "Read and Write on the topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "Read on the group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "Write on the transactional id",
}

PURGED: Final = frozenset((KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT))
"""The record was given up together with its producer, for another reason."""

NOT_A_MEMBER: Final = frozenset(
    (
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._ASSIGNMENT_LOST,
    )
)
"""The coordinator does not count this process in, or not yet."""

ELSEWHERE: Final = frozenset(
    (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LISTENER_NOT_FOUND,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.KAFKA_STORAGE_ERROR,
    )
)
"""Another broker may lead the partition by now."""

FOR_NOW: Final = frozenset(
    (
        KafkaError.INVALID_MSG,  # damaged on its way
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
    )
)
"""What was to be appended can be sent to the same broker again."""

PRODUCER_UNKNOWN: Final = frozenset(
    (
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.UNKNOWN_PRODUCER_ID,
    )
)
"""The broker does not know this idempotent producer as it knows itself; another must go on."""

_LEADER_S: Final = 2.0
"""How long the broker that was the leader when last heard is waited for."""

_LOOK_S: Final = 0.05


def watermarks_of(
    consumer: Consumer, place: TopicPartition, timeout_s: float = 10.0
) -> tuple[int, int]:
    """Return the first offset that is kept and the end, as the leader says. Blocks.

    A leader that is just being elected (a new topic, a broker that died) is waited for. Once the
    broker that led a partition is gone, the client asks that one for ever, or says that there is no
    such partition, and looks again only for ``list_topics`` (measured with librdkafka 2.16).
    """
    deadline = monotonic() + timeout_s
    while True:
        try:
            return consumer.get_watermark_offsets(place, timeout=min(timeout_s, _LEADER_S))
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() in (KafkaError._UNKNOWN_PARTITION, KafkaError._TIMED_OUT):
                passes = _exists(consumer, place, timeout_s)
            else:
                passes = _passes(cause)
            if not passes or monotonic() > deadline:
                raise
            sleep(_LOOK_S)


def forbidding(error: KafkaError) -> str:
    """Return what a broker says; where it forbids something, with what to do about it."""
    allowed = _ALLOWED.get(error.code())
    told: str = error.str()
    if allowed is None:
        return told
    return f"{told.rstrip('.')}. Allow this user {allowed}; see Permissions in the documentation"


def ends_of(
    admin: AdminClient,
    places: Sequence[TopicPartition],
    timeout_s: float,
    *,
    committed: bool = False,
) -> dict[TopicPartition, int]:
    """Return where places end for readers of all records, or of ``committed`` ones. Blocks.

    An open transaction lies between the two. A leader that is just being elected is waited for.
    """
    if not places:
        return {}
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    deadline = monotonic() + _LEADER_S
    while True:
        asked = admin.list_offsets(
            dict.fromkeys(places, latest), isolation_level=level, request_timeout=timeout_s
        )
        try:
            return {place: future.result(timeout_s).offset for place, future in asked.items()}
        except TimeoutError:
            topic = places[0].topic
            raise silence(f"nobody said where {topic} ends within {timeout_s:g} s") from None
        except KafkaException as error:
            if error.args[0].code() not in ELSEWHERE - MISSING or monotonic() > deadline:
                raise
            sleep(_LOOK_S)


def made(client: Callable[[dict[str, Any]], C], config: Mapping[str, Any]) -> C:
    """Return a client of librdkafka's, with these properties.

    Raises ``KafkaConfigInvalid`` where it refuses one, or two that do not go together.
    """
    try:
        return client(dict(config))
    except KafkaException as error:
        if error.args[0].code() not in _REFUSED:
            raise
        raise KafkaConfigInvalid(
            f"the Kafka client refuses its properties: {error.args[0].str()}. What is not set in "
            "kafka= (--kafka-config) is processor's or librdkafka's default: change what you have "
            "set there. The names are librdkafka's, and not always those of Java's clients"
        ) from error


def _exists(consumer: Consumer, place: TopicPartition, timeout_s: float) -> bool:
    found = consumer.list_topics(place.topic, timeout_s).topics.get(place.topic)
    return found is not None and place.partition in found.partitions


def _passes(error: KafkaError) -> bool:
    return error.retriable() or error.code() in (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
