"""Dropping a run's code: unwinding its coroutines without letting them do anything.

A suspended coroutine cannot be freed without ``GeneratorExit`` being raised in it, so its
``finally`` blocks begin to run. They are unwound here, at one known time, instead of by the
garbage collector, on the workflow's own loop, where everything that asks for something or would
wait raises ``GeneratorExit`` again. Clean-up code thus ends at its first request, and nothing of
it is recorded.
"""

from __future__ import annotations

import warnings
from asyncio import _get_running_loop, _set_running_loop
from typing import Any

from processor.workflow._frames import boundary
from processor.workflow._loop import WorkflowLoop

__all__ = ("drop",)

_CLOSES_MAX = 100
"""How often a coroutine may catch ``GeneratorExit`` and wait again before it is left alone."""


def drop(loop: WorkflowLoop) -> None:
    """Unwind every unfinished task of a loop, and forget all that it holds."""
    loop.dropped = True
    loop.timers.clear()
    if all(task.done() for task in loop.tasks):
        loop.tasks.clear()
        loop.ready.clear()
        return
    host = _get_running_loop()
    _set_running_loop(loop)
    loop.guarded = True
    try:
        with warnings.catch_warnings():
            # Coroutines that were made and not awaited yet are no mistake of the user's here.
            warnings.simplefilter("ignore", RuntimeWarning)
            _unwind(loop)
            loop.tasks.clear()
            loop.ready.clear()
    finally:
        loop.guarded = False
        _set_running_loop(host)


def _unwind(loop: WorkflowLoop) -> None:
    for task in sorted(loop.tasks, key=hash):
        if not task.done():
            _close(task.get_coro())
            _let_go(task)
            _let_go(task._fut_waiter)  # type: ignore[attr-defined]


def _let_go(future: Any) -> None:
    """Forget who waits for a future: a task and what it waits for would keep each other alive."""
    if future is not None:
        for callback, _ in future._callbacks or ():
            future.remove_done_callback(callback)


@boundary
def _close(coroutine: Any) -> None:
    for _ in range(_CLOSES_MAX):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        except BaseException:
            pass
        return
