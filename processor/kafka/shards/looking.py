"""Looks at the topics of a worker's shards from time to time, and says what holds them up."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Final

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import ends_of
from processor.kafka.shards.identity import CO_PARTITIONED, describe
from processor.kafka.shards.inbox import INPUTS
from processor.seldom import Seldom

__all__ = ("Looks",)

_log = logging.getLogger("processor.kafka")

_CALL_S: Final = 10.0
_OFFSETS_EVERY_S: Final = 5.0
_SAY_EVERY_S: Final = 60.0


class Looks:
    """``look`` is called now and then; it blocks."""

    def __init__(self, connection: KafkaSettings, admin: AdminClient, partitions: int) -> None:
        self._connection = connection
        self._admin = admin
        self._partitions = partitions
        self._offsets_at = 0.0
        self._held: dict[TopicPartition, int] = {}
        self._is_time = Seldom(_SAY_EVERY_S)

    def look(self, shards: Iterable[int]) -> None:
        """Say what is wrong. ``shards`` are those of this process."""
        self._look_at_partitions()
        if monotonic() >= self._offsets_at:
            self._offsets_at = monotonic() + _OFFSETS_EVERY_S
            self._look_for_open_transactions(shards)

    def _look_at_partitions(self) -> None:
        topics = [self._connection.topic(name) for name in CO_PARTITIONED]
        found = describe(self._admin, topics).items()
        counts = {topic: len(described.partitions) for topic, described in found}
        wrong = [f"{topic} has {n}" for topic, n in counts.items() if n != self._partitions]
        if wrong and self._is_time("partitions"):
            _log.error(
                "this worker's shards began with %d partitions, and now %s: the number must not "
                "change, because it says which shard a workflow id belongs to. Clients that count "
                "the new partitions write where no shard reads, and get no answer. Begin in a new "
                "namespace with the number that you want (`processor topics apply --namespace NEW "
                "--partitions N`), and start no new client of this one until its runs have ended",
                self._partitions,
                ", ".join(wrong),
            )

    def _look_for_open_transactions(self, shards: Iterable[int]) -> None:
        """Say which input waits for the end of a transaction since the last look."""
        places = [
            TopicPartition(self._connection.topic(name), shard)
            for name in INPUTS.values()
            for shard in shards
        ]
        stable = ends_of(self._admin, places, _CALL_S, committed=True)
        ends = ends_of(self._admin, places, _CALL_S)
        held = {place: offset for place, offset in stable.items() if offset < ends[place]}
        for place, offset in held.items():
            where = f"{place.topic}[{place.partition}]"
            if self._held.get(place) == offset and self._is_time(where):
                _log.error(
                    "%s: a transaction of another producer is open at offset %d, and %d records "
                    "from there on wait for its end: the shard does not see them. To find it: "
                    "`kafka-transactions.sh --bootstrap-server %s describe-producers --topic %s "
                    "--partition %d`; `find-hanging` and `abort` end one that nobody ends",
                    where,
                    offset,
                    ends[place] - offset,
                    self._connection.servers,
                    place.topic,
                    place.partition,
                )
        self._held = held
