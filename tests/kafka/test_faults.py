"""What a client of Kafka says of a partition is not believed before it has looked again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.kafka.faults import watermarks_of

BOUNDS = (3, 17)


class Client:
    """A consumer that knew a partition by a leader which is gone, until it looks again."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.looked = 0

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        if not self.looked or place.partition >= self.partitions:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return BOUNDS

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.looked += 1
        found = SimpleNamespace(partitions=dict.fromkeys(range(self.partitions)))
        return SimpleNamespace(topics={topic: found})


def test_a_partition_whose_leader_died_is_looked_up_again() -> None:
    client = Client(partitions=4)
    assert watermarks_of(cast(Consumer, client), TopicPartition("events", 3)) == BOUNDS
    assert client.looked == 1


def test_a_partition_that_does_not_exist_is_an_error() -> None:
    client = Client(partitions=3)
    with pytest.raises(KafkaException, match="_UNKNOWN_PARTITION"):
        watermarks_of(cast(Consumer, client), TopicPartition("events", 3))
    assert client.looked == 1
