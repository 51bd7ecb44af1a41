"""Kafka's error codes, classed by the reaction that they demand."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

__all__ = ("FENCED", "MISSING", "NOT_A_MEMBER", "PURGED", "TOO_LARGE", "TRUNCATED", "watermarks_of")

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

FENCED: Final = frozenset(
    (
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
    )
)
"""Another producer with this transactional id took over, or our transaction timed out."""

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


def watermarks_of(
    consumer: Consumer, place: TopicPartition, timeout_s: float = 10.0
) -> tuple[int, int]:
    """Return the first offset that is kept and the end, as the leader says. Blocks.

    A leader that is just being elected (a new topic, a broker that died) is waited for. Once the
    broker that led a partition is gone, the client says for ever that there is no such partition,
    and looks again only for ``list_topics`` (measured with librdkafka 2.16).
    """
    deadline = monotonic() + timeout_s
    while True:
        try:
            return consumer.get_watermark_offsets(place, timeout=timeout_s)
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() == KafkaError._UNKNOWN_PARTITION:
                passes = _exists(consumer, place, timeout_s)
            else:
                passes = _passes(cause)
            if not passes or monotonic() > deadline:
                raise
            sleep(0.05)


def _exists(consumer: Consumer, place: TopicPartition, timeout_s: float) -> bool:
    found = consumer.list_topics(place.topic, timeout_s).topics.get(place.topic)
    return found is not None and place.partition in found.partitions


def _passes(error: KafkaError) -> bool:
    return error.retriable() or error.code() in (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
