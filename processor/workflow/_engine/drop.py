"""Dropping a run's code: unwinding its coroutines without letting them do anything.

A suspended coroutine cannot be freed without ``GeneratorExit`` being raised in it, so its
``finally`` blocks begin to run. They are unwound here, at one known time, instead of by the
garbage collector, on the workflow's own loop, where everything that asks for something or would
wait raises ``GeneratorExit`` again. Clean-up code thus ends at its first request, and nothing of
it is recorded. Code that catches that again and again is given up: it stays in memory as it is.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import warnings
from asyncio import _get_running_loop, _set_running_loop
from typing import Any

from processor.core.runner import CodeError
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._engine.watchdog import NeverEnds, here
from processor.workflow._frames import boundary, waiting_at

__all__ = ("drop",)

_log = logging.getLogger("processor.workflow")

_CLOSES_MAX = 100
_REFUSALS_MAX = 1_000
"""How often a coroutine may catch ``GeneratorExit`` and wait, or ask for something, again."""

_forget_waiter: Any = getattr(asyncio, "future_discard_from_awaited_by", None)
"""Python 3.14 and later: a future knows who waits for it, beside its callbacks."""

_keep_for_ever = ctypes.pythonapi.Py_IncRef
_keep_for_ever.argtypes = (ctypes.py_object,)


def drop(loop: WorkflowLoop) -> None:
    """Unwind every unfinished task of a loop, and forget all that it holds."""
    loop.dropped, loop.refusals = True, _REFUSALS_MAX
    loop.timers.clear()
    if all(task.done() for task in loop.tasks):
        loop.tasks.clear()
        loop.ready.clear()
        return
    host = _get_running_loop()
    watched = here()
    _set_running_loop(loop)
    loop.guarded = True
    try:
        with warnings.catch_warnings():
            # Coroutines that were made and not awaited yet are no mistake of the user's here.
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                watched.running = loop.runtime
                _unwind(loop)
            finally:
                watched.over()
    except NeverEnds:
        for task in loop.tasks:  # the next one may never end either
            _keep_for_ever(task.get_coro())
    finally:
        _tell(loop, watched.taken())
        loop.tasks.clear()
        loop.ready.clear()
        loop.guarded = False
        _set_running_loop(host)


def _unwind(loop: WorkflowLoop) -> None:
    for task in sorted(loop.tasks, key=hash):
        if not task.done():
            coroutine = task.get_coro()
            loop.refusals = _REFUSALS_MAX
            if not _close(coroutine):
                _give_up(loop, coroutine)
            _let_go(task)
            _let_go(task._fut_waiter)  # type: ignore[attr-defined]


def _let_go(future: Any) -> None:
    """Forget who waits for a future: a task and what it waits for would keep each other alive."""
    if future is not None:
        for callback, _ in future._callbacks or ():
            future.remove_done_callback(callback)
        for waiter in getattr(future, "_asyncio_awaited_by", None) or ():
            _forget_waiter(future, waiter)


def _give_up(loop: WorkflowLoop, coroutine: Any) -> None:
    """Leave code alone that cannot be unwound; freed by Python, it would begin all over again."""
    _keep_for_ever(coroutine)
    run = loop.runtime
    _log.error(
        "workflow %s, run %s: its code is dropped, but it catches GeneratorExit again and again at "
        "%s. It is given up and stays in memory until this process ends. Catch Exception there, "
        "not BaseException, and let GeneratorExit pass",
        run.workflow_id,
        run.run_id,
        waiting_at(coroutine),
    )


def _tell(loop: WorkflowLoop, interrupted: CodeError | None) -> None:
    if interrupted is not None:
        run, error = loop.runtime, interrupted.error
        text = "workflow %s, run %s: while it was dropped: %s"
        _log.error(text, run.workflow_id, run.run_id, error)


@boundary
def _close(coroutine: Any) -> bool:
    """Unwind a coroutine; return whether it has ended."""
    for _ in range(_CLOSES_MAX):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        except NeverEnds:
            raise
        except BaseException:
            pass
        return True
    return False
