"""Brokers that do what a test says: they keep sequence numbers as Kafka does, and misbehave."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock, Thread
from types import TracebackType
from typing import Literal, NamedTuple, Self

import lz4.frame
from crc32c import crc32c

__all__ = (
    "SEQUENCES",
    "Batch",
    "Cluster",
    "Fault",
    "Log",
    "Place",
    "parse_batch",
    "versions_answer",
)

Place = tuple[str, int]
Record = tuple[bytes | None, bytes | None]
Fault = int | Literal["answer lost", "request lost", "not replicated", "silent", "garbage"]

OUT_OF_ORDER, NOT_LEADER, UNKNOWN_TOPIC, NOT_REPLICATED, TOO_LARGE = 45, 6, 3, 20, 10
DUPLICATE, OLD_EPOCH, UNSUPPORTED = 46, 47, 35
PRODUCER = 4_711
PRODUCE, METADATA, HANDSHAKE, VERSIONS, IDENTIFY, AUTHENTICATE = 0, 3, 17, 18, 22, 36
SEQUENCES = 1 << 31
SHORT_S = 30.0


Offered = Mapping[int, tuple[int, int]]
"""The first and the last version of each request that a broker takes."""

REDPANDA: Offered = {
    PRODUCE: (0, 7),
    METADATA: (0, 7),
    HANDSHAKE: (0, 1),
    VERSIONS: (0, 0),
    IDENTIFY: (0, 3),
    AUTHENTICATE: (0, 1),
}
KAFKA_2_8: Offered = {
    PRODUCE: (0, 9),
    METADATA: (0, 11),
    HANDSHAKE: (0, 1),
    VERSIONS: (0, 0),
    IDENTIFY: (0, 4),
    AUTHENTICATE: (0, 2),
}
KAFKA_3_9: Offered = {**KAFKA_2_8, PRODUCE: (0, 11), METADATA: (0, 12), IDENTIFY: (0, 5)}
KAFKA_4_3: Offered = {**KAFKA_3_9, PRODUCE: (0, 13), METADATA: (0, 13), IDENTIFY: (0, 6)}


class Batch(NamedTuple):
    producer: int
    epoch: int
    sequence: int
    records: Sequence[Record]
    compressed: bool


def parse_batch(data: bytes) -> Batch:
    """Read a batch as a broker does, checking length, format and checksum."""
    offset, length, _, magic, checksum = struct.unpack_from(">qiibI", data)
    assert (offset, length, magic) == (0, len(data) - 12, 2)
    assert checksum == crc32c(data[21:])
    fields = struct.unpack_from(">hiqqqhii", data, 21)
    attributes, last, _, _, producer, epoch, sequence, count = fields
    assert last == count - 1
    body = data[61:]
    if attributes == 3:
        body = lz4.frame.decompress(body)
    records, at = [], 0
    for number in range(count):
        length, at = _varint(body, at)
        end, at = at + length, at + 1
        _, at = _varint(body, at)
        delta, at = _varint(body, at)
        assert delta == number
        key, at = _bytes(body, at)
        value, at = _bytes(body, at)
        headers, at = _varint(body, at)
        assert (headers, at) == (0, end)
        records.append((key, value))
    assert at == len(body)
    return Batch(producer, epoch, sequence, records, attributes == 3)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number >> 1 ^ -(number & 1), at


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    return (None, at) if length < 0 else (data[at : at + length], at + length)


@dataclass
class _Producer:
    """What a log knows of one of its producers."""

    last: tuple[int, int, int] = (0, 0, -1)
    """First sequence, number of records and offset of the last batch; no records before it."""

    epoch: int = 0


@dataclass
class Log:
    """A partition, and what it knows of those that write to it.

    ``begins``: the sequence number of a producer's first batch. Kafka takes any one of a producer
    that it does not know.
    """

    records: list[Record] = field(default_factory=list)
    producers: dict[int, _Producer] = field(default_factory=dict)
    knows: bool = True
    """Whether a duplicate's offset is known; old brokers say only that it is one."""

    begins: int = 0

    def has(self, batch: Batch) -> bool:
        """Return whether it is the last one of its producer."""
        known = self.producers.get(batch.producer)
        number = batch.epoch, batch.sequence, len(batch.records)
        return known is not None and number == (known.epoch, *known.last[:2])

    def append(self, batch: Batch) -> tuple[int, int]:
        """Return error and offset; what is there already is not written again."""
        known = self.producers.setdefault(batch.producer, _Producer((self.begins, 0, -1)))
        if batch.epoch < known.epoch:
            return OLD_EPOCH, -1
        if batch.epoch > known.epoch and batch.sequence == 0:
            known.epoch, known.last = batch.epoch, (0, 0, -1)
        first, count, offset = known.last
        if self.has(batch):
            return (0, offset) if self.knows else (DUPLICATE, -1)
        expected = (first + count) % SEQUENCES
        if (batch.epoch, batch.sequence) != (known.epoch, expected):
            return OUT_OF_ORDER, -1
        offset = len(self.records)
        self.records += batch.records
        known.last = batch.sequence, len(batch.records), offset
        return 0, offset


