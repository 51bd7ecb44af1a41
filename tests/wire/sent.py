"""What a producer was given, and what it said of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from processor.kafka.clients.record_producer import Outgoing, Produced
from processor.kafka.wire.producer import WireProducer

__all__ = ("TOPICS", "Sent")

TOPICS = {"events": 8, "commands": 3}
BOUND_S = 60.0


class Sent:
    """What was produced, and what was said of it."""

    def __init__(self, producer: WireProducer) -> None:
        self.producer = producer
        self.outcomes: dict[bytes, int | KafkaError] = {}

    def produce(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        self.producer.produce(Outgoing(topic, partition, key, value, self._delivered(value)))

    def send(self, partition: int, *values: bytes, topic: str = "events") -> None:
        for value in values:
            self.produce(topic, partition, b"key", value)
        self.producer.send()

    def wait(self) -> None:
        self.until(lambda: not len(self.producer))

    def until(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BOUND_S
        while not met():
            assert time.monotonic() < deadline, self.outcomes
            self.producer.poll(0.05)

    def code(self, value: bytes) -> int:
        outcome = self.outcomes[value]
        assert isinstance(outcome, KafkaError)
        return outcome.code()

    def _delivered(self, value: bytes) -> Callable[[KafkaError | None, Produced | None], None]:
        def delivered(error: KafkaError | None, written: Produced | None) -> None:
            assert value not in self.outcomes, "called back once"
            offset = written.offset() if written is not None else None
            outcome = offset if error is None else error
            assert outcome is not None
            self.outcomes[value] = outcome

        return delivered
