"""The deterministic event loop: an asyncio loop whose only clock and only events are the history's.

It runs callbacks in the order in which they were asked for, and time stands still while it does.
A timer is not waited for here: a ``Timekeeper`` makes it durable, and it comes back through
``fire``. Tasks and futures hash to their number within the run, so that a set of them
iterates in the same order at replay. Whatever would reach the outside raises
``NonDeterminismError``.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, Protocol

from processor.checks import DURATION_S_MAX, lasting_ms
from processor.core.data.shown import text_of
from processor.errors import NonDeterminismError
from processor.workflow._asyncio import CallbackHandle, TimerHandle, drop_silently, run_ready
from processor.workflow._frames import boundary, line_here, user_frame, where_of
from processor.workflow._guard.library import Library

__all__ = ("Future", "Task", "Timekeeper", "WorkflowLoop")

_new_context = contextvars.copy_context
_NUMBERS = (float, int)


class Timekeeper(Protocol):
    """What makes timers durable. ``started`` sets the handle's id, index and turn."""

    def timer_started(self, handle: TimerHandle) -> None: ...

    def timer_cancelled(self, handle: TimerHandle) -> None: ...

    def error_lost(self, context: dict[str, Any]) -> None:
        """Hear of an exception that nobody will ever receive."""


class Future(asyncio.Future[Any]):
    """A future with a hash that replay repeats."""

    __slots__ = ("_number",)
    _number: int

    def __hash__(self) -> int:
        return self._number


class Task(asyncio.Task[Any]):
    """A task with a hash and a default name that replay repeats."""

    __slots__ = ("_number",)

    def __init__(self, coroutine: Any, *, loop: WorkflowLoop, name: str | None, **options: Any):
        # Before asyncio's constructor: that one puts the task into a set of all tasks.
        self._number, default = loop.next_number()
        super().__init__(
            coroutine, loop=loop, name=f"Task-{default}" if name is None else name, **options
        )

    def __hash__(self) -> int:
        return self._number


