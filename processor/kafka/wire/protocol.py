"""A producer's requests and their answers: bytes out, values in. Source: Kafka's protocol guide.

The versions are the last before "flexible" encoding; brokers from 2.4 to 4.3 and later take them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

__all__ = (
    "Answered",
    "Cluster",
    "ProtocolError",
    "Topic",
    "init_producer_id",
    "metadata",
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
_PRODUCED: Final = Struct(">ihqqqi")
"""Partition, error, base offset, append time, log start offset, number of records with errors."""

_ALL_IN_SYNC: Final = -1


class ProtocolError(OSError):
    """A broker answered what no Kafka broker answers."""


class Topic(NamedTuple):
    """``leaders``: the node that leads each partition, -1 where there is none for now."""

    error: int
    leaders: Mapping[int, int]


class Cluster(NamedTuple):
    brokers: Mapping[int, tuple[str, int]]
    topics: Mapping[str, Topic]


class Answered(NamedTuple):
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

    def int32s(self) -> Sequence[int]:
        return [self.int32() for _ in range(self.int32())]


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _INT16.pack(len(encoded)) + encoded


def _framed(api: int, version: int, number: int, client: str, body: bytes) -> bytes:
    head = _INT16.pack(api) + _INT16.pack(version) + _INT32.pack(number) + _text(client)
    return _INT32.pack(len(head) + len(body)) + head + body


# --- Produce (0), version 8 -----------------------------------------------------------------------


def produce(
    number: int, client: str, batches: Mapping[str, Sequence[tuple[int, bytes]]], timeout_ms: int
) -> bytes:
    """Return the request to append these batches (partition, bytes) to their topics."""
    parts = [_INT16.pack(-1), _INT16.pack(_ALL_IN_SYNC), _INT32.pack(timeout_ms)]
    parts.append(_INT32.pack(len(batches)))
    for topic, partitions in batches.items():
        parts += (_text(topic), _INT32.pack(len(partitions)))
        for partition, batch in partitions:
            parts += (_INT32.pack(partition), _INT32.pack(len(batch)), batch)
    return _framed(0, 8, number, client, b"".join(parts))


def parse_produce(answer: bytes) -> Iterator[Answered]:
    """Yield what became of each batch."""
    reader = _Reader(answer)
    for _ in range(reader.int32()):
        topic = reader.text()
        for _ in range(reader.int32()):
            partition, error, offset, _, _, records = reader.take(_PRODUCED)
            reasons = []
            for _ in range(records):
                reader.int32()
                reasons.append(reader.text())
            reasons.append(reader.text())
            yield Answered(topic, partition, error, offset, "; ".join(filter(None, reasons)))


# --- Metadata (3), version 4 ----------------------------------------------------------------------


def metadata(number: int, client: str, topics: Sequence[str]) -> bytes:
    """Return the question who leads these topics; none is made by asking."""
    body = _INT32.pack(len(topics)) + b"".join(map(_text, topics)) + b"\0"
    return _framed(3, 4, number, client, body)


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


# --- InitProducerId (22), version 1 ---------------------------------------------------------------


def init_producer_id(number: int, client: str) -> bytes:
    """Return the request for an idempotent producer's id, of no transaction."""
    return _framed(22, 1, number, client, _INT16.pack(-1) + _INT32.pack(60_000))


def parse_init_producer_id(answer: bytes) -> tuple[int, int, int]:
    """Return the error, the id and its epoch."""
    reader = _Reader(answer)
    reader.int32()  # throttled
    return reader.int16(), reader.int64(), reader.int16()


# --- SaslHandshake (17), SaslAuthenticate (36), both version 1 ------------------------------------


def sasl_handshake(number: int, client: str, mechanism: str) -> bytes:
    return _framed(17, 1, number, client, _text(mechanism))


def parse_sasl_handshake(answer: bytes) -> tuple[int, Sequence[str]]:
    """Return the error and the mechanisms that the broker knows."""
    reader = _Reader(answer)
    return reader.int16(), [reader.text() for _ in range(reader.int32())]


def sasl_authenticate(number: int, client: str, message: bytes) -> bytes:
    return _framed(36, 1, number, client, _INT32.pack(len(message)) + message)


def parse_sasl_authenticate(answer: bytes) -> tuple[int, str, bytes, int]:
    """Return the error, its reason, the broker's message, and how long the session is, in ms."""
    reader = _Reader(answer)
    error, reason = reader.int16(), reader.text()
    return error, reason, reader.bytes(reader.int32()), reader.int64()
