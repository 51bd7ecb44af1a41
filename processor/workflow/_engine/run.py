"""The runtime of one run: what verbs ask for becomes decisions, what facts settle wakes code."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, TypeAlias

from processor.core.data.address import Address
from processor.core.data.options import DEFAULTS, ActivityOptions
from processor.core.data.payloads import Payloads
from processor.core.data.shown import shown
from processor.core.event import Event
from processor.core.nouns.activity import ActivityCompleted, ActivityFailed, ActivityScheduled
from processor.core.nouns.call import MessageSent
from processor.core.nouns.external import EventReceived
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.timer import TimerStarted
from processor.core.nouns.value import SideEffectRecorded, StatusSet
from processor.errors import InvalidArgument, SchemaMismatch
from processor.failures import exception_of
from processor.readable import readable
from processor.workflow._context import Runtime, WorkflowInfo
from processor.workflow._engine.inbox import Inbox, expire_after
from processor.workflow._engine.loop import TimerHandle, WorkflowLoop
from processor.workflow._engine.requests import Requests
from processor.workflow._frames import boundary
from processor.workflow._guard.library import Library

__all__ = ("Run",)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK_BEGINS_MS = 60_000
"""What the loop's clock shows when a run begins: not 0, which libraries take for "never"."""
_Future = asyncio.Future
_log = logging.getLogger("processor.workflow")
_NOT_RECORDED: Final = (
    "A side effect must not raise, and its value must fit into its record: replay could not repeat "
    "that. Catch this in its function and return what can be encoded, or use an activity."
)


_Decode: TypeAlias = Callable[[bytes | None], Any]
_OpenActivity: TypeAlias = tuple[str, asyncio.Future[Any], _Decode, int, int]
"""Name, future, decoder of the result; turn in which it was scheduled, index of its decision."""


