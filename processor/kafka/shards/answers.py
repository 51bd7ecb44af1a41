"""The answers of one shard: sent once, since clients ask again, and never kept without a bound."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError

from processor.codec.records import encode
from processor.core.data.address import ReplyToTopic
from processor.core.records.answers import Refused
from processor.core.records.effects import Reply
from processor.kafka.clients.connection import COMMAND_BYTES_MAX, fits
from processor.kafka.clients.faults import MISSING, forbidding
from processor.kafka.clients.record_producer import Produced
from processor.kafka.clients.sending import Unsent
from processor.kafka.topics.upkeep import option_for
from processor.seldom import Seldom

if TYPE_CHECKING:
    from processor.kafka.transport import KafkaTransport

__all__ = ("Answers",)

_log = logging.getLogger("processor.kafka")

_BYTES_MAX: Final = 64_000_000
"""Answers on their way to brokers; a further one is dropped."""

_SAY_EVERY_S: Final = 30.0


class Answers:
    def __init__(self, partition: int, transport: KafkaTransport) -> None:
        self._partition = partition
        self._transport = transport
        self._shared = transport.connection.topic("replies")
        self._closed = False
        self._under_way = Unsent()
        self._unsent = 0
        self._is_time = Seldom(_SAY_EVERY_S)

    def send(self, reply: Reply) -> None:
        """Send without waiting; a client that misses it asks again."""
        to, under_way = reply.to, self._under_way
        key, value = to.client.encode(), encode(reply)
        if not fits(key, value):
            has = f"{len(key) + len(value):,} bytes; the limit is {COMMAND_BYTES_MAX:,}"
            told = Refused("PayloadTooLarge", f"the answer has {has}. The command counts")
            value = encode(Reply(to, told))
        if under_way.bytes >= _BYTES_MAX:
            why = f"{under_way.bytes:,} bytes of answers wait for a broker"
            self._not_sent(self._shared, why, missing=False)
            return
        size = under_way.add(key, value)
        if not isinstance(to, ReplyToTopic):
            self._produce(self._shared, to.partition, key, value, size)
            return
        try:
            topic = self._transport.connection.topic(to.topic)
        except ValueError as error:  # it is too long behind the name of the namespace
            under_way.gone(size)
            self._not_sent(self._shared, str(error), missing=False)
            return
        found = partial(self._found, topic, to.partition, key, value, size)
        self._transport.reply_topics.look_up(topic, to.partition, found)

    def close(self) -> None:
        self._closed = True

    def _found(
        self, topic: str, partition: int, key: bytes, value: bytes, size: int, there: bool
    ) -> None:
        """Send to a topic that a client has named, if it is there. From any thread."""
        if there and not self._closed:
            self._produce(topic, partition, key, value, size)
            return
        self._under_way.gone(size)
        if not self._closed:
            why = f"it has no partition {partition} that this worker may see"
            self._not_sent(topic, why, missing=True)

    def _produce(self, topic: str, partition: int, key: bytes, value: bytes, size: int) -> None:
        settled = partial(self._settled, topic, size)
        self._transport.sends.produce(topic, partition, key, value, settled)

    def _settled(
        self, topic: str, size: int, error: KafkaError | None, _written: Produced | None
    ) -> None:
        self._under_way.gone(size)
        if error is not None and not self._closed:
            missing = error.code() in MISSING
            if missing:
                self._transport.reply_topics.forget(topic)
            self._not_sent(topic, forbidding(error), missing=missing)

    def _not_sent(self, topic: str, why: str, *, missing: bool) -> None:
        self._unsent += 1
        if not self._is_time("" if missing else topic):  # strangers may name what they like
            return
        connection = self._transport.connection
        remedy = "Clients ask again. They write to "
        if missing:
            command = f"processor topics apply --namespace {connection.namespace}"
            remedy = (
                f"If the topic is missing: `{command}{option_for(connection.namespace, topic)}`. "
                "If it is there, allow this worker's user Write on it; or somebody asks for "
                "answers in a partition that it does not have: find out who writes to "
            )
        _log.warning(
            "shard %d: %d replies could not be sent so far, the last one to %s because of: %s. "
            "%s%s",
            self._partition,
            self._unsent,
            topic,
            why,
            remedy,
            connection.commands,
        )
