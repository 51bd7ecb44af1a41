"""Queued tasks that have not begun: they wait for a slot, or for their shard's word."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from processor.activities.attempt import Report
from processor.activities.reports import report_of
from processor.core.data.address import ReplyTo
from processor.core.records.answers import HeartbeatSeen
from processor.core.records.effects import ActivityTask

__all__ = ("Backlog",)

_log = logging.getLogger("processor.activities")

_ASK_S: Final = 30.0
"""How long a task waits for its shard's word; a shard that is away cannot take its outcome."""


class Begin(Protocol):
    def __call__(self, task: ActivityTask, report: Report, *, announces: bool) -> None:
        """Begin an attempt; ``announces``: its shard has to hear of that."""


@dataclass(slots=True)
class Asked:
    """A task that may have run before; its shard was asked whether it is still wanted."""

    task: ActivityTask
    report: Report
    overdue: asyncio.TimerHandle


class Backlog:
    """``asked`` are the tasks whose shard is asked; each has its slot. ``may_run``: one is free."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        identity: str,
        may_run: Callable[[], bool],
        run: Begin,
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._may_run = may_run
        self._run = run
        self._waiting: OrderedDict[tuple[str, int], tuple[ActivityTask, Report, bool]]
        self._waiting = OrderedDict()
        self.asked: dict[tuple[str, int], Asked] = {}
        self.reply_to: ReplyTo | None = None

    @property
    def waits(self) -> bool:
        """Whether any task waits for a slot."""
        return bool(self._waiting)

    def add(self, task: ActivityTask, report: Report, again: bool) -> None:
        self._waiting[task.run_id, task.id] = (task, report, again)
        self.next()

    def next(self) -> None:
        """Begin as many tasks as may run."""
        while self._waiting and self._may_run():
            _, (task, report, again) = self._waiting.popitem(last=False)
            if again and self.reply_to is not None:
                self._ask(task, report, self.reply_to)
            else:
                self._run(task, report, announces=True)

    def heed(self, asked: Asked, seen: HeartbeatSeen) -> None:
        """Take a shard's word on a task."""
        self._answered(asked, wanted=not seen.cancelled)

    def clear(self) -> None:
        self._waiting.clear()
        for asked in self.asked.values():
            asked.overdue.cancel()
        self.asked.clear()

    def _ask(self, task: ActivityTask, report: Report, reply_to: ReplyTo) -> None:
        """Announce a start, and wait for what the shard says of it. The task has its slot."""
        if (older := self.asked.get((task.run_id, task.id))) is not None:
            older.overdue.cancel()
        asked = Asked(task, report, self._loop.call_later(_ASK_S, self._unanswered, task))
        self.asked[task.run_id, task.id] = asked
        report(report_of(task, "started", worker=self._identity, reply_to=reply_to))

    def _unanswered(self, task: ActivityTask) -> None:
        asked = self.asked[task.run_id, task.id]
        _log.info("no shard says whether %r is still wanted; it starts", task.name)
        self._answered(asked, wanted=True)

    def _answered(self, asked: Asked, *, wanted: bool) -> None:
        asked.overdue.cancel()
        del self.asked[asked.task.run_id, asked.task.id]
        if wanted:
            self._run(asked.task, asked.report, announces=False)
        else:
            self.next()
