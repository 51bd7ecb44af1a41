"""How the Kafka clients of a namespace are configured, and which partition a workflow lives on."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from processor.codec.records import LEVEL
from processor.kafka.clients.log import client_log
from processor.kafka.clients.properties import (
    check_producer,
    check_properties,
    check_servers,
    of_librdkafka,
)
from processor.kafka.topics.specs import topic_name

__all__ = (
    "COMMAND_BYTES_MAX",
    "LOG_RECORD_BYTES_MAX",
    "NO_OPTIONS",
    "PARTITIONER_HINT",
    "READ_AHEAD",
    "KafkaSettings",
    "fits",
    "murmur2",
    "partition_of",
)

LOG_RECORD_BYTES_MAX: Final = 16_777_216
"""``max.message.bytes`` of ``events``: a turn may be large."""

COMMAND_BYTES_MAX: Final = 2_000_000
"""What key and value of any other record may take together.

``max.message.bytes`` of those topics is 2 MiB: 97,152 bytes are left for headers and the batch.
"""

PARTITIONER_HINT: Final = (
    "use Kafka's default partitioner: murmur2 of the key. librdkafka's own default is another one; "
    "set partitioner=murmur2_random (kcat: -X topic.partitioner=murmur2_random)"
)

NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})
READ_AHEAD: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "queued.max.messages.kbytes": 16_384,
        "fetch.message.max.bytes": 524_288,
        "fetch.max.bytes": 8_388_608,
    }
)
"""How much a consumer of inputs or tasks fetches before it is asked for it.

