"""How much memory records take while they wait: each way in or out of a process has a bound."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Message

__all__ = ("memory_of", "memory_of_message")

_BESIDE: Final = 500
"""About what a record takes beside its key and value."""


def memory_of(key: str | bytes | None, value: str | bytes | None) -> int:
    return _BESIDE + len(key or b"") + len(value or b"")


def memory_of_message(message: Message) -> int:
    return memory_of(message.key(), message.value())
