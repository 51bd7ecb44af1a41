"""The clients that can write records: the native one, and librdkafka's.

Which one does is chosen by name (``producer``). The native one steps aside, for the rest of this
process, where a broker takes no version of what it writes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from processor.kafka.clients.faults import made
from processor.kafka.clients.log import client_log
from processor.kafka.clients.properties import LIBRDKAFKA, NATIVE, PRODUCER, producer_of
from processor.kafka.clients.record_producer import Outgoing, RecordProducer
from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import security_of

__all__ = ("open_producer", "which_producer")

_log = logging.getLogger("processor.kafka")

_unfit: Final[dict[str, str]] = {}
"""The servers whose brokers the native producer does not fit, and why."""


def open_producer(config: Mapping[str, Any], extra: Mapping[str, Any]) -> RecordProducer:
    """Return the client for a configuration of librdkafka, in which ``extra`` is the user's.

    ``which_producer`` says which one it is. The native one takes a third of the requests.
    """
    servers, client = config["bootstrap.servers"], config["client.id"]
    if producer_of(extra) == LIBRDKAFKA or servers in _unfit:
        return _Librdkafka(config)
    return WireProducer(
        servers,
        security_of(extra),
        client,
        gapless=config.get("enable.gapless.guarantee", False),
        unfit=partial(_step_aside, servers),
    )


def which_producer(servers: str, extra: Mapping[str, Any]) -> str:
    """Return, for the log, which producer sends records to these servers, and why."""
    named = producer_of(extra)
    if named == NATIVE and servers in _unfit:
        return f"records are sent by librdkafka's producer, because {_unfit[servers]}"
    whose = "the native producer" if named == NATIVE else "librdkafka's producer"
    why = f"names it ({named})" if PRODUCER in extra else "is not set"
    return f"records are sent by {whose}: the property {PRODUCER} {why}"


def _step_aside(servers: str, why: str) -> None:
    if servers not in _unfit:
        _unfit[servers] = why
        _log.warning("from now on %s", which_producer(servers, {}))


class _Librdkafka:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._producer = made(Producer, config)

    def __len__(self) -> int:
        return len(self._producer)

    def produce(self, outgoing: Outgoing) -> None:
        topic, partition, key, value, delivered = outgoing
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
            client_log.debug("purging a producer: %s", error)

    def close(self) -> None:
        self.purge(in_flight=True)