A fetch is bounded before it is unpacked: lz4 makes 250 times as much of some.
"""

_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class KafkaSettings:
    """Where the brokers are and which namespace is meant.

    ``extra`` are librdkafka properties (security, for one), which win over ours, and ``producer``.
    ``replies`` names the topic of replies that a client reads; None: the one that all share.
    Raises ``KafkaConfigInvalid`` where a property must not.
    """

    servers: str
    namespace: str = "default"
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    replies: str | None = None

    def __post_init__(self) -> None:
        check_servers(self.servers)
        check_properties(self.extra)
        check_producer(self.extra)

    def topic(self, name: str) -> str:
        """Return the full name of one of the namespace's topics."""
        return topic_name(self.namespace, name)

    @cached_property
    def events(self) -> str:
        return self.topic("events")

    @cached_property
    def commands(self) -> str:
        return self.topic("commands")

    @property
    def replies_topic(self) -> str:
        """The topic of replies that a client reads."""
        return self.topic("replies" if self.replies is None else f"replies.{self.replies}")

    @property
    def shards_group(self) -> str:
        return f"{self.namespace}.shards"

    @property
    def clients_group(self) -> str:
        """The group that clients name who read answers: it lets nobody join the shards."""
        return f"{self.namespace}.clients"

    def producer(self, options: Mapping[str, Any] = NO_OPTIONS) -> dict[str, Any]:
        """Return the configuration of an idempotent producer that never gives a record up.

        With ``message.timeout.ms=0`` order and contiguous offsets survive broker deaths and
        pauses (measured; ``docs/reliability.md``). ``batch.size`` stays below what the smallest
        topic takes: librdkafka would else put small records into one batch that is refused.
        """
        return {
            **self._common(),
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": 0,
            "linger.ms": 0,
            "batch.size": 1_000_000,
            "compression.type": "lz4",
            "message.max.bytes": LOG_RECORD_BYTES_MAX,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
            "partitioner": "murmur2_random",
            "topic.metadata.propagation.max.ms": 5_000,
            **options,
            **of_librdkafka(self.extra),
        }

    def client_producer(self) -> dict[str, Any]:
        """Return the configuration of a client's producer: it starts in 5 ms and not in 500.

        librdkafka asks for an idempotent producer's id once, before it is connected, and again
        only after a fixed 500 ms (measured with 2.16). Requests carry ids by which shards drop a
        second copy, so a client needs no more than their order: one request in flight.
        """
        return self.producer(
            {"enable.idempotence": False, "max.in.flight.requests.per.connection": 1}
        )

    def log_producer(self) -> dict[str, Any]:
        """Return the configuration of the producer that writes ``events``, and nothing else.

        ``enable.gapless.guarantee``: without it, a record that the broker refuses (too large, not
        allowed) is left out while those behind it in the pipeline are written (measured with
        librdkafka 2.16: record 10 of 30 refused, 11 to 29 written). The log would then hold turns
        of a valid epoch behind a lost one. With it, the producer stops at the hole.
        """
        return self.producer({"enable.gapless.guarantee": True})

    def transactional_producer(self, transactional_id: str) -> dict[str, Any]:
        """Return the configuration of the producer of results.

        With the default ``retry.backoff.ms`` of 100 each transaction takes 100 ms: the coordinator
        answers CONCURRENT_TRANSACTIONS while it completes the one before.
        """
        config = self.producer(
            {
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 15_000,
                "retry.backoff.ms": 1,
                "retry.backoff.max.ms": 10,
            }
        )
        del config["message.timeout.ms"]  # librdkafka bounds it by the transaction's time-out
        return config

    def consumer(
        self, options: Mapping[str, Any] = NO_OPTIONS, *, group: str | None = None
    ) -> dict[str, Any]:
        """Return the configuration of a consumer that never moves anywhere by itself.

        Consumers with manual assignment join no group; they name the shards' group so that an
        administrator has one group to allow. ``fetch.wait.max.ms`` is not for latency (records end
        the wait at once): a partition that is new or resumed joins only the next fetch request.
        """
        return {
            **self._common(),
            "group.id": group or self.shards_group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "fetch.min.bytes": 1,
            "fetch.wait.max.ms": 50,
            "fetch.message.max.bytes": LOG_RECORD_BYTES_MAX,
            "fetch.error.backoff.ms": 50,
            "fetch.queue.backoff.ms": 5,
            **options,
            **of_librdkafka(self.extra),
        }

    def admin(self) -> dict[str, Any]:
        return {**self._common(), **of_librdkafka(self.extra)}

    def _common(self) -> dict[str, Any]:
        """``client.id`` tells `processor upgrade` which level of the log's format we know."""
        return {
            "bootstrap.servers": self.servers,
            "client.id": f"processor-{self.namespace}-level-{LEVEL}",
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "socket.nagle.disable": True,
            "socket.keepalive.enable": True,
            "logger": client_log,
        }


def fits(key: bytes | None, value: bytes | None) -> bool:
    """Return whether a topic of ours, other than ``events``, takes a record."""
    return len(key or b"") + len(value or b"") <= COMMAND_BYTES_MAX


def murmur2(key: bytes) -> int:
    """Return Kafka's hash of a key, as an unsigned 32-bit integer.

    Source: ``Utils.murmur2`` of Kafka's Java client, on which its default partitioner rests.
    """
    length = len(key)
    hashed = _SEED ^ length
    whole = length & ~3
    for (word,) in struct.iter_unpack("<I", key[:whole]):
        word = (word * _MULTIPLIER) & _MASK
        word ^= word >> 24
        hashed = ((hashed * _MULTIPLIER) & _MASK) ^ ((word * _MULTIPLIER) & _MASK)
    if length > whole:
        hashed ^= int.from_bytes(key[whole:], "little")
        hashed = (hashed * _MULTIPLIER) & _MASK
    hashed ^= hashed >> 13
    hashed = (hashed * _MULTIPLIER) & _MASK
    return hashed ^ (hashed >> 15)


def partition_of(workflow_id: str, partitions: int) -> int:
    """Return the shard of a workflow id: Java's default partitioner of its UTF-8 bytes."""
    return (murmur2(workflow_id.encode()) & 0x7FFFFFFF) % partitions
