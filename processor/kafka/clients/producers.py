"""The clients that can write records: ours, and librdkafka for what ours does not speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, Producer

from processor.kafka.clients.log import client_log
from processor.kafka.clients.record_producer import Outgoing, RecordProducer
from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import foreign, security_of

__all__ = ("open_producer", "which_producer")


def open_producer(config: Mapping[str, Any], extra: Mapping[str, Any]) -> RecordProducer:
    """Return the client for a configuration of librdkafka, in which ``extra`` is the user's.

    Ours takes a third of the requests; librdkafka's is for what only that can do (Kerberos, OAuth,
    any other property of producers or connections). ``which_producer`` says which one it is.
    """
    if foreign(extra):
        return _Librdkafka(config)
    servers, client = config["bootstrap.servers"], config["client.id"]
    gapless = config.get("enable.gapless.guarantee", False)
    return WireProducer(servers, security_of(extra), client, gapless=gapless)


def which_producer(extra: Mapping[str, Any]) -> str:
    """Return, for the log, which producer properties of the user's lead to, and why."""
    if names := foreign(extra):
        return (
            f"records are sent by librdkafka, because of the property {', '.join(names)}, which "
            "our own producer does not know"
        )
    known = (
        f"it knows all that is set ({', '.join(sorted(extra))})" if extra else "no property is set"
    )
    return f"records are sent by our own producer: {known}"


class _Librdkafka:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._producer = Producer(dict(config))

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
