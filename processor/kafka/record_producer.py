"""The clients that can write records: ours, and librdkafka for what ours does not speak."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import foreign, security_of

__all__ = ("Delivered", "RecordProducer", "Written", "record_producer")

_log = logging.getLogger("processor.kafka")


class Written(Protocol):
    """A record that a broker took."""

    def offset(self) -> int | None:
        """Return its offset; below 0 where the broker knows only that it has it."""
        ...


Delivered = Callable[[KafkaError | None, Written | None], None]
"""Called by whoever polls (or by the sender, where the client refuses at once)."""


class RecordProducer(Protocol):
    """An idempotent producer: each partition has its records once, in order."""

    def __len__(self) -> int:
        """Return how many records were not called back yet."""
        ...

    def produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        delivered: Delivered,
    ) -> None:
        """Take a record. Raises ``KafkaException``, or ``BufferError`` where there is no room."""
        ...

    def send(self) -> bool:
        """Begin to send what was produced; return whether the rest may take a ``poll``."""
        ...

    def poll(self, timeout_s: float) -> int:
        """Call back what is settled, waiting for something if nothing is; return how much."""
        ...

    def purge(self, *, in_flight: bool) -> None:
        """Give up what was not sent yet, and what was as well if asked."""
        ...

    def partitions(self, topic: str, timeout_s: float) -> int:
        """Return how many partitions a topic has, 0 where there is no such topic. Blocks."""
        ...

    def close(self) -> None: ...


def record_producer(config: Mapping[str, Any], extra: Mapping[str, Any]) -> RecordProducer:
    """Return the client for a configuration of librdkafka, in which ``extra`` is the user's.

    Ours takes a third of the requests; librdkafka's is for what only that can do (Kerberos, OAuth,
    any other property).
    """
    if names := foreign(extra):
        _log.info("records are sent by librdkafka, because of the property %s", ", ".join(names))
        return _Librdkafka(config)
    servers, client = config["bootstrap.servers"], config["client.id"]
    gapless = config.get("enable.gapless.guarantee", False)
    return WireProducer(servers, security_of(extra), client, gapless=gapless)


class _Librdkafka:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._producer = Producer(dict(config))

    def __len__(self) -> int:
        return len(self._producer)

    def produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        delivered: Delivered,
    ) -> None:
        self._producer.produce(topic, value, key, partition, delivered)

    def send(self) -> bool:
        """Return False: its threads send what they are given."""
        return False

    def poll(self, timeout_s: float) -> int:
        return self._producer.poll(timeout_s)

    def purge(self, *, in_flight: bool) -> None:
        try:
            self._producer.purge(in_queue=True, in_flight=in_flight, blocking=False)
        except KafkaException as error:
            _log.debug("purging a producer: %s", error)

    def partitions(self, topic: str, timeout_s: float) -> int:
        found = self._producer.list_topics(topic, timeout=timeout_s).topics.get(topic)
        return 0 if found is None or found.error is not None else len(found.partitions)

    def close(self) -> None:
        self.purge(in_flight=True)
