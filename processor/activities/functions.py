"""Runs the function of one attempt, and makes the one report of whatever comes of that."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from processor.activities.attempt import Attempt
from processor.activities.left import WARN_EVERY_S, LeftBehind
from processor.activities.processes import ActivityProcesses
from processor.activities.reports import ended, not_begun, raised, report_of, too_large
from processor.activities.threads import ActivityThreads
from processor.activities.timeouts import Timeouts
from processor.activities.traveling import Raised
from processor.activity import ActivityDefinition, CompleteAsync, current
from processor.config import Settings
from processor.core.data.failure import Failure
from processor.core.data.headers import NO_HEADERS
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask
from processor.http.calling import MISSING
from processor.injection.interceptors import ActivityRun
from processor.registry import Registry
from processor.seldom import Seldom
from processor.workflow._nouns.http import HTTP
from processor.workflow._outbound import chained

__all__ = ("Functions",)

_log = logging.getLogger("processor.activities")

_NOTHING: Final = object()
_LISTED_MAX: Final = 50
_ENDS_LOOPS: Final = (asyncio.CancelledError, SystemExit, KeyboardInterrupt)


class _Refused(Exception):
    """Too many calls of this function are left in threads: see ``LeftBehind``."""


class Functions:
    """The functions of the registered activities. ``is_stopping``: the worker takes no new work."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        identity: str,
        threads: ActivityThreads,
        processes: ActivityProcesses,
        left: LeftBehind,
        timeouts: Timeouts,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._registry = registry
        self._payloads = registry.payloads
        self._around = registry.around_attempts
        self._settings = settings
        self._identity = identity
        self._threads = threads
        self._processes = processes
        self._left = left
        self._timeouts = timeouts
        self._is_stopping = is_stopping
        self._seldom = Seldom(WARN_EVERY_S)

    async def outcome(self, attempt: Attempt) -> ActivityReport | None:
        """Return what came of an attempt, whatever its function did; None: see ``ended``."""
        task, headers = attempt.task, NO_HEADERS
        definition = self._registry.activity_named(task.name)
        if attempt.ended_by:
            return ended(task, attempt.ended_by, attempt.details)
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
            except CompleteAsync:
                return _left_open(attempt)
            except Raised as error:
                kind = type(error.error)
                if issubclass(kind, CompleteAsync):
                    return _left_open(attempt)
                if issubclass(kind, asyncio.CancelledError) and attempt.is_cancelled():
                    return ended(task, attempt.why, attempt.details)
                failure, headers = raised(task, error.error, self._payloads)
            except BaseException as error:
                # SystemExit, KeyboardInterrupt and what else the function raises are its failure.
                # Its class is asked, not the error itself, whose attributes may raise.
                kind = type(error)
                if issubclass(kind, GeneratorExit) and _is_closed(attempt):
                    raise
                if issubclass(kind, _ENDS_LOOPS) and not attempt.why:
                    self._tell_of_exit(task)
                if issubclass(kind, asyncio.CancelledError):
                    if attempt.why or self._is_stopping():
                        return ended(task, attempt.why, attempt.details)
                failure, headers = raised(task, error, self._payloads)
        return report_of(task, "failed", failure=failure, headers=headers)

    async def _result(self, definition: ActivityDefinition, attempt: Attempt) -> bytes | None:
        """Run the activity within its time-outs, if it has any, and encode what it returns."""
        if definition.is_async and attempt.is_timed:
            self._timeouts.begin(attempt)
            self._timeouts.function_began(attempt)
        elif attempt.task.deadline_ms is not None:
            self._timeouts.set_limit(attempt)
        arguments = self._registry.arguments_of(definition, attempt.task.arguments)
        if self._around:
            return self._payloads.encode(await self._intercepted(definition, arguments, attempt))
        return self._payloads.encode(await self._call(definition, arguments, attempt))

    async def _intercepted(
        self, definition: ActivityDefinition, arguments: tuple[Any, ...], attempt: Attempt
    ) -> Any:
        """Call the function with what interceptors do around it: they see what it raises."""

        async def called(run: ActivityRun) -> Any:
            try:
                return await self._call(definition, tuple(run.arguments), attempt)
            except Raised as raised:
                error = raised.error
                if isinstance(error, StopIteration):
                    raise
            raise error  # here, so that the error keeps its own context

        current.set(attempt)
        return await chained(self._around, called)(ActivityRun(attempt.info, arguments))

    async def _call(
        self, definition: ActivityDefinition, arguments: tuple[Any, ...], attempt: Attempt
    ) -> Any:
        current.set(attempt)
        if definition.is_async:
            return await definition.function(*arguments)
        if definition.pool == "processes":
            return await self._processes.call(attempt, definition, arguments)
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        result = await loop.run_in_executor(
            self._threads, context.run, self._in_thread, loop, attempt, definition, arguments
        )
        if isinstance(result, Raised | _Refused):
            raise result
        return result

    def _in_thread(
        self,
        loop: asyncio.AbstractEventLoop,
        attempt: Attempt,
        definition: ActivityDefinition,
        arguments: tuple[Any, ...],
    ) -> Any:
        """Call a plain function, unless its attempt is over; return what it returns or raises."""
        if attempt.ended_by or attempt.running is None:
            return None
        if self._left.is_full(definition):
            return _Refused()
        self._timeouts.begin(attempt)
        call = self._threads.begun(definition.name)
        result: Any = _NOTHING
        try:
            try:
                attempt.call = call  # here, since it may be interrupted from now on
                if attempt.stops:  # as late as that: whoever asks it to stop looks at the call
                    raise asyncio.CancelledError
                if attempt.is_timed:
                    loop.call_soon_threadsafe(self._timeouts.function_began, attempt)
                result = definition.function(*arguments)
            except (
                BaseException
            ) as error:  # handed on as it is: no future and no coroutine bends it
                result = Raised(error)
            self._threads.ended(call)
        except asyncio.CancelledError as error:  # it was interrupted when it had just ended
            result = Raised(error) if result is _NOTHING else result
            self._threads.ended(call)
        return result

    # --- the log ------------------------------------------------------------------------------

    def tell_of_left(self, attempt: Attempt) -> None:
        """Say in the log that a function goes on after its attempt is over."""
        definition = self._registry.activity_named(attempt.task.name)
        if definition is not None:
            self._left.tell(definition, attempt.task, attempt.ended_by)

    def _unknown(self, task: ActivityTask) -> Failure:
        """Return the failure of an activity that is not registered here, and say so in the log."""
        known = sorted(self._registry.activities)
        listed = ", ".join(known[:_LISTED_MAX]) + (", ..." if len(known) > _LISTED_MAX else "")
        message = (
            f"worker {self._identity} serves queue {task.queue!r} but does not know activity "
            f"{task.name!r}: register it there, or send it to another queue. Registered "
            f"are: {listed or 'none'}"
        )
        is_http = task.name == HTTP
        if is_http:
            message = f"worker {self._identity}: {MISSING}"
        if self._seldom(task.name):
            _log.warning("%s (workflow id %r)", message, task.workflow_id)
        # To wait helps where a worker is yet to come that has the activity; none gets httpx so.
        return replace(not_begun(task, "ActivityNotRegistered", message), retryable=not is_http)

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


def _left_open(attempt: Attempt) -> ActivityReport | None:
    """Return the report of a function that has returned and leaves its attempt open."""
    if attempt.ended_by:
        return ended(attempt.task, attempt.ended_by, attempt.details)
    return report_of(attempt.task, "started")


def _is_closed(attempt: Attempt) -> bool:
    """Return whether the attempt's coroutine is thrown away with its loop."""
    running = attempt.running
    return running is None or asyncio.current_task(running.get_loop()) is not running
