"""Record batches, as Kafka stores them (format 2): bytes out. Source: KIP-98, RecordBatch.java."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

import lz4.frame
from crc32c import crc32c

from processor.codec.varint import LONGS
from processor.kafka.clients.record_producer import Outgoing

__all__ = ("record_batch",)

_HEAD: Final = Struct(">qiibI")
"""Base offset, length of the rest, partition leader epoch, magic, checksum of what follows."""

_BODY: Final = Struct(">hiqqqhii")
"""Attributes, last offset delta, first and last time, producer id and epoch, sequence, count."""

_LENGTH_BEFORE_REST: Final = 12
_MAGIC: Final = 2
_LZ4: Final = 3
_COMPRESSED_FROM: Final = 512
"""Bytes. Below that, compressing saves less than it takes."""


_NULL: Final = LONGS[-1]


def record_batch(
    records: Sequence[Outgoing],
    time_ms: int,
    producer_id: int,
    epoch: int,
    sequence: int,
) -> bytes:
    """Return the batch of at least one record, all of one time; LZ4 where that is smaller."""
    parts: list[bytes] = []
    for number, (_, _, key, value, _) in enumerate(records):
        fields = b"".join(
            (
                b"\0\0",  # attributes, time since the first
                LONGS[number],
                _NULL if key is None else LONGS[len(key)] + key,
                _NULL if value is None else LONGS[len(value)] + value,
                b"\0",  # headers
            )
        )
        parts += (LONGS[len(fields)], fields)
    written = b"".join(parts)
    attributes = 0
    if len(written) >= _COMPRESSED_FROM:
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
