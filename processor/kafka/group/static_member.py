"""Static members of consumer groups: how one leaves at once, and how it hears of its end."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException

from processor.kafka.clients.bounded import within

__all__ = ("LEAVE_S", "METADATA", "abandon", "is_shut_out", "leave")

METADATA: Final = {"topic.metadata.refresh.interval.ms": 10_000}
"""How often a member looks which topics and partitions there are.

A broker that goes away as a member asks for them, in order to join, leaves that member outside of
the group, without a heartbeat and without a word, until it looks again: for five minutes, by
default (measured with librdkafka 2.16; ``Comeback`` asks in this way).
"""

LEAVE_S: Final = 3.0
_POLL_S = 0.01
_LAST_POLL_S = 0.1
_TOLD_S = 1.0
_CLOSE_S = 2.0
_SHUT_OUT: Final = frozenset((KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL))
"""``fatal`` is not set on the message by which librdkafka reports its own fatal error."""


def is_shut_out(error: KafkaError) -> bool:
    """Return whether the client that reports this can never go on."""
    return error.fatal() or error.code() in _SHUT_OUT


def leave(consumer: Consumer, topic: str) -> bool:
    """Give back what is assigned, and leave; ``close`` alone lets it wait for the time-out.

    librdkafka sends no LeaveGroup for a static member that terminates, but does for one that
    unsubscribes (``rd_kafka_cgrp_leave_maybe``). From the thread that polls; blocks shortly.
    Returns whether a broker was there to be told, which is asked about any ``topic``.
    """
    consumer.unsubscribe()
    deadline = monotonic() + LEAVE_S
    while consumer.assignment() and monotonic() < deadline:
        consumer.poll(_POLL_S)
    consumer.poll(_LAST_POLL_S)
    try:
        consumer.list_topics(topic, _TOLD_S)
    except KafkaException:
        return False
    return True


def abandon(consumer: Consumer) -> None:
    """Close a consumer that was shut out. Its ``close`` may wait for a group that left it behind.

    Its callbacks may then come late, and from another thread.
    """
    with suppress(TimeoutError):
        within(_CLOSE_S, consumer.close)
