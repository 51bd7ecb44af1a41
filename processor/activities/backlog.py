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
from processor.core.records.effects import ActivityTask
from processor.shard.ports import Clock

__all__ = ("Backlog",)

_log = logging.getLogger("processor.activities")

_OLD_MS: Final = 1_000
"""A task that has waited so long asks its shard before it begins: meanwhile it may have been
cancelled, or have timed out. One that has not costs a third less without the question."""

_ASK_S: Final = 30.0
"""How long a task waits for its shard's word; a shard that is away cannot take its outcome."""


class Begin(Protocol):
    def __call__(self, task: ActivityTask, report: Report, *, announces: bool) -> None:
        """Begin an attempt; ``announces``: its shard has to hear of that."""


@dataclass(slots=True)
class Asked:
    """A task that has waited, or may have run before; its shard was asked whether it is wanted."""

    task: ActivityTask
    report: Report
    overdue: asyncio.TimerHandle


class Backlog:
    """Tasks of queues that have not begun.

    ``waiting`` are those without a slot, ``asked`` those whose shard is asked: each has its slot.
    ``may_run``: one is free.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        identity: str,
        may_run: Callable[[], bool],
        run: Begin,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._identity = identity
        self._may_run = may_run
        self._run = run
        self.waiting: OrderedDict[tuple[str, int], tuple[ActivityTask, Report, bool]]
        self.waiting = OrderedDict()
        self.asked: dict[tuple[str, int], Asked] = {}
        self.reply_to: ReplyTo | None = None

    def add(self, task: ActivityTask, report: Report, again: bool) -> None:
        self.waiting[task.run_id, task.id] = (task, report, again)
        self.next()

    def next(self) -> None:
        """Begin as many tasks as may run."""
        while self.waiting and self._may_run():
            _, (task, report, again) = self.waiting.popitem(last=False)
            waited_ms = self._clock.now_ms() - task.scheduled_ms
            if (again or waited_ms > _OLD_MS) and self.reply_to is not None:
                self._ask(task, report, self.reply_to)
            else:
                self._run(task, report, announces=True)

    def answered(self, asked: Asked, *, wanted: bool) -> None:
        """Take a shard's word on a task, or that there is none."""
        asked.overdue.cancel()
        del self.asked[asked.task.run_id, asked.task.id]
        if wanted:
            self._run(asked.task, asked.report, announces=False)
        else:
            self.next()

    def clear(self) -> None:
        self.waiting.clear()
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
        self.answered(asked, wanted=True)
