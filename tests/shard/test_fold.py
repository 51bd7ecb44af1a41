"""What the fold makes of a log that no shard can have written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from processor.codec.records import encode
from processor.core.events import EventReceived, WorkflowStarted
from processor.core.turn import Claim, Positions, Turn, claim_key, turn_key
from processor.shard.ports import LogRecord
from processor.shard.takeover import Takeover
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables


class WrittenLog:
    """A log that holds a claim, turns of one run that begin at ``firsts``, and our claim."""

    def __init__(self, *firsts: int) -> None:
        claim = encode(Claim("owner", "nonce", 0))
        self._records = [LogRecord(0, claim_key("nonce"), claim)]
        for first in firsts:
            event = EventReceived("go", b"1") if first else WorkflowStarted("order", b"[]")
            turn = Turn("order-1", "0-0", 0, first, 0, "commands", Positions(), 0, None, (event,))
            key = turn_key("0-0", first, 0)
            self._records.append(LogRecord(len(self._records), key, encode(turn)))
        self.end = len(self._records)

    def append(self, key: bytes, value: bytes | None) -> None:
        raise AssertionError("a fold appends nothing")

    def acknowledged(self) -> Sequence[int]:
        return []

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        yield from self._records[first:end]

    def bounds(self) -> tuple[int, int]:
        return 0, self.end


def folded(*firsts: int) -> int:
    log = WrittenLog(*firsts)
    return Takeover(0, log, StateTables(Memory(), "events-0"), "a test").fold(log.end, 0).turns


def test_turns_that_follow_each_other_are_folded() -> None:
    assert folded(0, 1, 2) == 3


@pytest.mark.parametrize("firsts", [(0, 2), (0, 1, 1), (1,)], ids=str)
def test_turns_that_do_not_are_named(firsts: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError, match=r"0-0: turn \d at \d"):
        folded(*firsts)
