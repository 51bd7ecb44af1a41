"""The timers of a shard: what is due soon in memory, the rest as rows in the table.

A sleeping run costs a row. Memory holds the timers up to a horizon, which moves on in steps.

A timer that comes due is decided at once while its shard has room (eager). What there is no room
for queues on the ``timers`` topic, and all that come due before the topic is read again as well, so
that none overtakes another.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from processor.core.inputs import Input, TimerDue
from processor.core.records.effects import ClearTimer, SetTimer
from processor.core.records.turn import Source
from processor.shard.ports import Outbox, Tables

__all__ = ("Timers",)

_LOOKAHEAD_MS = 30_000
_ROWS_MAX = 10_000

_Key = tuple[int, str, str, int, int]
"""Due time, run id, kind, id, attempt: one that is armed anew is another one, as in the table."""


class Timers:
    """Timers that are due up to ``_horizon_ms`` are in ``_heap``; later ones only in the table."""

    def __init__(self, tables: Tables, outbox: Outbox, now_ms: int) -> None:
        self._tables = tables
        self._outbox = outbox
        self._heap: list[_Key] = []
        self._live: dict[_Key, SetTimer] = {}
        self._horizon_ms = -1
        self._last_queued: TimerDue | None = None
        self._look_ahead(now_ms)

    def set(self, timer: SetTimer) -> None:
        """Note a timer whose row has just been written."""
        if timer.due_ms <= self._horizon_ms:
            key = _key(timer)
            self._live[key] = timer
            heapq.heappush(self._heap, key)

    def clear(self, timer: ClearTimer) -> None:
        self._live.pop(_key(timer), None)

    def next_ms(self) -> int:
        """Return when ``due`` wants to be called again (ms since the epoch)."""
        return min(self._heap[0][0], self._horizon_ms) if self._heap else self._horizon_ms

    def fire(
        self,
        now_ms: int,
        most: int,
        room: Callable[[], int],
        decide: Callable[[Source, TimerDue], object],
    ) -> None:
        """Decide what has come due, as far as there is room; the rest queues."""
        for due in self.due(now_ms):
            if most > 0 and self._last_queued is None and room() > 0:
                most -= 1
                decide("eager", due)
            else:
                self._last_queued = due
                self._outbox.send(due, None)

    def came_back(self, input: Input) -> None:
        """Note that this was read from a topic."""
        if input == self._last_queued:
            self._last_queued = None

    def came_early(self, input: Input, now_ms: int) -> bool:
        """Return whether a timer was read before its time; then it fires when that comes.

        The clock of the owner that queued it may have been ahead of ours.
        """
        if not isinstance(input, TimerDue) or input.due_ms <= now_ms:
            return False
        which = input.workflow_id, input.run_id, input.kind, input.id, input.attempt
        self.set(SetTimer(*which, input.due_ms))
        return True

    def due(self, now_ms: int) -> Iterator[TimerDue]:
        """Yield what has come due, each once."""
        while True:
            while self._heap and self._heap[0][0] <= now_ms:
                timer = self._live.pop(heapq.heappop(self._heap), None)
                if timer is not None:
                    yield TimerDue(
                        timer.workflow_id,
                        timer.run_id,
                        timer.kind,
                        timer.id,
                        timer.attempt,
                        timer.due_ms,
                    )
            if now_ms < self._horizon_ms:
                return
            self._look_ahead(now_ms)

    def _look_ahead(self, now_ms: int) -> None:
        horizon_ms = now_ms + _LOOKAHEAD_MS
        rows = self._tables.timers(self._horizon_ms, _ROWS_MAX, horizon_ms)
        if len(rows) >= _ROWS_MAX:
            horizon_ms = rows[-1].due_ms
        self._horizon_ms = max(horizon_ms, self._horizon_ms)
        for timer in rows:
            self.set(timer)


def _key(timer: SetTimer | ClearTimer) -> _Key:
    return timer.due_ms, timer.run_id, timer.kind, timer.id, timer.attempt
