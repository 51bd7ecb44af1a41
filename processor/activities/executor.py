"""The activities of one process: eager ones for its shards, queued ones for its queues.

Both share the slots. Whatever an activity does, exactly one report of each attempt comes out.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import Collection

from processor.activities.attempt import Attempt, Home, Report
from processor.activities.backlog import Backlog
from processor.activities.functions import Functions
from processor.activities.left import CLEAN_UP_S, LeftBehind, listed
from processor.activities.processes import ActivityProcesses
from processor.activities.reports import ended, report_of
from processor.activities.threads import ActivityThreads
from processor.activities.timeouts import Timeouts
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.inputs import ActivityReport
from processor.core.records.answers import HeartbeatSeen, StopWanted
from processor.core.records.effects import ActivityTask
from processor.registry import Registry
from processor.shard.ports import Clock

__all__ = ("Executor", "Report")

_log = logging.getLogger("processor.activities")


class Executor:
    """Implements the shard's ``Activities`` port, and runs queued tasks. Lives on one loop.

    ``queues`` are those that this process serves, None for all of them: only their activities and
    those of the default queue run eagerly here, unless they ask for it.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        identity: str,
        clock: Clock,
        namespace: str = "default",
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._loop = loop = asyncio.get_running_loop()
        self._home = Home(registry.payloads, settings, loop, namespace)
        threads = ActivityThreads(settings.activity_threads_max)
        self._left = LeftBehind(threads, settings, identity)
        self._timeouts = Timeouts(loop, clock, identity, self._leave)
        self._processes = ActivityProcesses(
            settings.activity_processes_max, registry.payloads, self._timeouts
        )
        self._functions = Functions(
            registry,
            settings,
            identity,
            threads,
            self._processes,
            self._left,
            self._timeouts,
            lambda: self._stopping,
        )
        self._backlog = Backlog(
            loop, clock, identity, lambda: self.free > 0 and not self._stopping, self._run
        )
        self._reserved = 0
        self._fresh = 0
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._stopping = False
        self._context = contextvars.copy_context()
        self.queues: Collection[str] | None = None

    @property
    def reply_to(self) -> ReplyTo | None:
        """Where shards answer what this process announces and asks."""
        return self._backlog.reply_to

    @reply_to.setter
    def reply_to(self, reply_to: ReplyTo | None) -> None:
        self._backlog.reply_to = reply_to

    # --- slots --------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        taken = self._reserved + len(self._attempts) + len(self._backlog.asked)
        return self._settings.max_activities - taken

    @property
    def running(self) -> int:
        return len(self._attempts)

    def place(self, name: str, options: ActivityOptions, taken: int) -> bool:
        definition = self._registry.activity_named(name)
        if options.eager is False or self._stopping or definition is None:
            return False
        if options.eager is None:
            if self.free <= taken or not self._serves(options.queue):
                return False
        return not self._left.is_full(definition)

    def _serves(self, queue: str) -> bool:
        return self.queues is None or queue == DEFAULTS.queue or queue in self.queues

    def reserve(self, count: int) -> None:
        self._reserved += count

    def release(self, count: int) -> None:
        self._reserved -= count
        if self._backlog.waiting:
            self._loop.call_soon(self._backlog.next)

    def room(self) -> int:
        limit = self._settings.max_activities
        held = len(self._attempts) - self._fresh + len(self._backlog.asked)
        return limit if held * 2 > limit else max(self.free, 0)

    # --- attempts -----------------------------------------------------------------------------

    def start(self, task: ActivityTask, report: Report) -> None:
        self._reserved -= 1
        self._run(task, report)

    def enqueue(self, task: ActivityTask, report: Report, again: bool = False) -> None:
        """Run a queued task as soon as a slot is free; say so when it starts.

        A second copy of a task that is here already is dropped; who sent that hears of the attempt
        from now on. A task that may have been delivered before (``again``), or has waited, starts
        when its shard wants it: it may be over, or be what ended the worker that had it.
        """
        if not self._is_here(task, report):
            self._backlog.add(task, report, again)

    def _is_here(self, task: ActivityTask, report: Report) -> bool:
        """Return whether this attempt is here already; its reports go to ``report`` then."""
        key = (task.run_id, task.id)
        here = self._attempts.get(key) or self._backlog.asked.get(key)
        if here is None or here.task.attempt != task.attempt:
            return False
        here.report = report
        return True

    def heed(self, seen: HeartbeatSeen | StopWanted) -> bool:
        """Take a shard's word on an attempt; return whether it ends what is here of it."""
        key = (seen.run_id, seen.id)
        if isinstance(seen, StopWanted):
            attempt = self._attempts.get(key)
            if attempt is not None and attempt.task.attempt == seen.attempt:
                self._timeouts.stop(attempt)
            return False
        asked = self._backlog.asked.get(key)
        if asked is not None and asked.task.attempt == seen.attempt:
            self._backlog.answered(asked, wanted=not seen.cancelled)
            return seen.cancelled
        attempt = self._attempts.get(key)
        if attempt is None or attempt.task.attempt != seen.attempt or not seen.cancelled:
            return False
        self.cancel(*key)
        return True

    def cancel(self, run_id: str, id: int, waits: bool = False) -> None:
        attempt = self._attempts.get((run_id, id))
        if attempt is not None and waits:
            self._timeouts.stop(attempt)
        elif attempt is not None:
            self._timeouts.end(attempt, "cancelled")

    async def drain(self, timeout_s: float) -> None:
        """Take no new work; wait for what runs, then cancel it, and wait no longer than shortly."""
        self._stopping = True
        self._backlog.clear()
        running = [a.running for a in self._attempts.values() if a.running is not None]
        if running:
            await asyncio.wait(running, timeout=timeout_s)
            await self._end_all()
        await self._left.end()
        self._processes.shutdown()

    async def _end_all(self) -> None:
        late = [a for a in self._attempts.values() if a.running is not None]
        if not late:
            return
        names = Counter(attempt.task.name for attempt in late)
        _log.warning(
            "the worker stops while activities run: %s. Their attempts are lost, and tried again "
            "elsewhere or at the next start",
            listed(names),
        )
        for attempt in late:
            self._timeouts.end(attempt, "lost")
        await asyncio.wait([a.running for a in late if a.running is not None], timeout=CLEAN_UP_S)
        for attempt in late:
            self._leave(attempt)

    def _run(self, task: ActivityTask, report: Report, *, announces: bool = False) -> None:
        """Begin an attempt, in the worker's context: not in that of whoever happens to run now."""
        attempt = Attempt(task, report, self._home, self._heartbeat, announces)
        self._attempts[task.run_id, task.id] = attempt
        self._fresh += 1
        context = self._context.copy()
        attempt.running = self._loop.create_task(self._attempt(attempt), context=context)

    def _heartbeat(self, attempt: Attempt, details: bytes | None) -> None:
        task = attempt.task
        reply_to = None if task.eager else self.reply_to
        attempt.report(report_of(task, "heartbeat", payload=details, reply_to=reply_to))

    async def _attempt(self, attempt: Attempt) -> None:
        """Run an attempt to its one report, or to none if it is eager and its shard gave it up."""
        self._fresh -= 1
        attempt.entered = True
        outcome: ActivityReport | None = None
        try:
            outcome = await self._functions.outcome(attempt)
        finally:
            if attempt.running is not None:  # else it was over before
                self._over(attempt, outcome)

    def _over(self, attempt: Attempt, outcome: ActivityReport | None) -> None:
        """Give back what an attempt holds, and report it."""
        task = attempt.task
        # The task's context holds the attempt: without this, both wait for the collector.
        attempt.running = None
        if attempt.timers:
            self._timeouts.over(attempt)
        if attempt.call is not None and self._left.leave(attempt.call):
            self._loop.call_later(CLEAN_UP_S, self._tell_of_thread, attempt)
        # A later attempt of the same activity may run here by now: a shard that was lost and
        # claimed again counts this one as lost.
        if self._attempts.get((task.run_id, task.id)) is attempt:
            del self._attempts[task.run_id, task.id]
        self._reserved += task.eager and outcome is not None
        if self._backlog.waiting:
            self._backlog.next()
        if outcome is not None:
            if outcome.kind != "completed":
                attempt.send_unsent()
            attempt.report(outcome)

    def _leave(self, attempt: Attempt) -> None:
        """Let an attempt be over whose function goes on in spite of its cancellation."""
        running = attempt.running
        if running is None:
            return
        self._over(attempt, ended(attempt.task, attempt.ended_by, attempt.details))
        if attempt.call is not None:
            running.cancel()
            return
        self._left.add(running, attempt.task.name)
        self._functions.tell_of_left(attempt)

    def _tell_of_thread(self, attempt: Attempt) -> None:
        if attempt.call is not None and attempt.call.running:
            self._functions.tell_of_left(attempt)
