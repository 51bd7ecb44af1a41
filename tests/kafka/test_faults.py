"""What a client of Kafka knows of brokers that died meanwhile: it is made to look again."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from processor.kafka.clients.faults import watermarks_of
from processor.kafka.shards.identity import describe

BOUNDS = (3, 17)


class Client:
    """A consumer that knew a partition by a leader which is gone, until it looks again."""

    def __init__(self, partitions: int, error: int = KafkaError._UNKNOWN_PARTITION) -> None:
        self.partitions = partitions
        self.error = error
        self.looked = 0

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout < 5.0, "it asks a broker that is gone until then"
        if not self.looked or place.partition >= self.partitions:
            raise KafkaException(KafkaError(self.error))
        return BOUNDS

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.looked += 1
        found = SimpleNamespace(partitions=dict.fromkeys(range(self.partitions)))
        return SimpleNamespace(topics={topic: found})


@pytest.mark.parametrize("error", [KafkaError._UNKNOWN_PARTITION, KafkaError._TIMED_OUT])
def test_a_partition_whose_leader_died_is_looked_up_again(error: int) -> None:
    client = Client(4, error)
    assert watermarks_of(cast(Consumer, client), TopicPartition("events", 3)) == BOUNDS
    assert client.looked == 1


def test_a_partition_that_does_not_exist_is_an_error() -> None:
    client = Client(partitions=3)
    with pytest.raises(KafkaException, match="_UNKNOWN_PARTITION"):
        watermarks_of(cast(Consumer, client), TopicPartition("events", 3))
    assert client.looked == 1


class Admin:
    """An admin client whose controller died; the next ``dead`` answers still name that broker."""

    def __init__(self, dead: int) -> None:
        self.dead = dead
        self.looked = 0

    def list_topics(self, topic: str, timeout: float) -> None:
        self.looked += 1

    def describe_topics(
        self, topics: TopicCollection, request_timeout: float
    ) -> dict[str, Future[str]]:
        assert request_timeout < 5.0, "it burns a core until then"
        answer: Future[str] = Future()
        if self.looked <= self.dead:
            answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        else:
            answer.set_result("described")
        return {"events": answer}


@pytest.mark.parametrize("dead", [0, 1, 2])
def test_topics_are_described_by_a_controller_that_lives(dead: int) -> None:
    admin = Admin(dead)
    assert list(describe(cast(AdminClient, admin), ["events"])) == ["events"]
    assert admin.looked == dead + 1


def test_nothing_is_asked_about_no_topics() -> None:
    admin = Admin(0)
    assert describe(cast(AdminClient, admin), []) == {}
    assert admin.looked == 0
