"""Brokers as the native producer meets them: logs, leaders, sequence numbers, refusals."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError

from processor.kafka.wire.protocol import BatchAnswer, Batches, Cluster, Topic
from tests.wire.scripted import TOO_LARGE, Batch, Log, Place, parse_batch

from .wire_chances import Chances

__all__ = ("BATCH_BYTES_MAX", "NODES", "TOPICS", "Brokers")

NODES = 3
TOPICS = {"events": 3, "commands": 2, "new": 1}
"""The last one is made when the first records are on their way to it, or much later."""

BATCH_BYTES_MAX = 400
_GENERATIONS = 1_000


class Brokers:
    """Three of them. The logs are replicated, so that every node may lead any of them.

    ``narrows``: what is written may be refused as too large when it is sent again, as if the topic
    took less meanwhile. ``begins``: the sequence number of a producer's first batch in each log.
    ``refusals`` are the values of records with the errors by which they were refused.
    """

    def __init__(self, chances: Chances, *, narrows: bool, begins: int) -> None:
        self._chances = chances
        self._narrows = narrows
        self._generation = [0] * NODES
        self._producers = 0
        self.down: set[int] = set()
        self.made = {"events", "commands"}
        self.refusals: set[tuple[bytes | None, int]] = set()
        self.logs: dict[Place, Log] = {}
        self.leaders: dict[Place, int] = {}
        for topic, partitions in TOPICS.items():
            for partition in range(partitions):
                log = self.logs[topic, partition] = Log(begins=begins)
                log.knows = chances.random.random() < 0.7
                self.leaders[topic, partition] = chances.random.randrange(NODES)

    def node_at(self, port: int) -> int | None:
        """Return who listens there, None for a former address, or one of a node that is down."""
        node, generation = divmod(port, _GENERATIONS)
        here = generation == self._generation[node] and node not in self.down
        return node if here else None

    def move(self, node: int) -> None:
        """Start it again under another address."""
        self._generation[node] += 1

    def identify(self) -> int:
        self._producers += 1
        return self._producers

    def metadata(self, topics: Sequence[str]) -> Cluster:
        up = [node for node in range(NODES) if node not in self.down]
        named = {node: ("broker", node * _GENERATIONS + self._generation[node]) for node in up}
        found = {name: Topic(KafkaError.UNKNOWN_TOPIC_OR_PART, {}) for name in topics}
        for name in self.made.intersection(topics):
            places = range(TOPICS[name])
            found[name] = Topic(0, {each: self.leaders[name, each] for each in places})
        return Cluster(named, found)

    def produce(self, node: int, batches: Batches) -> list[BatchAnswer]:
        """Append what is not there yet, and say what became of each batch."""
        return [
            self._append(node, (topic, partition), data)
            for topic, partitions in batches.items()
            for partition, data in partitions
        ]

    def _append(self, node: int, place: Place, data: bytes) -> BatchAnswer:
        batch = parse_batch(data)
        error = self._refusal(node, place, len(data), batch)
        if error:
            return self._refuse(place, batch, error)
        error, offset = self.logs[place].append(batch)
        if not error and self._chances.strike("written, and not replicated in time", 0.03):
            return self._refuse(place, batch, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
        return BatchAnswer(*place, error, offset, "")

    def _refuse(self, place: Place, batch: Batch, error: int) -> BatchAnswer:
        self.refusals.update((value, error) for _, value in batch.records)
        return BatchAnswer(*place, error, -1, "")

    def _refusal(self, node: int, place: Place, size: int, batch: Batch) -> int:
        chances = self._chances
        if place[0] not in self.made:
            return KafkaError.UNKNOWN_TOPIC_OR_PART
        if self.leaders[place] != node:
            return KafkaError.NOT_LEADER_FOR_PARTITION
        if size > BATCH_BYTES_MAX:
            return TOO_LARGE
        if self.logs[place].has(batch) and chances.strike("refused though written", 0.2):
            narrowed = self._narrows and chances.random.random() < 0.5
            return TOO_LARGE if narrowed else KafkaError.TOPIC_AUTHORIZATION_FAILED
        if chances.strike("refused for now", 0.04):
            return KafkaError.NOT_ENOUGH_REPLICAS
        if chances.strike("refused for good", 0.03):
            return KafkaError.TOPIC_AUTHORIZATION_FAILED
        return 0
