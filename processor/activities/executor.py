"""The activities of one process: eager ones for its shards, queued ones for its queues.

Both share the slots. Whatever an activity does, exactly one report of each attempt comes out.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from processor.activities.attempt import Attempt, Report
from processor.activities.left import CLEAN_UP_S, WARN_EVERY_S, LeftBehind, listed
from processor.activities.reports import given_up, raised, report_of, timed_out, too_large
from processor.activities.threads import Threads
from processor.activity import ActivityDefinition, current
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.data.failure import Failure
from processor.core.data.headers import NO_HEADERS
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.data.payloads import Payloads
from processor.core.inputs import ActivityReport
from processor.core.records.answers import HeartbeatSeen
from processor.core.records.effects import ActivityTask
from processor.registry import Registry
from processor.seldom import Seldom
from processor.shard.ports import Clock

__all__ = ("Executor", "Report")

_log = logging.getLogger("processor.activities")

_ANNOUNCE_S: Final = 0.05
"""An attempt without time-outs that is over by then is not announced: its outcome says it all."""

_LISTED_MAX: Final = 50
_ENDS_LOOPS: Final = (asyncio.CancelledError, SystemExit, KeyboardInterrupt)

_ASK_S: Final = 30.0
"""How long a task waits for its shard's word; a shard that is away cannot take its outcome."""


@dataclass(slots=True)
class _Asked:
    """A task that may have run before; its shard was asked whether it is still wanted."""

    task: ActivityTask
    report: Report
    overdue: asyncio.TimerHandle


