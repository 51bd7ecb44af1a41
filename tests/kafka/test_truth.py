"""What our producer reports as delivered is in the log of a real broker, and nothing else is."""

from __future__ import annotations

import os

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import NewTopic

from processor.kafka.topics.upkeep import connect
from processor.kafka.wire.producer import WireProducer
from processor.kafka.wire.security import Security
from tests.kafka.harness import set_config, until
from tests.kafka.own_broker import OwnBroker
from tests.wire.test_producer import Sent


def test_a_batch_that_was_written_and_then_refused_does_not_stand_for_the_next_one(
    breakable: OwnBroker, namespace: str
) -> None:
    """The broker has it, the answer is lost, and meanwhile its topic takes less: KIP-360."""
    topic = f"{namespace}-narrow"
    admin, network = connect(breakable.servers), breakable.network
    for made in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        made.result()
    config = {"bootstrap.servers": breakable.servers, "group.id": topic}
    reader, place = Consumer(config), TopicPartition(topic, 0, 0)
    producer = WireProducer(breakable.proxied, Security(), "a test")
    sent, large = Sent(producer), os.urandom(5_000)
    try:
        sent.send(0, b"first", topic=topic)
        sent.wait()
        network.withhold_answers()
        sent.send(0, large, topic=topic)
        until(lambda: reader.get_watermark_offsets(place)[1] == 2, "the record in the log")
        set_config(admin, topic, "max.message.bytes", "1000")
        network.cut()
        network.mend()
        sent.wait()
        assert sent.code(large) == KafkaError.MSG_SIZE_TOO_LARGE
        sent.send(0, b"next", topic=topic)
        sent.wait()
        assert sent.outcomes[b"next"] == 2
        reader.assign([place])
        assert [each.value() for each in reader.consume(3, 10)] == [b"first", large, b"next"]
    finally:
        network.mend()
        producer.close()
        reader.close()
