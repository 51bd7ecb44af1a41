"""A producer's requests and their answers: bytes out, values in. Source: Kafka's protocol guide.

Which version of a request a connection uses, ``versions`` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from processor.kafka.wire.versions import (
    API_VERSIONS,
    INIT_PRODUCER_ID,
    METADATA,
    PRODUCE,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
)

__all__ = (
    "BatchAnswer",
    "Batches",
    "Cluster",
    "Identity",
    "ProtocolError",
    "Topic",
    "api_versions",
    "init_producer_id",
    "metadata",
    "parse_api_versions",
    "parse_init_producer_id",
    "parse_metadata",
    "parse_produce",
    "parse_sasl_authenticate",
    "parse_sasl_handshake",
    "produce",
    "sasl_authenticate",
    "sasl_handshake",
)

_INT16: Final = Struct(">h")
_INT32: Final = Struct(">i")
_INT64: Final = Struct(">q")
_PRODUCED_7: Final = Struct(">ihqqq")
_PRODUCED_8: Final = Struct(">ihqqqi")
"""Partition, error, base offset, append time, log start offset; then why, of so many records."""

_LIFETIME_SINCE: Final = 1
"""The version of SaslAuthenticate since which an answer says how long a session is."""

_ALL_IN_SYNC: Final = -1

Batches = Mapping[str, Sequence[tuple[int, bytes]]]
"""By topic: partition and batch."""


class ProtocolError(OSError):
    """A broker answered what no Kafka broker answers."""


class Topic(NamedTuple):
    """``leaders``: the node that leads each partition, -1 where there is none for now."""

    error: int
    leaders: Mapping[int, int]


class Cluster(NamedTuple):
    brokers: Mapping[int, tuple[str, int]]
    topics: Mapping[str, Topic]


class Identity(NamedTuple):
    """An idempotent producer's id and epoch."""

    id: int
    epoch: int


class BatchAnswer(NamedTuple):
    """What became of one batch. ``offset``: of its first record."""

    topic: str
    partition: int
    error: int
    offset: int
    reason: str