class _Raised(Exception):
    """A plain function raised this: ``StopIteration`` cannot pass through a coroutine."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class _Refused(Exception):
    """Too many calls of this function are left in threads: see ``LeftBehind``."""


class Executor:
    """Implements the shard's ``Activities`` port, and runs queued tasks. Lives on one loop.

    ``queues`` are those that this process serves, None for all of them: only their activities and
    those of the default queue run eagerly here, unless they ask for it.
    """

    def __init__(
        self,
        registry: Registry,
        payloads: Payloads,
        settings: Settings,
        identity: str,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._payloads = payloads
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._threads = Threads(settings.activity_threads_max)
        self._left = LeftBehind(self._threads, settings, identity)
        self._reserved = 0
        self._fresh = 0
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._backlog: OrderedDict[tuple[str, int], tuple[ActivityTask, Report, bool]]
        self._backlog = OrderedDict()
        self._asked: dict[tuple[str, int], _Asked] = {}
        self._stopping = False
        self._context = contextvars.copy_context()
        self._seldom = Seldom(WARN_EVERY_S)
        self.reply_to: ReplyTo | None = None
        self.queues: Collection[str] | None = None

    # --- slots --------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        taken = self._reserved + len(self._attempts) + len(self._asked)
        return self._settings.max_activities - taken

    @property
    def running(self) -> int:
        return len(self._attempts)

    def place(self, name: str, options: ActivityOptions, free: int) -> bool:
        definition = self._registry.activity_named(name)
        if options.eager is False or self._stopping or definition is None:
            return False
        if options.eager is None and (free <= 0 or not self._serves(options.queue)):
            return False
        return not self._left.is_full(definition)

    def _serves(self, queue: str) -> bool:
        return self.queues is None or queue == DEFAULTS.queue or queue in self.queues

    def reserve(self, count: int) -> None:
        self._reserved += count

    def release(self, count: int) -> None:
        self._reserved -= count
        if self._backlog:
            self._loop.call_soon(self._next)

    def room(self) -> int:
        limit = self._settings.max_activities
        held = len(self._attempts) - self._fresh + len(self._asked)
        return limit if held * 2 > limit else max(self.free, 0)

    # --- attempts -----------------------------------------------------------------------------

    def start(self, task: ActivityTask, report: Report) -> None:
        self._reserved -= 1
        self._run(task, report)

    def enqueue(self, task: ActivityTask, report: Report, again: bool = False) -> None:
        """Run a queued task as soon as a slot is free; say so when it starts.

        A second copy of a task that is here already is dropped; who sent that hears of the attempt
        from now on. A task that may have been delivered before (``again``) starts when its shard
        wants it: it may be over, or be what ended the worker that had it.
        """
        if not self._is_here(task, report):
            self._backlog[task.run_id, task.id] = (task, report, again)
            self._next()

    def _is_here(self, task: ActivityTask, report: Report) -> bool:
        """Return whether this attempt is here already; its reports go to ``report`` then."""
        key = (task.run_id, task.id)
        here = self._attempts.get(key) or self._asked.get(key)
        if here is None or here.task.attempt != task.attempt:
            return False
        here.report = report
        return True

    def heed(self, seen: HeartbeatSeen) -> bool:
        """Take a shard's word on an attempt; return whether it ends what is here of it."""
        key = (seen.run_id, seen.id)
        asked = self._asked.get(key)
        if asked is not None and asked.task.attempt == seen.attempt:
            self._answered(asked, wanted=not seen.cancelled)
            return seen.cancelled
        attempt = self._attempts.get(key)
        if attempt is None or attempt.task.attempt != seen.attempt or not seen.cancelled:
            return False
        self.cancel(*key)
        return True

    def cancel(self, run_id: str, id: int) -> None:
        attempt = self._attempts.get((run_id, id))
        if attempt is not None:
            self._end(attempt, "cancelled")

    async def drain(self, timeout_s: float) -> None:
        """Take no new work; wait for what runs, then cancel it, and wait no longer than shortly."""
        self._stopping = True
        self._backlog.clear()
        for asked in self._asked.values():
            asked.overdue.cancel()
        self._asked.clear()
        running = [a.running for a in self._attempts.values() if a.running is not None]
        if running:
            await asyncio.wait(running, timeout=timeout_s)
            await self._end_all()
        await self._left.end()
        self._threads.shutdown()

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
            self._end(attempt, "lost")
        await asyncio.wait([a.running for a in late if a.running is not None], timeout=CLEAN_UP_S)
        for attempt in late:
            self._leave(attempt)

    def _next(self) -> None:
        while self._backlog and self.free > 0 and not self._stopping:
            _, (task, report, again) = self._backlog.popitem(last=False)
            if again and self.reply_to is not None:
                self._ask(task, report, self.reply_to)
                continue
            self._run(task, report, announces=True)

    def _ask(self, task: ActivityTask, report: Report, reply_to: ReplyTo) -> None:
        """Announce a start, and wait for what the shard says of it. The task has its slot."""
        if (older := self._asked.get((task.run_id, task.id))) is not None:
            older.overdue.cancel()
        asked = _Asked(task, report, self._loop.call_later(_ASK_S, self._unanswered, task))
        self._asked[task.run_id, task.id] = asked
        report(report_of(task, "started", worker=self._identity, reply_to=reply_to))

    def _unanswered(self, task: ActivityTask) -> None:
        asked = self._asked[task.run_id, task.id]
        _log.info("no shard says whether %r is still wanted; it starts", task.name)
        self._answered(asked, wanted=True)

    def _answered(self, asked: _Asked, *, wanted: bool) -> None:
        asked.overdue.cancel()
        del self._asked[asked.task.run_id, asked.task.id]
        if wanted:
            self._run(asked.task, asked.report)
        else:
            self._next()

    def _run(self, task: ActivityTask, report: Report, *, announces: bool = False) -> None:
        """Begin an attempt, in the worker's context: not in that of whoever happens to run now."""
        attempt = Attempt(
            task,
            report,
            self._payloads,
            self._settings,
            self._heartbeat,
            self._loop,
            announces,
        )
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
            outcome = await self._outcome(attempt)
        finally:
            if attempt.running is not None:  # else it was over before
                self._over(attempt, outcome)

    def _over(self, attempt: Attempt, outcome: ActivityReport | None) -> None:
        """Give back what an attempt holds, and report it."""
        task = attempt.task
        # The task's context holds the attempt: without this, both wait for the collector.
        attempt.running = None
        for timer in (attempt.announcing, attempt.watchdog, attempt.limit, attempt.overdue):
            if timer is not None:
                timer.cancel()
        if attempt.call is not None and self._threads.leave(attempt.call):
            self._loop.call_later(CLEAN_UP_S, self._tell_of_thread, attempt)
        # A later attempt of the same activity may run here by now: a shard that was lost and
        # claimed again counts this one as lost.
        if self._attempts.get((task.run_id, task.id)) is attempt:
            del self._attempts[task.run_id, task.id]
        self._reserved += task.eager and outcome is not None
        self._next()
        if outcome is not None:
            if outcome.kind == "failed":
                attempt.send_unsent()
            attempt.report(outcome)

    async def _outcome(self, attempt: Attempt) -> ActivityReport | None:
        """Return what came of an attempt, whatever its function did; None: see ``given_up``."""
        task, headers = attempt.task, NO_HEADERS
        definition = self._registry.activity_named(task.name)
        if attempt.ended_by:
            return self._ended(attempt)
        if definition is None:
            failure = self._unknown(task)
        elif self._left.is_full(definition):
            failure = self._left.refused(definition, task)
        else:
            try:
                payload = await self._result(definition, attempt)
                size, limit = len(payload or b""), self._settings.payload_bytes_max
                if size <= limit:
                    return report_of(task, "completed", payload=payload)
                failure = too_large(task, size, limit)
            except _Refused:
                failure = self._left.refused(definition, task)
            except _Raised as error:
                failure, headers = raised(task, error.error, self._payloads)
            except BaseException as error:
                # SystemExit, KeyboardInterrupt and what else the function raises are its failure.
                # Its class is asked, not the error itself, whose attributes may raise.
                kind = type(error)
                if issubclass(kind, GeneratorExit) and self._is_closed(attempt):
                    raise
                if issubclass(kind, _ENDS_LOOPS) and not attempt.ended_by:
                    self._tell_of_exit(task)
                if issubclass(kind, asyncio.CancelledError):
                    if attempt.ended_by or self._stopping:
                        return self._ended(attempt)
                failure, headers = raised(task, error, self._payloads)
        return report_of(task, "failed", failure=failure, headers=headers)

    def _ended(self, attempt: Attempt) -> ActivityReport | None:
        """Return the report of an attempt that did not end by itself."""
        task = attempt.task
        if attempt.ended_by == "cancelled":
            return given_up(task)
        failure = timed_out(task, attempt.ended_by or "lost", attempt.details)
        return report_of(task, "failed", failure=failure)

    def _tell_of_exit(self, task: ActivityTask) -> None:
        """Name an activity that may be what ends the process, which nothing else would name."""
        if self._seldom(f"{task.name} exits"):
            _log.warning(
                "activity %r was cancelled or exits, and not by its workflow or worker. If the "
                "process ends now: sys.exit() and KeyboardInterrupt in a task or callback that an "
                "activity made do that; await such code in the activity (workflow id %r)",
                task.name,
                task.workflow_id,
            )

    # --- ends before the function's own -------------------------------------------------------

    def _end(self, attempt: Attempt, why: str) -> None:
        """End an attempt; its function is told, and has a short time to clean up.

        A thread cannot be told: the function in it may ask. One whose workflow gave it up has the
        same time for that; after a time-out nobody waits for it.
        """
        running = attempt.running
        if attempt.ended_by or running is None:
            return
        attempt.ended_by = why
        if attempt.entered:
            attempt.overdue = self._loop.call_later(CLEAN_UP_S, self._leave, attempt)
            if attempt.call is None or why != "cancelled":
                running.cancel(f"the attempt is over: {why}")

    def _leave(self, attempt: Attempt) -> None:
        """Let an attempt be over whose function goes on in spite of its cancellation."""
        running = attempt.running
        if running is None:
            return
        self._over(attempt, self._ended(attempt))
        if attempt.call is not None:
            running.cancel()
            return
        self._left.add(running, attempt.task.name)
        definition = self._registry.activity_named(attempt.task.name)
        if definition is not None:
            self._left.tell(definition, attempt.task, attempt.ended_by)

    def _tell_of_thread(self, attempt: Attempt) -> None:
        definition = self._registry.activity_named(attempt.task.name)
        if attempt.call is not None and attempt.call.running and definition is not None:
            self._left.tell(definition, attempt.task, attempt.ended_by)

    def _is_closed(self, attempt: Attempt) -> bool:
        """Return whether the attempt's coroutine is thrown away with its loop."""
        return asyncio.current_task(self._loop) is not attempt.running

    async def _result(self, definition: ActivityDefinition, attempt: Attempt) -> bytes | None:
        """Run the activity within its time-outs, if it has any, and encode what it returns."""
        if definition.is_async and attempt.is_timed:
            attempt.begins(self._clock.now_ms())
            self._function_began(attempt)
        elif attempt.task.deadline_ms is not None:
            self._set_limit(attempt)
        arguments = self._registry.arguments_of(definition, attempt.task.arguments)
        return self._payloads.encode(await self._call(definition, arguments, attempt))

    async def _call(
        self, definition: ActivityDefinition, arguments: tuple[Any, ...], attempt: Attempt
    ) -> Any:
        current.set(attempt)
        if definition.is_async:
            return await definition.function(*arguments)
        context = contextvars.copy_context()
        result = await self._loop.run_in_executor(
            self._threads, context.run, self._in_thread, attempt, definition, arguments
        )
        if isinstance(result, _Raised | _Refused):
            raise result
        return result

    def _in_thread(
        self, attempt: Attempt, definition: ActivityDefinition, arguments: tuple[Any, ...]
    ) -> Any:
        """Call a plain function, unless its attempt is over; return what it returns or raises."""
        if attempt.ended_by or attempt.running is None:
            return None
        if self._left.is_full(definition):
            return _Refused()
        attempt.begins(self._clock.now_ms())
        attempt.call = call = self._threads.begun(definition.name)
        try:
            if attempt.is_timed:
                self._loop.call_soon_threadsafe(self._function_began, attempt)
            return definition.function(*arguments)
        except BaseException as error:  # handed on as it is: no future and no coroutine bends it
            return _Raised(error)
        finally:
            self._threads.ended(call)

    # --- time-outs ----------------------------------------------------------------------------

    def _function_began(self, attempt: Attempt) -> None:
        """Let what begins with an activity's function begin, and not before: it waits for a thread.

        Its start-to-close and heartbeat time-outs do, here and in its shard, which is told.
        """
        if attempt.running is None:
            return
        task = attempt.task
        self._set_limit(attempt)
        if task.heartbeat_ms is not None:
            self._watch(attempt)
        if attempt.announces:
            started = report_of(task, "started", worker=self._identity)
            if task.start_to_close_ms is task.heartbeat_ms is None:
                attempt.announcing = self._loop.call_later(
                    _ANNOUNCE_S, lambda: attempt.report(started)
                )
            else:
                attempt.report(started)

    def _set_limit(self, attempt: Attempt) -> None:
        """Let the time-out that passes first end the attempt."""
        task = attempt.task
        limits: list[tuple[float, str]] = []
        if task.start_to_close_ms is not None and attempt.function_began:
            limits.append((task.start_to_close_ms / 1000, "start_to_close"))
        if task.deadline_ms is not None:
            left_s = max((task.deadline_ms - self._clock.now_ms()) / 1000, 0.0)
            limits.append((left_s, "schedule_to_close"))
        if attempt.limit is not None:
            attempt.limit.cancel()
        if limits:
            left_s, kind = min(limits)
            attempt.limit = self._loop.call_later(left_s, self._end, attempt, kind)

    def _watch(self, attempt: Attempt) -> None:
        """End an attempt that promised heartbeats and is silent for too long."""
        heartbeat_ms = attempt.task.heartbeat_ms
        if heartbeat_ms is None or attempt.running is None:
            return
        left_s = heartbeat_ms / 1000 - attempt.silent_s()
        if left_s > 0:
            attempt.watchdog = self._loop.call_later(left_s, self._watch, attempt)
        else:
            self._end(attempt, "heartbeat")

    def _unknown(self, task: ActivityTask) -> Failure:
        """Return the failure of an activity that is not registered here, and say so in the log."""
        known = sorted(self._registry.activities)
        listed = ", ".join(known[:_LISTED_MAX]) + (", ..." if len(known) > _LISTED_MAX else "")
        message = (
            f"worker {self._identity} serves queue {task.queue!r} but does not know activity "
            f"{task.name!r}: register it there, or send it to another queue. Registered "
            f"are: {listed or 'none'}"
        )
        if self._seldom(task.name):
            _log.warning("%s (workflow id %r)", message, task.workflow_id)
        return Failure(
            "application",
            "ActivityNotRegistered",
            message,
            activity=task.name,
            attempts=task.attempt,
        )
