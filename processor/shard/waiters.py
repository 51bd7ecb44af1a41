"""Who waits for what: clients that are answered once it is there, and asked for again if not."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Final, Generic, TypeVar

from processor.core.data.address import ReplyTo

__all__ = ("Waiters",)

T = TypeVar("T")

_WAIT_MAX_MS: Final = 3_600_000
"""Who waits for longer is forgotten like one that is gone: clients ask again long before."""

_OUTDATED_MAX: Final = 1_000


class Waiters(Generic[T]):
    """Who waits for something of a run, until when, and for what: ``most`` at the most.

    Not the commands are kept, whose arguments may be large. ``_expiry`` has the waiters in the
    order of time, and what is outdated.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiters: dict[str, dict[ReplyTo, tuple[int, T]]] = {}
        self._expiry: list[tuple[int, int, str, ReplyTo]] = []
        self._numbers = count()
        self._waiting = 0

    def wait(self, run_id: str, to: ReplyTo, timeout_ms: int, what: T, now_ms: int) -> bool:
        """Let somebody wait; False where there are too many."""
        self._forget(now_ms)
        if self._waiting >= self.most and to not in self._waiters.get(run_id, {}):
            return False
        expires_ms = now_ms + min(max(timeout_ms, 0), _WAIT_MAX_MS)
        self.waits(run_id, to, expires_ms, what)
        return True

    def waits(self, run_id: str, to: ReplyTo, expires_ms: int, what: T) -> None:
        """Let somebody who has waited for another run wait until then."""
        waiters = self._waiters.setdefault(run_id, {})
        before = len(waiters)
        waiters[to] = expires_ms, what
        self._waiting += len(waiters) - before
        heapq.heappush(self._expiry, (expires_ms, next(self._numbers), run_id, to))

    def of(self, run_id: str) -> list[tuple[ReplyTo, int, T]]:
        """Return who waits for something of a run, until when, and for what."""
        waiters = self._waiters.get(run_id)
        return [(to, *waits) for to, waits in waiters.items()] if waiters else []

    def drop(self, run_id: str, to: ReplyTo) -> None:
        waiters = self._waiters[run_id]
        del waiters[to]
        self._waiting -= 1
        if not waiters:
            del self._waiters[run_id]

    def _forget(self, now_ms: int) -> None:
        """Drop waiters whose client has asked again or gone."""
        expiry = self._expiry
        while expiry and expiry[0][0] <= now_ms:
            expires_ms, _, run_id, to = heapq.heappop(expiry)
            waits = self._waiters.get(run_id, {}).get(to)
            if waits is not None and waits[0] == expires_ms:
                self.drop(run_id, to)
        if len(expiry) > 2 * self._waiting + _OUTDATED_MAX:
            self._expiry = [
                (expires_ms, next(self._numbers), run_id, to)
                for run_id, waiters in self._waiters.items()
                for to, (expires_ms, _) in waiters.items()
            ]
            heapq.heapify(self._expiry)
