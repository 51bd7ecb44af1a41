"""Record batches: what brokers and consumers read back is what was written."""

from __future__ import annotations

import os

import pytest

from processor.codec.varint import varint
from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.wire.batch import record_batch
from tests.wire.scripted import parse_batch


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (63, "7e"),
        (64, "8001"),
        (-65, "8101"),
        (8_191, "fe7f"),
        (8_192, "808001"),
        (2**31 - 1, "feffffff0f"),
        (-(2**31), "ffffffff0f"),
        (2**62, "80808080808080808001"),
    ],
)
def test_varints(number: int, encoded: str) -> None:
    assert varint(number).hex() == encoded


def outgoing(key: bytes | None, value: bytes | None) -> Outgoing:
    return Outgoing("events", 0, key, value, lambda *_: None)


RANDOM = os.urandom(3_000)


@pytest.mark.parametrize(
    ("records", "compressed"),
    [
        ([(b"k", b"v")], False),
        ([(None, None)], False),
        ([(b"", b"")], False),
        ([(b"key", None), (None, b"value")], False),
        ([(b"%d" % n, b"x" * n) for n in range(200)], True),
        ([(b"k", b"a" * 5_000)], True),
        ([(b"k", RANDOM)], False),
        ([(b"k", b"a" * 300_000), (b"k", RANDOM * 100)], True),
    ],
)
def test_records_come_back(
    records: list[tuple[bytes | None, bytes | None]], compressed: bool
) -> None:
    data = record_batch([outgoing(*record) for record in records], 1_700_000_000_000, 7, 2, 41)
    batch = parse_batch(data)
    assert list(batch.records) == records
    assert (batch.producer, batch.epoch, batch.sequence) == (7, 2, 41)
    assert batch.compressed is compressed


def test_a_batch_is_what_kafka_writes() -> None:
    """Produced out by hand from the format's description, but for its checksum."""
    written = record_batch([outgoing(b"k", b"v")], 1, 2, 3, 4)
    assert (
        written.hex(" ")
        == (
            "00 00 00 00 00 00 00 00 "  # base offset
            "00 00 00 3a "  # length of the rest
            "ff ff ff ff "  # leader epoch
            "02 "  # format
            + written[17:21].hex(" ")
            + " 00 00 "  # attributes
            "00 00 00 00 "  # last offset
            "00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 "  # times
            "00 00 00 00 00 00 00 02 00 03 00 00 00 04 "  # producer, epoch, sequence
            "00 00 00 01 "  # records
            "10 00 00 00 02 6b 02 76 00"
        )
    )
