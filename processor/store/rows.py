"""How the rows of the tables are written: MessagePack, and keys that sort as their numbers do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from processor.errors import StoreCorrupt

__all__ = ("number_key", "pack", "place_key", "reader", "shown_row")

pack: Final = msgspec.msgpack.Encoder().encode


def reader(type: Any) -> Callable[[bytes], Any]:
    """Return what reads rows of a type. ``StoreCorrupt`` where they cannot be read."""
    decoder = msgspec.msgpack.Decoder(type).decode

    def read(value: bytes) -> Any:
        try:
            return decoder(value)
        except msgspec.DecodeError as error:
            raise StoreCorrupt(f"a row of the state tables cannot be read: {error}") from error

    return read


def shown_row(value: bytes) -> Any:
    """Return a row as plain values, for people (``processor tables``)."""
    try:
        return msgspec.msgpack.decode(value)
    except msgspec.DecodeError:
        return value.decode(errors="replace")


def number_key(number: int) -> bytes:
    """Return the key of an offset or a time."""
    return number.to_bytes(8, "big")


def place_key(run_id: str, number: int) -> bytes:
    """Return the key of an event or an activity of a run."""
    return run_id.encode() + b"\0" + number.to_bytes(8, "big")
