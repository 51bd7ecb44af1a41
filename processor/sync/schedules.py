"""Schedules: each call blocks until it has its answer.

Written by ``processor.dev.sync_client``. What each method does stands in full at its twin.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVarTuple, Unpack, overload

from processor.client.schedules import ScheduleDescription, ScheduleSummary
from processor.schedules.spec import Overlap, ScheduleOptions, TimeOptions
from processor.sync.blocking import Blocking
from processor.sync.handles import Handle

__all__ = (
    "ScheduleHandle",
    "Schedules",
)

Ts = TypeVarTuple("Ts")


class ScheduleHandle:
    """One schedule, by its ``id``. All raise ``WorkflowNotFound`` where there is none."""

    def __init__(self, twin: Any, blocking: Blocking) -> None:
        self._twin = twin
        self._blocking = blocking

    def __repr__(self) -> str:
        return repr(self._twin)

    @property
    def id(self) -> str:
        found: str = self._twin.id
        return found

    def describe(self) -> ScheduleDescription:
        """Return what it was told, its next ten times and its last ten runs."""
        found: ScheduleDescription = self._blocking.call(self._twin.describe())
        return found

    def update(
        self, *, workflow: Any = None, args: Any = None, **changes: Unpack[ScheduleOptions]
    ) -> None:
        """Change what is given: options as for ``create``, another workflow, its arguments."""
        self._blocking.call(self._twin.update(workflow=workflow, args=args, **changes))

    def pause(self, note: str = "") -> bool:
        """Let times pass without runs, until ``resume``; False where it was paused already."""
        found: bool = self._blocking.call(self._twin.pause(note))
        return found

    def resume(self, note: str = "") -> bool:
        """Let it go on with the next time from now on; False where it was not paused."""
        found: bool = self._blocking.call(self._twin.resume(note))
        return found

    def trigger(self, *, overlap: Overlap | None = None) -> Handle[Any]:
        """Let a run begin now, and return its handle."""
        return Handle(self._blocking.call(self._twin.trigger(overlap=overlap)), self._blocking)

    def backfill(
        self,
        start: datetime,
        end: datetime,
        *,
        overlap: Overlap = "buffer-all",
        again: bool = False,
    ) -> int:
        """Let runs begin for the times from ``start`` on and before ``end``; return how many."""
        found: int = self._blocking.call(
            self._twin.backfill(start, end, overlap=overlap, again=again)
        )
        return found

    def delete(self) -> bool:
        """End the schedule; its runs go on. False where it had been deleted."""
        found: bool = self._blocking.call(self._twin.delete())
        return found


class Schedules:
    """The schedules of a namespace. Each is a workflow of ours, ``schedule:ID``."""

    def __init__(self, twin: Any, blocking: Blocking) -> None:
        self._twin = twin
        self._blocking = blocking

    def __repr__(self) -> str:
        return repr(self._twin)

    @overload
    def create(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, Any]],
        *args: *Ts,
        id: str,
        paused: bool = False,
        note: str = "",
        **how: Unpack[ScheduleOptions],
    ) -> ScheduleHandle: ...

    @overload
    def create(
        self,
        workflow: str,
        *args: Any,
        id: str,
        paused: bool = False,
        note: str = "",
        **how: Unpack[ScheduleOptions],
    ) -> ScheduleHandle: ...

    def create(
        self, workflow: Any, *args: Any, id: str, paused: bool = False, note: str = "", **how: Any
    ) -> ScheduleHandle:
        """Let a workflow be started again and again, durably, and return the schedule's handle."""
        return ScheduleHandle(
            self._blocking.call(
                self._twin.create(workflow, *args, id=id, paused=paused, note=note, **how)
            ),
            self._blocking,
        )

    def handle(self, id: str) -> ScheduleHandle:
        """Return a handle on a schedule without asking anybody."""
        return ScheduleHandle(self._twin.handle(id), self._blocking)

    def list(self) -> Iterator[ScheduleSummary]:
        """Yield all schedules of the namespace, shard by shard."""
        return self._blocking.each(self._twin.list())

    def preview(
        self, *, count: int = 10, after: datetime | None = None, **times: Unpack[TimeOptions]
    ) -> Sequence[datetime]:
        """Return the next times that a schedule would have, in its time zone; nobody is asked."""
        found: Sequence[datetime] = self._twin.preview(count=count, after=after, **times)
        return found