class _Reader:
    """Reads the fields of an answer, in their order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, shape: Struct) -> tuple[int, ...]:
        at = self._at
        self._at = at + shape.size
        if self._at > len(self._data):
            raise ProtocolError(f"an answer of {len(self._data)} bytes ends too early")
        return shape.unpack_from(self._data, at)

    def int16(self) -> int:
        return self.take(_INT16)[0]

    def int32(self) -> int:
        return self.take(_INT32)[0]

    def int64(self) -> int:
        return self.take(_INT64)[0]

    def bool(self) -> bool:
        return self.bytes(1) != b"\0"

    def bytes(self, length: int) -> bytes:
        at = self._at
        self._at = at + length
        if length < 0 or self._at > len(self._data):
            raise ProtocolError(f"an answer of {len(self._data)} bytes ends too early")
        return self._data[at : self._at]

    def text(self) -> str:
        """Return a string; one that is null is empty."""
        length = self.int16()
        return "" if length < 0 else self.bytes(length).decode(errors="replace")

    def reasons(self, records: int) -> str:
        """Return why so many records, and their batch, were refused."""
        found = []
        for _ in range(records):
            self.int32()  # which record
            found.append(self.text())
        found.append(self.text())
        return "; ".join(filter(None, found))

    def int32s(self) -> Sequence[int]:
        return [self.int32() for _ in range(self.int32())]


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _INT16.pack(len(encoded)) + encoded


def _framed(api: int, version: int, number: int, client: str, body: bytes) -> bytes:
    head = _INT16.pack(api) + _INT16.pack(version) + _INT32.pack(number) + _text(client)
    return _INT32.pack(len(head) + len(body)) + head + body


# --- ApiVersions, version 0: every broker takes it ------------------------------------------------


def api_versions(number: int, client: str) -> bytes:
    """Return the question which requests a broker takes."""
    return _framed(API_VERSIONS, 0, number, client, b"")


def parse_api_versions(answer: bytes) -> Mapping[int, tuple[int, int]]:
    """Return the first and the last version of each API."""
    reader = _Reader(answer)
    if error := reader.int16():
        raise ProtocolError(f"error {error} where it was asked which requests it takes")
    count = reader.int32()
    return {reader.int16(): (reader.int16(), reader.int16()) for _ in range(count)}


# --- Produce --------------------------------------------------------------------------------------


def produce(number: int, client: str, version: int, batches: Batches, timeout_ms: int) -> bytes:
    """Return the request to append these batches to their topics."""
    parts = [_INT16.pack(-1), _INT16.pack(_ALL_IN_SYNC), _INT32.pack(timeout_ms)]
    parts.append(_INT32.pack(len(batches)))
    for topic, partitions in batches.items():
        parts += (_text(topic), _INT32.pack(len(partitions)))
        for partition, batch in partitions:
            parts += (_INT32.pack(partition), _INT32.pack(len(batch)), batch)
    return _framed(PRODUCE, version, number, client, b"".join(parts))


def parse_produce(answer: bytes, version: int) -> Iterator[BatchAnswer]:
    """Yield what became of each batch."""
    reader = _Reader(answer)
    for _ in range(reader.int32()):
        topic = reader.text()
        for _ in range(reader.int32()):
            reason = ""
            if version < 8:
                partition, error, offset, _, _ = reader.take(_PRODUCED_7)
            else:
                partition, error, offset, _, _, records = reader.take(_PRODUCED_8)
                reason = reader.reasons(records) if records else reader.text()
            yield BatchAnswer(topic, partition, error, offset, reason)


# --- Metadata -------------------------------------------------------------------------------------


def metadata(number: int, client: str, version: int, topics: Sequence[str]) -> bytes:
    """Return the question who leads these topics; none is made by asking."""
    body = _INT32.pack(len(topics)) + b"".join(map(_text, topics)) + b"\0"
    return _framed(METADATA, version, number, client, body)


def parse_metadata(answer: bytes) -> Cluster:
    reader = _Reader(answer)
    reader.int32()  # throttled
    brokers = {}
    for _ in range(reader.int32()):
        node, host, port = reader.int32(), reader.text(), reader.int32()
        reader.text()  # rack
        brokers[node] = host, port
    reader.text()  # cluster id
    reader.int32()  # controller
    topics = {}
    for _ in range(reader.int32()):
        error, name = reader.int16(), reader.text()
        reader.bool()  # internal
        leaders = {}
        for _ in range(reader.int32()):
            reader.int16()  # its leader says more than its error does
            partition, leader = reader.int32(), reader.int32()
            leaders[partition] = leader
            reader.int32s()  # replicas
            reader.int32s()  # those in sync
        topics[name] = Topic(error, leaders)
    return Cluster(brokers, topics)


# --- InitProducerId -------------------------------------------------------------------------------


def init_producer_id(number: int, client: str, version: int) -> bytes:
    """Return the request for an idempotent producer's id, of no transaction."""
    body = _INT16.pack(-1) + _INT32.pack(60_000)
    return _framed(INIT_PRODUCER_ID, version, number, client, body)


def parse_init_producer_id(answer: bytes) -> tuple[int, int, int]:
    """Return the error, the id and its epoch."""
    reader = _Reader(answer)
    reader.int32()  # throttled
    return reader.int16(), reader.int64(), reader.int16()


# --- SaslHandshake, SaslAuthenticate --------------------------------------------------------------


def sasl_handshake(number: int, client: str, version: int, mechanism: str) -> bytes:
    return _framed(SASL_HANDSHAKE, version, number, client, _text(mechanism))


def parse_sasl_handshake(answer: bytes) -> tuple[int, Sequence[str]]:
    """Return the error and the mechanisms that the broker knows."""
    reader = _Reader(answer)
    return reader.int16(), [reader.text() for _ in range(reader.int32())]


def sasl_authenticate(number: int, client: str, version: int, message: bytes) -> bytes:
    body = _INT32.pack(len(message)) + message
    return _framed(SASL_AUTHENTICATE, version, number, client, body)


def parse_sasl_authenticate(answer: bytes, version: int) -> tuple[int, str, bytes, int]:
    """Return the error, its reason, the broker's message, and how long the session is, in ms.

    0 where the session has no end, or none is said.
    """
    reader = _Reader(answer)
    error, reason = reader.int16(), reader.text()
    said = reader.bytes(reader.int32())
    return error, reason, said, reader.int64() if version >= _LIFETIME_SINCE else 0
