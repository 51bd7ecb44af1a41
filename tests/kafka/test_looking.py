"""What holds a worker's shards up from outside is said, with the topic and what to do."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import NewPartitions

from processor.kafka.shards import looking
from processor.kafka.shards.looking import Looks
from processor.kafka.topics.upkeep import read_topics

from .harness import PARTITIONS, Adapters, until


@pytest.fixture
def looks(kafka: Adapters, monkeypatch: pytest.MonkeyPatch) -> Looks:
    monkeypatch.setattr(looking, "_OFFSETS_EVERY_S", 0.0)
    made = Looks(kafka.connection, kafka.admin, PARTITIONS)

    def are_led() -> bool:
        try:
            made.look(range(PARTITIONS))
        except KafkaException:  # a partition is a moment old
            return False
        return True

    until(are_led, "a leader of each partition")
    return made


def test_a_transaction_that_holds_an_input_up_is_said_once(
    kafka: Adapters, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    topic, servers = kafka.topic("commands"), kafka.connection.servers
    stranger = Producer({"bootstrap.servers": servers, "transactional.id": f"{topic}.stranger"})
    stranger.init_transactions(10)
    stranger.begin_transaction()
    stranger.produce(topic, b"junk", b"k", 2)
    stranger.flush(10)
    looks.look(range(PARTITIONS))
    assert not caplog.text, "it may end in a moment"
    looks.look(range(PARTITIONS))
    looks.look(range(PARTITIONS))
    assert caplog.text.count(f"{topic}[2]: a transaction of another producer is open") == 1
    assert f"kafka-transactions.sh --bootstrap-server {servers}" in caplog.text
    stranger.abort_transaction(10)

    def is_over() -> bool:
        looks.look(range(PARTITIONS))
        return not looks._held

    until(is_over, "the end of it")


def test_partitions_that_were_added_are_said(
    kafka: Adapters, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    topic = kafka.topic("commands")
    for future in kafka.admin.create_partitions([NewPartitions(topic, PARTITIONS + 2)]).values():
        future.result()
    until(lambda: read_topics(kafka.admin, [topic])[topic].partitions == PARTITIONS + 2, "them")

    def is_said() -> bool:
        looks.look([])
        return topic in caplog.text

    until(is_said, "the look")
    assert (
        f"began with {PARTITIONS} partitions, and now {topic} has {PARTITIONS + 2}:" in caplog.text
    )
    assert "processor topics apply --namespace NEW" in caplog.text
