"""The ``Log`` port of the Kafka runtime, as an adapter for the tests of the log."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

from processor.errors import TopicsNotReady
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.producing import Producing
from processor.kafka.shards.identity import CO_PARTITIONED, describe_shard_topics, ids_text, log_id
from processor.kafka.shards.log import KafkaLog
from processor.kafka.topics.upkeep import connect
from processor.shard.ports import OutputRecord

from .adapters import Adapter

PATIENCE_S = 30.0
LIBRDKAFKA: Mapping[str, Any] = {"producer": "librdkafka"}


class KafkaLogOnly(Adapter):
    """A namespace of its own with one partition; ``settle`` gives the broker some time."""

    def __init__(self, servers: str, extra: Mapping[str, Any]) -> None:
        super().__init__()
        self._connection = KafkaSettings(servers, f"test-{uuid.uuid4().hex[:12]}", extra)
        self._admin = connect(servers)
        topics = [NewTopic(self._connection.topic(name), 1, 1) for name in CO_PARTITIONED]
        for created in self._admin.create_topics(topics).values():
            created.result()
        self._reader = Consumer(self._connection.consumer())
        self._producing: Producing | None = None
        self._id = self._made_id()

    def connect(self) -> None:
        if self._producing is not None:
            self._producing.close()
        config = self._connection.log_producer()
        extra = self._connection.extra
        self._producing = Producing(config, extra, "a test", stop_at_error=True)
        self.log = KafkaLog(self._connection, 0, self._id, self._producing, self._watermarks)

    def settle(self) -> None:
        time.sleep(0.05)

    def outputs(self) -> list[OutputRecord]:
        return []

    def close(self) -> None:
        if self._producing is not None:
            self._producing.close()
        self._reader.close()

    def _made_id(self) -> bytes:
        """Return the log id once every broker knows the topics, which were made just now."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._watermarks(self._connection.events, 0)
                ids, _ = describe_shard_topics(self._admin, self._connection)
            except (TopicsNotReady, KafkaException):
                if time.monotonic() > deadline:
                    raise
                self.settle()
            else:
                return log_id(ids_text(ids))

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        place = TopicPartition(topic, partition)
        found: tuple[int, int] = self._reader.get_watermark_offsets(place, timeout=10)
        return found