class Run(Runtime):
    """One run's open activities, events, conditions and clock.

    ``broken`` is an error that user code cannot undo by catching it.
    """

    def __init__(
        self,
        workflow_id: str,
        run_id: str,
        started: WorkflowStarted,
        payloads: Payloads,
        requests: Requests,
    ) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.started = started
        self.replaying = False
        self.broken: BaseException | None = None
        self.conditions: dict[asyncio.Future[Any], tuple[Callable[[], object], Any]] = {}
        self._payloads = payloads
        self._requests = requests
        self._activities: dict[int, _OpenActivity] = {}
        self._recorded: Sequence[Event] | None = None
        self._started_ms: int | None = None
        self._random: Random | None = None
        self.library = Library(started.seed)
        self._loop: WorkflowLoop
        self._inbox: Inbox

    def attach(self, loop: WorkflowLoop) -> None:
        self._loop = loop
        self._inbox = Inbox(loop, self._requests, self.decoded)

    def begin(self, now_ms: int, number: int, recorded: Sequence[Event] | None) -> None:
        """Begin a turn. Time never goes back, whatever the host's clock does."""
        loop = self._loop
        if now_ms > loop.now_ms:
            loop.now_ms = now_ms
        library = self.library
        library.now_ms, library.number = loop.now_ms, number
        if self._started_ms is None:
            self._started_ms = now_ms
            loop.zero_ms = library.zero_ms = now_ms - _CLOCK_BEGINS_MS
        self.replaying = recorded is not None
        self._recorded = recorded

    def clear(self) -> None:
        """Forget everything, so that no cycle keeps the run's memory."""
        self.conditions.clear()
        self._activities.clear()
        self._inbox = Inbox(self._loop, self._requests, _decodes_nothing)
        self._recorded = None
        self._loop.runtime = None

    @property
    def turn(self) -> int:
        """The number of this activation."""
        return self._requests.turn

    @property
    def unread(self) -> tuple[int, int]:
        """How many events nobody has taken, and their bytes."""
        return self._inbox.unread, self._inbox.unread_bytes

    @property
    def is_retried(self) -> bool:
        """Whether another run may follow when this one fails."""
        return self.started.plan is not None and self.started.plan.retry is not None

    def left(self) -> list[EventReceived]:
        """Return the events that nobody has taken."""
        return self._inbox.left()

    # --- facts --------------------------------------------------------------------------------

    def activity_completed(self, fact: ActivityCompleted) -> None:
        entry = self._activities.pop(fact.id, None)
        if entry is None:
            return
        name, future, decode, _, _ = entry
        try:
            result = decode(fact.result)
        except SchemaMismatch as error:
            future.set_exception(SchemaMismatch(f"the result of activity {name!r}: {error}"))
        else:
            future.set_result(result)

    def activity_failed(self, fact: ActivityFailed) -> None:
        entry = self._activities.pop(fact.id, None)
        if entry is None:
            return
        name, future, _, _, _ = entry
        failure = replace(
            fact.failure,
            activity=fact.failure.activity or name,
            attempts=fact.failure.attempts or fact.attempt,
        )
        future.set_exception(exception_of(failure, self._payloads))

    def event_received(self, fact: EventReceived) -> None:
        self._inbox.receive(fact)

    @boundary
    def check_conditions(self) -> bool:
        """Wake those who wait for a predicate that has become true; return whether any was."""
        woken = False
        for future, (predicate, context) in list(self.conditions.items()):
            if future.done():
                continue
            try:
                holds = context.run(self._evaluate, predicate)
            except StopIteration as error:  # a future takes none; Python says the same of code
                future.set_exception(_caused(RuntimeError("coroutine raised StopIteration"), error))
                woken = True
            except Exception as error:
                future.set_exception(error)
                woken = True
            else:
                if holds:
                    future.set_result(None)
                    woken = True
        return woken

    def _evaluate(self, predicate: Callable[[], object]) -> bool:
        requests, loop = self._requests, self._loop
        guarded, loop.guarded = loop.guarded, True
        requests.refusal = "the predicate of workflow.wait_until()"
        try:
            holds = predicate()
            if holds is not True and inspect.iscoroutine(holds):
                holds.close()
                raise InvalidArgument(
                    "workflow.wait_until: predicate: it returned a coroutine, which always counts "
                    "as true; give a plain function"
                )
            return bool(holds)
        finally:
            requests.refusal = ""
            loop.guarded = guarded

    # --- timers of the loop -------------------------------------------------------------------

    def timer_started(self, handle: TimerHandle) -> None:
        requests = self._requests
        started = TimerStarted(requests.next_id, handle.due_ms)
        handle.index = requests.add_identified(started, handle.line, 0, "a timer")
        handle.id = started.id
        handle.turn = requests.turn

    def timer_cancelled(self, handle: TimerHandle) -> None:
        self._requests.cancel_timer(handle, handle.line)

    def error_lost(self, context: dict[str, Any]) -> None:
        """Warn of an exception that no code will ever receive, as asyncio does.

        It is no bug that parks the run: it shows when Python frees the task, which may be long
        after the turn that raised it.
        """
        if not self.replaying:
            error = context.get("exception")
            _log.warning(
                "workflow %s, run %s: %s%s",
                readable(self.workflow_id),
                self.run_id,
                context.get("message", "an error was lost"),
                "" if error is None else f"\n{readable(shown(error).traceback, lines=True)}",
            )

    # --- verbs --------------------------------------------------------------------------------

    async def call_activity(
        self,
        name: str,
        arguments: tuple[Any, ...],
        options: ActivityOptions,
        result: Any,
        line: str,
    ) -> Any:
        requests = self._requests
        payload = requests.encode(arguments, "the arguments of activity", name)
        wire = None if options is DEFAULTS else options
        decode = self._payloads.decoder(result)
        id = requests.next_id
        scheduled = ActivityScheduled(id, name, payload, False, wire)
        index = requests.add_identified(scheduled, line, len(payload or b""), "activity", name)
        future: asyncio.Future[Any] = _Future(loop=self._loop)
        self._activities[id] = (name, future, decode, requests.turn, index)
        try:
            return await future
        except asyncio.CancelledError:
            entry = self._activities.pop(id, None)
            if entry is not None:
                requests.cancel_activity(id, entry[3], index, line)
            raise

    def wait_for_event(
        self, name: str, type: Any, timeout_ms: int | None, line: str
    ) -> Coroutine[Any, Any, Any]:
        return self._inbox.wait(name, self._decoder(type), timeout_ms, line)

    async def wait_until(
        self, predicate: Callable[[], object], timeout_ms: int | None, line: str
    ) -> None:
        if self._evaluate(predicate):
            return
        loop = self._loop
        future: asyncio.Future[Any] = _Future(loop=loop)
        self.conditions[future] = (predicate, contextvars.copy_context())
        timer = None
        try:
            if timeout_ms is not None:
                timer = expire_after(loop, future, timeout_ms, "the condition did not hold", line)
            await future
        finally:
            self.conditions.pop(future, None)
            if timer is not None:
                timer.cancel()

    async def sleep(self, delay_ms: int | None, line: str) -> None:
        loop = self._loop
        if delay_ms == 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[Any] = _Future(loop=loop)
        if delay_ms is None:
            await future
            return
        timer = loop.start_timer(loop.now_ms + delay_ms, _wake, (future,), line)
        try:
            await future
        finally:
            timer.cancel()

    def publish(self, topic: str, key: str | bytes | None, value: Any, line: str) -> None:
        what = f"a record for topic {topic!r}"
        raw_key = key.encode() if isinstance(key, str) else key
        payload = value if isinstance(value, bytes) else None
        payload = self._requests.encode(value, what) if payload is None else payload
        size = len(payload or b"") + len(raw_key or b"")
        self._requests.check_size(size, what)
        self._requests.add(RecordPublished(topic, raw_key, payload), line, size, what)

    def signal(self, workflow_id: str, name: str, payload: Any, line: str) -> None:
        what = f"a message to {workflow_id!r}"
        encoded = self._requests.encode(payload, what)
        sent = MessageSent(Address(None, workflow_id), "event", name, "", encoded)
        self._requests.add(sent, line, len(encoded or b""), what)

    def cancel(self, workflow_id: str, reason: str, line: str) -> None:
        sent = MessageSent(Address(None, workflow_id), "cancel", "", reason, None)
        self._requests.add(sent, line, len(reason), f"a message to {workflow_id!r}")

    def set_status(self, value: Any, line: str) -> None:
        encoded = self._requests.encode(value, "the status")
        self._requests.add(StatusSet(encoded), line, len(encoded or b""), "the status")

    def side_effect(self, function: Callable[[], Any], type: Any, line: str) -> Any:
        requests = self._requests
        if self.replaying:
            value = self._recorded_value(requests.next_id)
        try:
            if not self.replaying:
                value = requests.encode(self._value_of(function), "a side effect's value")
            recorded = SideEffectRecorded(requests.next_id, value)
            requests.add_identified(recorded, line, len(value or b""), "a side effect")
        except BaseException as error:
            # Nothing is recorded, so replay would call it again, and could go another way.
            if self.broken is None:
                self.broken = error
                with suppress(Exception):  # an error of a user's class may take no note
                    error.add_note(_NOT_RECORDED)
            raise
        return self.decoded(self._decoder(type), value)

    def now(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self._loop.now_ms)

    def random(self) -> Random:
        if self._random is None:
            self._random = Random(b"workflow" + self.started.seed)
        return self._random

    def info(self) -> WorkflowInfo:
        assert self._started_ms is not None, "code runs, so a turn has begun"
        started = _EPOCH + timedelta(milliseconds=self._started_ms)
        headers = dict(self.started.headers)
        workflow = self.started.workflow
        return WorkflowInfo(self.workflow_id, self.run_id, workflow, started, headers)

    def decoded(self, decode: _Decode, payload: bytes | None) -> Any:
        """Decode a payload; what its class makes up meanwhile is the same at each replay."""
        loop = self._loop
        loop.library = self.library
        try:
            return decode(payload)
        finally:
            loop.library = None

    def _recorded_value(self, id: int) -> bytes | None:
        for event in self._recorded or ():
            if isinstance(event, SideEffectRecorded) and event.id == id:
                return event.value
        raise self._loop.refused(
            "workflow.side_effect()",
            f"The history has no side effect at position {id}. Deploy code that repeats it.",
            3,
        )

    def _value_of(self, function: Callable[[], Any]) -> Any:
        """Call the function of a side effect, for which nothing is forbidden but to ask."""
        requests, loop = self._requests, self._loop
        guarded, loop.guarded = loop.guarded, False
        requests.refusal = "the function of workflow.side_effect()"
        try:
            value = function()
            if inspect.iscoroutine(value):
                value.close()
                raise InvalidArgument(
                    "workflow.side_effect: function: it returned a coroutine; give a plain function"
                )
            return value
        finally:
            requests.refusal = ""
            loop.guarded = guarded

    def _decoder(self, type: Any) -> _Decode:
        loop = self._loop
        guarded, loop.guarded = loop.guarded, False
        try:
            return self._payloads.decoder(type)
        finally:
            loop.guarded = guarded


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _decodes_nothing(decode: _Decode, payload: bytes | None) -> Any:
    """Stand in for the run in the inbox of one that is dropped."""
    raise AssertionError("the run is dropped")


def _wake(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
