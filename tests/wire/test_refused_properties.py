"""Properties of Kafka's clients that do not go together are refused in words that help."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import made
from processor.kafka.clients.properties import KafkaConfigInvalid
from processor.kafka.shards.reading import InputReader

NOBODY = "127.0.0.1:1"


def settings(properties: dict[str, Any]) -> KafkaSettings:
    return KafkaSettings(NOBODY, extra={"producer": "librdkafka", **properties})


@pytest.mark.parametrize(
    ("client", "kind", "properties", "said"),
    [
        (Consumer, "consumer", {"max.poll.interval.ms": 1_000}, "`max.poll.interval.ms`"),
        (Consumer, "consumer", {"session.timeout.ms": 3_600_000}, ">= `session.timeout.ms`"),
        (Consumer, "consumer", {"fetch.max.bytes": 600, "message.max.bytes": 1_000}, "`fetch"),
        (Consumer, "consumer", {"receive.message.max.bytes": 1_000}, "`receive.message.max.bytes`"),
        (Consumer, "consumer", {"fetch.min.bytes": "few"}, '"fetch.min.bytes"'),
        (Producer, "log_producer", {"reconnect.backoff.ms": 9_000}, "`reconnect.backoff.max.ms`"),
        (Producer, "client_producer", {"no.such.property": 1}, '"no.such.property"'),
        (Producer, "log_producer", {"compression.type": "best"}, '"best"'),
        (
            AdminClient,
            "admin",
            {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"},
            "sasl.username and sasl.password must be set",
        ),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_librdkafka_refuses_is_told(
    client: Any, kind: str, properties: dict[str, Any], said: str
) -> None:
    config = getattr(settings(properties), kind)()
    with pytest.raises(KafkaException):
        client(config)
    with pytest.raises(
        KafkaConfigInvalid, match=r"refuses its properties: .*change what you"
    ) as told:
        made(client, config)
    assert said in str(told.value)
    assert isinstance(told.value.__cause__, KafkaException)


def test_a_transaction_shorter_than_its_requests_is_told() -> None:
    config = settings({"socket.timeout.ms": 60_000}).transactional_producer("t")
    with pytest.raises(KafkaConfigInvalid, match=r"`socket\.timeout\.ms` must be set <= "):
        made(Producer, config)


def test_those_who_make_the_clients_say_so() -> None:
    few = settings({"max.poll.interval.ms": 1_000}).consumer()
    with pytest.raises(KafkaConfigInvalid, match=r"`max\.poll\.interval\.ms`"):
        InputReader(few, {}, 1)
