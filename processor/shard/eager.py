"""The eager activities of one shard: their slots, and what they report."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask
from processor.shard.ports import Activities

__all__ = ("Eager",)


class Eager:
    """Keeps account of the slots, so that a shard that is closed gives back what it holds.

    ``lost`` are reports of attempts that an owner before us ran; they hold no slot. ``reports``
    wait to be decided.
    """

    def __init__(
        self, activities: Activities, lost: Iterable[ActivityReport], wake: Callable[[], None]
    ) -> None:
        self._activities = activities
        self._wake = wake
        self._reserved = 0
        self.reports: deque[tuple[ActivityReport, int]] = deque((report, 0) for report in lost)
        self._closed = False

    def reserve(self, slots: int) -> None:
        """Take slots for attempts that begin once their record is acknowledged."""
        self._activities.reserve(slots)
        self._reserved += slots

    def start(self, task: ActivityTask) -> None:
        """Run an attempt in its slot."""
        self._reserved -= 1
        self._activities.start(task, self._reported)

    def next(self) -> ActivityReport:
        """Return the next report; its slot is free for what is decided now."""
        report, slots = self.reports.popleft()
        self._activities.release(slots)
        return report

    def close(self) -> None:
        self._closed = True
        self._activities.release(self._reserved + sum(slots for _, slots in self.reports))

    def _reported(self, report: ActivityReport) -> None:
        slots = int(report.is_last)
        if self._closed:
            self._activities.release(slots)
        else:
            self.reports.append((report, slots))
            self._wake()
