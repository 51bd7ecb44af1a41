"""Record batches, as Kafka stores them (format 2): bytes out. Source: KIP-98, RecordBatch.java."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

import lz4.frame
from crc32c import crc32c

__all__ = ("RecordFields", "record_batch", "varint")

RecordFields = tuple[bytes | None, bytes | None, object]
"""Key, value, and what is not written."""

_HEAD: Final = Struct(">qiibI")
"""Base offset, length of the rest, partition leader epoch, magic, checksum of what follows."""

_BODY: Final = Struct(">hiqqqhii")
"""Attributes, last offset delta, first and last time, producer id and epoch, sequence, count."""

_LENGTH_BEFORE_REST: Final = 12
_MAGIC: Final = 2
_LZ4: Final = 3
_COMPRESSED_FROM: Final = 512
"""Bytes. Below that, compressing saves less than it takes."""


def varint(number: int) -> bytes:
    """Return a signed number as protocol buffers' zigzag varint, of 64 bits at the most."""
    rest = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


_KNOWN: Final = tuple(map(varint, range(4_096)))
_NULL: Final = varint(-1)


def _count(number: int) -> bytes:
    return _KNOWN[number] if number < 4_096 else varint(number)


def record_batch(
    records: Sequence[RecordFields],
    time_ms: int,
    producer_id: int,
    epoch: int,
    sequence: int,
    *,
    compress: bool = True,
) -> bytes:
    """Return the batch of at least one record, all of one time; LZ4 where that is smaller."""
    parts: list[bytes] = []
    for number, (key, value, _) in enumerate(records):
        fields = b"".join(
            (
                b"\0\0",  # attributes, time since the first
                _count(number),
                _NULL if key is None else _count(len(key)) + key,
                _NULL if value is None else _count(len(value)) + value,
                b"\0",  # headers
            )
        )
        parts += (_count(len(fields)), fields)
    written = b"".join(parts)
    attributes = 0
    if compress and len(written) >= _COMPRESSED_FROM:
        smaller = lz4.frame.compress(written, block_linked=False)  # Kafka reads no other
        if len(smaller) < len(written):
            written, attributes = smaller, _LZ4
    count = len(records)
    body = (
        _BODY.pack(attributes, count - 1, time_ms, time_ms, producer_id, epoch, sequence, count)
        + written
    )
    length = _HEAD.size - _LENGTH_BEFORE_REST + len(body)
    return _HEAD.pack(0, length, -1, _MAGIC, crc32c(body)) + body
