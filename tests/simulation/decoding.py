"""While a story is checked, the same records are read again and again: each is decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

from processor.codec import records

__all__ = ("decoded_once",)

_READERS: Final = (
    "processor.codec.records.decode",
    "processor.shard.turns.instances.decode",
    "processor.views.reading.decode",
    "tests.log_rules.decode",
)


@contextmanager
def decoded_once() -> Iterator[dict[bytes, Any]]:
    """Let readers of the log share what they read, for as long as this lasts; yield that.

    Records are immutable, so that no reader can tell.
    """
    known: dict[bytes, Any] = {}
    read = records.decode

    def decode(data: bytes) -> Any:
        record = known.get(data)
        if record is None:
            record = known[data] = read(data)
        return record

    with ExitStack() as patches:
        for name in _READERS:
            patches.enter_context(patch(name, decode))
        yield known
