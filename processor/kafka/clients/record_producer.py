"""What a client that writes records can do: ours (``wire``), and librdkafka's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaError

__all__ = ("Delivered", "Outgoing", "Produced", "RecordProducer")


class Produced(Protocol):
    """A record that a broker took."""

    def offset(self) -> int | None:
        """Return its offset; below 0 where the broker knows only that it has it."""
        ...


Delivered = Callable[[KafkaError | None, Produced | None], None]
"""Called by whoever polls (or by the sender, where the client refuses at once)."""


class Outgoing(NamedTuple):
    """A record on its way; a ``partition`` below 0 is the one of its key."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    delivered: Delivered


class RecordProducer(Protocol):
    """An idempotent producer: each partition has its records once, in order."""

    def __len__(self) -> int:
        """Return how many records were not called back yet."""
        ...

    def produce(self, outgoing: Outgoing) -> None:
        """Take a record. Raises ``KafkaException``, or ``BufferError`` where there is no room."""
        ...

    def send(self) -> bool:
        """Begin to send what was produced; return whether the rest may take a ``poll``."""
        ...

    def poll(self, timeout_s: float) -> int:
        """Call back what is settled, waiting for something if nothing is; return how much."""
        ...

    def purge(self, *, in_flight: bool) -> None:
        """Give up what was not sent yet, and what was as well if asked."""
        ...

    def close(self) -> None: ...
