"""An inbox that is closed while it opens leaves nothing behind."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from processor.core.records.turn import Positions
from processor.kafka.shards import reading
from processor.kafka.shards.inbox import KafkaInbox
from processor.kafka.shards.reading import InputReader, Stream

from .harness import Adapters, taken, until


class Reader:
    """A reader whose ``open`` takes until the shard was revoked."""

    def __init__(self) -> None:
        self.inbox: KafkaInbox | None = None
        self.streams: list[object] = []

    def open(self, places: Any, wake: Any) -> object:
        stream = object()
        self.streams.append(stream)
        assert self.inbox is not None
        self.inbox.close()
        return stream

    def close_stream(self, stream: object) -> None:
        self.streams.remove(stream)


def test_a_shard_that_is_revoked_while_it_opens_its_inputs_gives_them_back() -> None:
    """Else the next takeover of the shard here finds them taken, for ever."""
    reader: Any = Reader()
    topics = ("commands", "activity-results", "timers")
    inbox = KafkaInbox(0, 4, topics, reader, lambda *_: (0, 0), lambda: None)
    reader.inbox = inbox
    inbox.open(Positions())
    assert not reader.streams


def test_a_shard_that_is_not_given_up_in_time_asks_a_closed_reader_in_vain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else each of its polls was logged as a bug, some hundred times a second."""
    config = {"bootstrap.servers": "127.0.0.1:1", "group.id": "x", "log_level": 0}
    reader = reading.InputReader(config, {}, 10)
    reader.close()
    assert [reader.poll() for _ in range(3)] == [0, 0, 0]
    assert not caplog.records


def test_an_inbox_that_holds_too_many_bytes_pauses_and_goes_on(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand records of the largest would be 2 GB."""
    monkeypatch.setattr(reading, "_BYTES_MAX", 400_000)
    value = b"x" * 100_000
    for _ in range(40):
        kafka.produce("commands", 0, b"k", value)
    opened = kafka.open()
    opened.inbox.open(Positions())
    stream: Stream = opened.inbox._stream  # type: ignore[attr-defined]
    until(lambda: stream.paused, "it pauses")
    most = 0
    for _ in range(40):
        until(lambda: bool(stream.records), "the next one")
        most = max(most, len(stream.records))
        assert len(taken(opened, 1)) == 1
    assert most < 30, "it was read ahead"
    assert stream.bytes == 0


def test_an_inbox_that_was_given_up_while_it_paused_goes_on_when_it_is_back(
    kafka: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client keeps the pause of a partition that is given up: the shard would stand still."""
    monkeypatch.setattr(reading, "_BYTES_MAX", 400_000)
    for _ in range(40):
        kafka.produce("commands", 0, b"k", b"x" * 100_000)
    reader: InputReader = kafka.open().inbox._reader  # type: ignore[attr-defined]
    place = TopicPartition(kafka.topic("commands"), 0, 0)

    def is_full(stream: Stream) -> bool:
        return stream.paused

    for _ in range(2):
        stream = reader.open([place], lambda: None)
        until(partial(is_full, stream), "it pauses")
        reader.close_stream(stream)
