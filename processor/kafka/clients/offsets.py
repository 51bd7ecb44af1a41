"""Which offset of a partition may be committed while its records finish in any order."""

from __future__ import annotations

from collections import deque

__all__ = ("OffsetTracker",)


class OffsetTracker:
    """Records start in the order of their offsets. Used by one thread, but for ``revoked``.

    ``held`` is where the partition ended when we got it: what is below it may have been delivered
    before.
    """

    def __init__(self, held: int = 0) -> None:
        self.held = held
        self._order: deque[int] = deque()
        self._done: set[int] = set()
        self._next: int | None = None
        self.revoked = False

    @property
    def position(self) -> int | None:
        """The lowest unfinished offset, or the one after the last; None before the first start."""
        return self._order[0] if self._order else self._next

    def started(self, offset: int) -> None:
        """Note a record; one that was noted before (a rewind) changes nothing."""
        if self._next is not None and offset < self._next:
            return
        self._order.append(offset)
        self._next = offset + 1

    def finished(self, offset: int) -> None:
        """Note that a record needs no second delivery."""
        if not self._order or offset < self._order[0] or offset in self._done:
            return
        self._done.add(offset)
        while self._order and self._order[0] in self._done:
            self._done.remove(self._order.popleft())
