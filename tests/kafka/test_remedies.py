"""What is said of a topic that is missing: the command that makes it, in this namespace."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.sending import Sending


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("activities.gpu", "`processor topics apply --namespace shop --queue gpu`"),
        ("commands", "`processor topics apply --namespace shop`"),
    ],
)
def test_a_missing_topic_is_made_by_the_command_that_is_named(name: str, command: str) -> None:
    connection = KafkaSettings("localhost:9092", "shop")
    transport: Any = SimpleNamespace(connection=connection)
    sending = Sending(transport, "shard 1")
    error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert command in sending._remedy(connection.topic(name), error)
