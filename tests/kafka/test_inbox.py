"""An inbox that is closed while it opens leaves nothing behind."""

from __future__ import annotations

from typing import Any

from processor.core.turn import Positions
from processor.kafka.inbox import KafkaInbox


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
