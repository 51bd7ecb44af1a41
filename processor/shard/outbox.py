"""What every outbox needs to know: how far delivery has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from processor.core.records.effects import RunResult
from processor.shard.ports import OutputRecord

__all__ = ("NEVER_OFFSET", "Deliveries", "Unpublished")

NEVER_OFFSET: Final = 1 << 62
"""Higher than any offset."""

_OUTPUT_BYTES: Final = 200
"""About what a record takes in memory beside its value."""

_DELIVERED_MAX: Final = 1_000
"""Turns that are kept in order although they are delivered: one before them is not."""


class Deliveries:
    """Counts, per turn, the sends that are not acknowledged yet.

    ``floor`` is the log offset below which every effect of every turn is delivered. ``handed_over``
    is that below which all messages of the shard to itself are: they are taken in the log's order.
    """

    def __init__(self, next_offset: int) -> None:
        self.handed_over = NEVER_OFFSET
        self._next_offset = next_offset
        self._order: deque[int] = deque()
        self._open: dict[int, int] = {}

    @property
    def floor(self) -> int:
        floor = self._order[0] if self._order else self._next_offset
        return min(floor, self.handed_over)

    @property
    def outstanding(self) -> int:
        """How many turns wait for the delivery of an effect."""
        return len(self._open)

    def released(self, offset: int, sends: int) -> None:
        """Note that the turn at ``offset`` (turns come in log order) caused this many sends."""
        self._next_offset = max(self._next_offset, offset + 1)
        if sends:
            self._order.append(offset)
            self._open[offset] = sends
            if len(self._order) > 2 * len(self._open) + _DELIVERED_MAX:
                self._order = deque(each for each in self._order if each in self._open)

    def delivered(self, offset: int) -> None:
        left = self._open[offset] - 1
        if left:
            self._open[offset] = left
            return
        del self._open[offset]
        while self._order and self._order[0] not in self._open:
            self._order.popleft()


class Unpublished:
    """Results and published records that were handed over, and that no consumer may see yet.

    ``bytes``: about how much memory they take, or took when it was last asked what is published.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._sizes: deque[tuple[int, int]] = deque()

    def handed_over(self, offset: int, records: Sequence[OutputRecord]) -> None:
        size = sum(map(_size, records))
        self.bytes += size
        self._sizes.append((offset, size))

    def published(self, floor: int) -> None:
        """Note that everything below a log offset is published."""
        sizes = self._sizes
        while sizes and sizes[0][0] < floor:
            self.bytes -= sizes.popleft()[1]


def _size(record: OutputRecord) -> int:
    value = record.result if isinstance(record, RunResult) else record.value
    return len(value or b"") + _OUTPUT_BYTES