class WorkflowLoop(asyncio.AbstractEventLoop):
    """One run's loop.

    ``guarded`` is True exactly while user code runs; the guard asks for it, and ``guard`` says what
    it does then, but for ``passthrough``. ``library`` is there while a value is decoded: it answers
    clocks and draws, and nothing is forbidden. ``runtime`` is what the verbs of
    ``processor.workflow`` talk to. ``tasks`` holds every unfinished task, since asyncio keeps weak
    references only. After ``dropped`` is set nothing can be asked for any more: whatever would
    wait ends the coroutine that is being unwound. ``refusals`` says how often that is still
    raised: after that, whatever waits just waits. ``violation`` is the first call that
    replay cannot repeat, and where. ``plain`` is True while the function of a plain workflow runs.
    """

    plain = False

    def __init__(self, timers: Timekeeper, seed: int) -> None:
        self.runtime: Any = timers
        self.now_ms = self.zero_ms = 0
        self.guarded = False
        self.guard: Literal["answer", "refuse", "off"] = "answer"
        self.passthrough: tuple[str, ...] = ()
        self.library: Library | None = None
        self.dropped = False
        self.refusals = 0
        self.violation: tuple[NonDeterminismError, str] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.timers: dict[int, TimerHandle] = {}
        self.ready: deque[CallbackHandle | TimerHandle] = deque()
        self._seed = seed
        self._number = 0

    # --- driving it ---------------------------------------------------------------------------

    @boundary
    def run(self, done: Callable[[], bool]) -> None:
        """Run what is due until nothing is, or until ``done`` says that the rest does not count."""
        self.guarded = True
        try:
            run_ready(self.ready, done, self._failed)
        finally:
            self.guarded = False

    def _failed(self, callback: Callable[..., object], error: Exception) -> None:
        what = f"Exception in {text_of(callback, repr)}"
        self.call_exception_handler({"message": what, "exception": error})

    def fire(self, id: int) -> None:
        """Make a timer's callback due; a timer that is not known was cancelled."""
        handle = self.timers.pop(id, None)
        if handle is not None:
            self.ready.append(handle)

    def refused(self, what: str, instead: str, depth: int = 1) -> NonDeterminismError:
        """Return the error for a call that replay cannot repeat, and remember it.

        It is remembered because user code may catch it: the activation fails all the same.
        """
        guarded, self.guarded = self.guarded, False
        where = where_of(user_frame(depth + 1))
        self.guarded = guarded
        error = NonDeterminismError(
            f"workflow code called {what}"
            + (f" at {where}" if where else "")
            + f". Replay cannot repeat it. {instead}"
        )
        if self.violation is None:
            self.violation = (error, where)
        return error

    def unwind(self) -> None:
        """End the coroutine that is being unwound, unless it has caught that too often."""
        if self.refusals > 0:
            self.refusals -= 1
            raise GeneratorExit

    def next_number(self) -> tuple[int, int]:
        """Return the next number as a hash (it differs between runs) and as it is."""
        self._number = number = self._number + 1
        return self._seed + number, number

    # --- what asyncio and user code call --------------------------------------------------------

    def call_soon(  # type: ignore[override]  # looser than typeshed's, on purpose
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> CallbackHandle:
        handle = CallbackHandle(
            callback, args, _new_context() if context is None else context, self
        )
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        if type(delay) in _NUMBERS and -DURATION_S_MAX <= delay <= DURATION_S_MAX:
            delay_ms: int | None = math.ceil(delay * 1000)
        else:
            delay_ms = lasting_ms(delay, "asyncio: a delay")
        due_ms = None if delay_ms is None else self.now_ms + delay_ms
        return self.start_timer(due_ms, callback, args, line_here(), context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        # Sums of seconds carry an error of far less than a hundredth of a millisecond.
        due_ms: int | None
        if type(when) in _NUMBERS and -DURATION_S_MAX <= when <= DURATION_S_MAX:
            due_ms = math.ceil(when * 1000 - 0.01) + self.zero_ms
        elif (due_ms := lasting_ms(when, "asyncio: a time")) is not None:
            due_ms += self.zero_ms
        return self.start_timer(due_ms, callback, args, line_here(), context)

    def start_timer(
        self,
        due_ms: int | None,
        callback: Callable[..., object],
        args: Sequence[Any],
        line: str,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        """Start a durable timer; one that is over already only waits for its turn in the queue.

        One that is due at None never is: nothing is recorded of it.
        """
        context = _new_context() if context is None else context
        if due_ms is None:
            return TimerHandle(math.inf, 0, callback, args, context, self, line)
        when_s = (due_ms - self.zero_ms) / 1000
        handle = TimerHandle(when_s, due_ms, callback, args, context, self, line)
        if due_ms <= self.now_ms:
            self.ready.append(handle)
            return handle
        self.runtime.timer_started(handle)
        self.timers[handle.id] = handle
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        assert isinstance(handle, TimerHandle)
        if self.timers.pop(handle.id, None) is not None:
            self.runtime.timer_cancelled(handle)

    def time(self) -> float:
        """Return what ``time.monotonic()`` tells: asyncio's loops have the two alike."""
        return (self.now_ms - self.zero_ms) / 1000

    def create_future(self) -> Future:
        if self.dropped:
            self.unwind()
        future = Future(loop=self)
        future._number = self.next_number()[0]
        return future

    def create_task(
        self, coro: Coroutine[Any, Any, Any] | Any, *, name: str | None = None, **options: Any
    ) -> Task:
        if self.dropped:
            self.unwind()
        try:
            task = Task(coro, loop=self, name=name, **options)
        except TypeError:  # a future of ours, which leaves with this turn, is awaited by a task
            awaited = getattr(coro, "awaited", None)
            if awaited is None:
                raise
            task = Task(awaited(), loop=self, name=name, **options)
        drop_silently(task)  # with a run that is dropped
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dropped:
            self.runtime.error_lost(context)

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: generators are closed when user code lets go of them."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there is no executor."""


_INSTEAD = {
    "call_soon_threadsafe": "Workflow code has no threads: use call_soon, or send an event.",
    "run_in_executor": "Workflow code has no threads: make it a plain (not async) activity.",
    "set_task_factory": "Tasks are made by the library, so that replay makes the same ones.",
    "set_exception_handler": "Catch exceptions in the task that raises them.",
    "set_debug": "Debug mode has no meaning here.",
    "add_signal_handler": "Cancel the workflow through a client instead of by a signal.",
}


def _forbid(name: str) -> None:
    """Make a method of asyncio's loop raise at the call, also where asyncio has it as async."""

    def forbidden(self: WorkflowLoop, *args: Any, **kwargs: Any) -> Any:
        raise self.refused(
            f"loop.{name}()", _INSTEAD.get(name, "Do it in an activity and await that.")
        )

    forbidden.__name__ = name
    setattr(WorkflowLoop, name, forbidden)


for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in vars(WorkflowLoop):
        _forbid(_name)
