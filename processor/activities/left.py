"""Attempts that are over while their functions go on: counted, told in the log, and bounded."""

from __future__ import annotations

import asyncio
import ctypes
import logging
from collections import Counter
from typing import Final

from processor.activities.reports import not_begun
from processor.activities.threads import ActivityThreads, ThreadCall
from processor.activity import ActivityDefinition
from processor.config import Settings
from processor.core.data.failure import Failure
from processor.core.records.effects import ActivityTask
from processor.seldom import Seldom
from processor.workflow._asyncio import forget_task

__all__ = ("CLEAN_UP_S", "WARN_EVERY_S", "LeftBehind", "listed")

_log = logging.getLogger("processor.activities")

CLEAN_UP_S: Final = 1.0
"""How long a function that is cancelled may take to end; then nobody waits for it any more."""

WARN_EVERY_S: Final = 60.0
_LISTED_MAX: Final = 20

_REMEDY_ASYNC = (
    "Let CancelledError through (no `except BaseException: pass` around an await), and keep "
    "clean-ups shorter than that"
)
_REMEDY_PLAIN = (
    "A thread is interrupted between instructions of Python only: give time-outs to what the "
    "function waits for, let CancelledError through, or let it ask activity.is_cancelled()"
)


class LeftBehind:
    """What goes on of one process's attempts that are over. Lives on the executor's loop.

    It holds no slots, and its threads are replaced. So that it does not grow without bound, an
    activity of which too much goes on is refused here until some of it ends: as many attempts as
    there are slots, or threads for a plain function.
    """

    def __init__(self, threads: ActivityThreads, settings: Settings, identity: str) -> None:
        self._threads = threads
        self._identity = identity
        self._tasks_max = settings.max_activities
        self._threads_max = settings.activity_threads_max
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._counts: Counter[str] = Counter()
        self._seldom = Seldom(WARN_EVERY_S)

    def count(self, definition: ActivityDefinition) -> int:
        counts = self._counts if definition.is_async else self._threads.left
        return counts.get(definition.name, 0)

    def is_full(self, definition: ActivityDefinition) -> bool:
        """Return whether no more attempts of an activity may begin; any thread may ask."""
        if definition.is_async:
            return self._counts.get(definition.name, 0) >= self._tasks_max
        return self._threads.left.get(definition.name, 0) >= self._threads_max

    def leave(self, call: ThreadCall) -> bool:
        """Wait no more for what runs in a thread; return whether anything goes on there."""
        return self._threads.leave(call)

    def add(self, running: asyncio.Task[None], name: str) -> None:
        """Count a task that goes on, until it ends."""
        self._tasks[running] = name
        self._counts[name] += 1
        running.add_done_callback(self._ended)

    def tell(self, definition: ActivityDefinition, task: ActivityTask, why: str) -> None:
        """Say in the log that an activity goes on after its attempt is over; seldom of one name."""
        if self._seldom(task.name):
            _log.warning(
                "activity %r goes on although its attempt %d is over (%s) and %.0f s have passed; "
                "nobody waits for it any more. %s. So do %d attempts of it here; with %d new ones "
                "are refused (workflow id %r)",
                task.name,
                task.attempt,
                why.replace("_", "-"),
                CLEAN_UP_S,
                _REMEDY_ASYNC if definition.is_async else _REMEDY_PLAIN,
                self.count(definition),
                self._tasks_max if definition.is_async else self._threads_max,
                task.workflow_id,
            )

    def refused(self, definition: ActivityDefinition, task: ActivityTask) -> Failure:
        """Return the failure of an attempt that does not begin: see ``is_full``."""
        message = (
            f"worker {self._identity} does not begin activity {task.name!r}: "
            f"{self.count(definition)} attempts of it that are over do not end. "
            f"{_REMEDY_ASYNC if definition.is_async else _REMEDY_PLAIN}. Then start the worker "
            "again; until then other workers may run it"
        )
        if self._seldom(f"{task.name} is refused"):
            _log.error("%s (workflow id %r)", message, task.workflow_id)
        return not_begun(task, "ActivityNeverEnds", message)

    def shutdown(self) -> None:
        """Begin nothing more in threads."""
        self._threads.shutdown()

    async def end(self) -> None:
        """Cancel all tasks once more, and let their loop end without those that go on."""
        self.shutdown()
        tasks = list(self._tasks)
        if not tasks:
            return
        for task in tasks:
            task.cancel("the worker stops")
        await asyncio.wait(tasks, timeout=CLEAN_UP_S)
        names = Counter(self._tasks.values())
        for task in list(self._tasks):
            task.remove_done_callback(self._ended)
            _forget(task)
        self._tasks.clear()
        if names:
            _log.warning("the worker stops without activities that do not end: %s", listed(names))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._counts[self._tasks.pop(task)] -= 1
        if not task.cancelled():
            task.exception()  # looked at: nobody is to be told


def listed(names: Counter[str]) -> str:
    """Return names with how often each is there, shortened."""
    texts = [f"{name!r} ({count})" for name, count in names.most_common(_LISTED_MAX)]
    return ", ".join(texts) + (", ..." if len(names) > _LISTED_MAX else "")


def _forget(task: asyncio.Task[None]) -> None:
    """Let no loop wait for a task that swallows its cancellation: ``asyncio.run`` would for ever.

    Such code swallows ``GeneratorExit`` as well, and an await without a loop raises at once: the
    garbage collector, which closes what it finds, would never come back from it. So it never finds
    this task, not even at the end of the process.
    """
    forget_task(task)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
