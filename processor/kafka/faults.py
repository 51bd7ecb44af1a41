"""Kafka's error codes, classed by the reaction that they demand."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

__all__ = ("FENCED", "MISSING", "NOT_A_MEMBER", "TOO_LARGE", "TRUNCATED", "watermarks_of")

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

    A leader that is just being elected (a new topic, a broker that died) is waited for.
    """
    deadline = monotonic() + timeout_s
    while True:
        try:
            return consumer.get_watermark_offsets(place, timeout=timeout_s)
        except KafkaException as error:
            if not _passes(error.args[0]) or monotonic() > deadline:
                raise
            sleep(0.05)


def _passes(error: KafkaError) -> bool:
    return error.retriable() or error.code() in (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