class Cluster:
    """``misbehave`` is asked for each batch; ``requests`` has the places of each request.

    ``asked`` counts requests by API and version; who asks for a version that is not ``offered`` is
    hung up on, as Kafka does. ``offered_by`` are the nodes that differ.
    """

    def __init__(
        self, topics: Mapping[str, int], nodes: int = 1, offered: Offered = KAFKA_4_3
    ) -> None:
        self.topics = dict(topics)
        self.offered = offered
        self.offered_by: dict[int, Offered] = {}
        self.asked: Counter[tuple[int, int]] = Counter()
        self.logs: dict[Place, Log] = {}
        self.requests: list[list[Place]] = []
        self.misbehave: Callable[[Place], Fault] = lambda _: 0
        self.leaders: dict[Place, int] = {}
        self.delay_s = 0.0
        self.chunk = 1 << 20
        self.batch_max = 1 << 30
        self.answering = True
        self.connections = self.refused = self.producers = 0
        self.dead: set[int] = set()
        self.unnamed: set[int] = set()
        self.left_out: set[str] = set()
        self.host = b"127.0.0.1"
        self.misnumbered = 0
        self.producer_id: int | None = None
        self._lock = Lock()
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(nodes)]
        self._ports = [listener.getsockname()[1] for listener in self._listeners]
        self._open: list[socket.socket] = []
        self._listening: list[Thread] = []

    @property
    def servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    def records(self, topic: str, partition: int) -> Sequence[Record]:
        log = self.logs.get((topic, partition))
        return [] if log is None else log.records

    def kill(self, node: int) -> None:
        """From now on it takes nothing; the others still say that it leads what it led."""
        self.dead.add(node)
        self.hang_up()

    def hang_up(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        for node, listener in enumerate(self._listeners):
            self._listening.append(Thread(target=self._listen, args=(node, listener), daemon=True))
            self._listening[-1].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        for thread in self._listening:  # it must not accept what the next socket of that number has
            thread.join(20)
        for listener in self._listeners:
            listener.close()
        self.hang_up()

    def _listen(self, node: int, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(SHORT_S)
                self.connections += 1
                if node in self.dead:
                    self.refused += 1
                    connection.close()
                    continue
                self._open.append(connection)
                Thread(target=self._serve, args=(node, connection), daemon=True).start()

    def _serve(self, node: int, connection: socket.socket) -> None:
        with suppress(OSError, EOFError), connection:
            while True:
                (length,) = struct.unpack(">i", _exactly(connection, 4))
                request = _exactly(connection, length)
                api, version, number, named = struct.unpack_from(">hhih", request)
                body = request[10 + named :]
                time.sleep(self.delay_s)
                answer = self._answer(node, api, version, body)
                if answer is None:
                    return
                if api == PRODUCE and not self.answering:
                    continue
                if api == 0 and self.misnumbered:
                    self.misnumbered -= 1
                    number -= 1
                data = struct.pack(">ii", 4 + len(answer), number) + answer
                for at in range(0, len(data), self.chunk):
                    connection.sendall(data[at : at + self.chunk])

    def _answer(self, node: int, api: int, version: int, body: bytes) -> bytes | None:
        with self._lock:
            self.asked[api, version] += 1
            offered = self.offered_by.get(node, self.offered)
            first, last = offered.get(api, (1, 0))
            if api != VERSIONS and not first <= version <= last:
                return None
            match api:
                case 18:
                    return versions_answer(offered, UNSUPPORTED if version else 0)
                case 3:
                    return self._metadata(body)
                case 17:
                    return struct.pack(">hih5s", 0, 1, 5, b"PLAIN")
                case 36:
                    lifetime = struct.pack(">q", 3_600_000) if version else b""
                    return struct.pack(">hhi", 0, -1, 0) + lifetime
                case 22:
                    self.producers += 1
                    made = PRODUCER + self.producers
                    made = made if self.producer_id is None else self.producer_id
                    return struct.pack(">ihqh", 0, 0, made, 0)
                case 0:
                    return self._produce(node, version, body)
        raise AssertionError(f"request {api}")

    def _metadata(self, body: bytes) -> bytes:
        (count,) = struct.unpack_from(">i", body)
        at, topics = 4, []
        for _ in range(count):
            name, at = _text(body, at)
            if name not in self.left_out:
                topics.append(name)
        named = {node: port for node, port in enumerate(self._ports) if node not in self.unnamed}
        parts = [struct.pack(">ii", 0, len(named))]
        for node, port in named.items():
            host = struct.pack(f">h{len(self.host)}s", len(self.host), self.host)
            parts.append(struct.pack(">i", node) + host + struct.pack(">ih", port, -1))
        parts.append(struct.pack(">hii", -1, 0, len(topics)))
        for name in topics:
            partitions = self.topics.get(name, 0)
            error = 0 if partitions else UNKNOWN_TOPIC
            encoded = name.encode()
            parts.append(struct.pack(f">hh{len(encoded)}s?", error, len(encoded), encoded, False))
            parts.append(struct.pack(">i", partitions))
            for partition in range(partitions):
                leader = self.leaders.get((name, partition), 0)
                parts.append(struct.pack(">hiiii", 0, partition, leader, 0, 0))
        return b"".join(parts)

    def _produce(self, node: int, version: int, body: bytes) -> bytes | None:
        _, acks, _, topics = struct.unpack_from(">hhii", body)
        assert acks == -1
        at, places = 12, []
        parts = [struct.pack(">i", topics)]
        for _ in range(topics):
            name, at = _text(body, at)
            (count,) = struct.unpack_from(">i", body, at)
            at += 4
            encoded = name.encode()
            parts.append(struct.pack(f">h{len(encoded)}si", len(encoded), encoded, count))
            for _ in range(count):
                partition, length = struct.unpack_from(">ii", body, at)
                at += 8
                batch, at = parse_batch(body[at : at + length]), at + length
                assert PRODUCER < batch.producer <= PRODUCER + self.producers
                place = name, partition
                places.append(place)
                fault = self.misbehave(place)
                if fault == "request lost":
                    return None
                if fault == "garbage":
                    return b"\xff" * 20
                if length > self.batch_max:
                    fault = TOO_LARGE
                error, offset = self._append(node, place, batch, fault)
                if fault == "answer lost":
                    return None
                parts.append(struct.pack(">ihqqq", partition, error, offset, -1, 0))
                if version >= 8:
                    reason = b"because" if error else b""
                    parts.append(struct.pack(f">ih{len(reason)}s", 0, len(reason) or -1, reason))
        self.requests.append(places)
        parts.append(struct.pack(">i", 0))
        return b"".join(parts)

    def _append(self, node: int, place: Place, batch: Batch, fault: Fault) -> tuple[int, int]:
        if node != self.leaders.get(place, 0):
            return NOT_LEADER, -1
        if isinstance(fault, int) and fault:
            return fault, -1
        error, offset = self.logs.setdefault(place, Log()).append(batch)
        return (NOT_REPLICATED, -1) if fault == "not replicated" else (error, offset)


def versions_answer(offered: Offered, error: int = 0) -> bytes:
    """Return it in version 0, as brokers do where they take no later one."""
    parts = [struct.pack(">hhh", api, *span) for api, span in offered.items()]
    return struct.pack(">hi", error, len(parts)) + b"".join(parts)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + length].decode(), at + 2 + length
