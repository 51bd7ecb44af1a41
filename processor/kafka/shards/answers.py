"""The answers of one shard: sent once, since clients ask again, and never kept without a bound."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError

from processor.codec.records import encode
from processor.core.records.answers import Refused
from processor.core.records.effects import Reply
from processor.kafka.clients.connection import COMMAND_BYTES_MAX, fits
from processor.kafka.clients.faults import MISSING
from processor.kafka.clients.record_producer import Produced
from processor.kafka.clients.sending import Unsent
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
        self._topic = transport.connection.topic("replies")
        self._closed = False
        self._under_way = Unsent()
        self._unsent = 0
        self._is_time = Seldom(_SAY_EVERY_S)

    def send(self, reply: Reply) -> None:
        """Send without waiting; a client that misses it asks again."""
        to, under_way = reply.to, self._under_way
        key, value = to.client.encode(), encode(reply)
        if not fits(key, value):
            size = f"{len(key) + len(value):,} bytes; the limit is {COMMAND_BYTES_MAX:,}"
            told = Refused("PayloadTooLarge", f"the answer has {size}. The command counts")
            value = encode(Reply(to, told))
        if under_way.bytes >= _BYTES_MAX:
            self._not_sent(f"{under_way.bytes:,} bytes of answers wait for a broker", missing=False)
            return
        settled = partial(self._settled, under_way.add(key, value))
        self._transport.sends.produce(self._topic, to.partition, key, value, settled)

    def close(self) -> None:
        self._closed = True

    def _settled(self, size: int, error: KafkaError | None, _written: Produced | None) -> None:
        self._under_way.gone(size)
        if error is not None and not self._closed:
            self._not_sent(error.str(), missing=error.code() in MISSING)

    def _not_sent(self, why: str, *, missing: bool) -> None:
        self._unsent += 1
        if not self._is_time():
            return
        remedy = (
            "If the topic is missing: `processor topics apply`. If it is there, somebody asks for "
            "answers in a partition that it does not have: find out who writes to "
            if missing
            else "Clients ask again. They write to "
        )
        _log.warning(
            "shard %d: %d replies could not be sent to %s so far, the last one because of: %s. "
            "%s%s",
            self._partition,
            self._unsent,
            self._topic,
            why,
            remedy,
            self._transport.connection.topic("commands"),
        )
