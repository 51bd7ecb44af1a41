"""All of asyncio's private names that this package uses: where to look when Python changes."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import _get_running_loop as running_loop
from asyncio import _set_running_loop as set_running_loop
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

__all__ = (
    "GATHERING",
    "CallbackHandle",
    "Shielded",
    "TimerHandle",
    "drop_silently",
    "forget_task",
    "let_go",
    "put_aside",
    "put_back",
    "run_handle",
    "run_ready",
    "running_loop",
    "set_running_loop",
)

GATHERING: Final[Any] = getattr(asyncio.tasks, "_GatheringFuture", None)
"""The class of the future that ``gather`` returns."""


class Shielded:
    """Makes a future one that asyncio awaits in a task of its own, as it does with coroutines.

    Whoever gives up waiting for it (``wait_for``, ``gather``) then cancels that task, and not the
    future.
    """

    __slots__ = ()
    _asyncio_future_blocking: Any = None


class CallbackHandle(asyncio.Handle):
    """A callback that is due.

    asyncio's own constructor is not called: it costs more than the callback.
    """

    __slots__ = ()
    _args: Sequence[Any]
    _repr = None
    _source_traceback = None

    def __init__(
        self,
        callback: Callable[..., object],
        args: Sequence[Any],
        context: contextvars.Context,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._loop = loop
        self._cancelled = False


class TimerHandle(asyncio.TimerHandle):
    """A durable timer. ``id``, ``index`` and ``turn`` belong to the loop's ``Timekeeper``."""

    __slots__ = ("due_ms", "id", "index", "line", "turn")
    _repr = None
    _source_traceback = None

    def __init__(
        self,
        when_s: float,
        due_ms: int,
        callback: Callable[..., object],
        args: Sequence[Any],
        context: contextvars.Context,
        loop: asyncio.AbstractEventLoop,
        line: str,
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._loop = loop
        self._cancelled = False
        self._scheduled = True
        self._when = when_s
        self.due_ms = due_ms
        self.line = line
        self.id = self.index = self.turn = 0


def run_ready(
    ready: deque[CallbackHandle | TimerHandle],
    done: Callable[[], bool],
    failed: Callable[[Callable[..., object], Exception], None],
) -> None:
    """Run handles until none is left, or until ``done`` says that the rest does not count."""
    pop = ready.popleft
    handle: Any = None
    try:
        while ready and not done():
            handle = pop()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except Exception as error:
                failed(handle._callback, error)
    finally:
        # A traceback may keep this frame, and the frame must not keep the task that it is of.
        handle = None


def run_handle(handle: asyncio.Handle) -> None:
    """Run what a handle of any loop is for."""
    handle._run()


def drop_silently(task: asyncio.Task[Any]) -> None:
    """Let a task be dropped while it waits: that is no mistake of anybody's."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def forget_task(task: asyncio.Task[Any]) -> None:
    """Take a task from asyncio's books: ``asyncio.run`` waits for all that are in them."""
    asyncio.tasks._unregister_task(task)


def let_go(task: Any) -> None:
    """Forget who waits for a task: it and what it waits for would keep each other alive."""
    for future in (task, task._fut_waiter):
        if future is not None:
            for callback, _ in future._callbacks or ():
                future.remove_done_callback(callback)
            for waiter in getattr(future, "_asyncio_awaited_by", None) or ():
                _forget_waiter(future, waiter)


_forget_waiter: Any = getattr(asyncio, "future_discard_from_awaited_by", None)
"""Python 3.14 and later: a future knows who waits for it, beside its callbacks."""


if sys.version_info >= (3, 14):

    def put_aside(host: Any) -> Any:
        """Put the host's task aside: from 3.14 on, asyncio keeps one for the thread, not a loop."""
        return asyncio.tasks._swap_current_task(host, None)

    def put_back(host: Any, task: Any) -> None:
        asyncio.tasks._swap_current_task(host, task)

else:

    def put_aside(host: Any) -> Any:
        return None

    def put_back(host: Any, task: Any) -> None:
        pass
