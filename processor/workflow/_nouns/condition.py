"""Conditions: the code waits until a predicate over its own variables holds."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta

from processor.errors import InvalidArgument
from processor.workflow._context import current
from processor.workflow._engine.runtime import Runtime
from processor.workflow._frames import boundary, line_here
from processor.workflow._nouns.timer import expire_after, timeout_ms
from processor.workflow._nouns.value import check_plain

__all__ = ("check", "wait_until")


def wait_until(
    predicate: Callable[[], object], timeout: timedelta | float | None = None
) -> Coroutine[object, None, None]:
    """Wait until a predicate over the workflow's own variables holds.

    The predicate is asked again whenever the code has run: it has to be cheap, and must not change
    anything. ``timeout`` is a ``timedelta`` or seconds (default: none). Raises ``TimeoutError``
    when the predicate did not hold in time.
    """
    runtime = current("wait_until", awaited=True)
    check_plain(predicate, "workflow.wait_until: predicate")
    lasts_ms = timeout_ms(timeout, "workflow.wait_until: timeout")
    return _wait_until(runtime, predicate, lasts_ms, line_here())


async def _wait_until(
    runtime: Runtime, predicate: Callable[[], object], timeout_ms: int | None, line: str
) -> None:
    if _holds(runtime, predicate):
        return
    loop = runtime.loop
    future: asyncio.Future[object] = asyncio.Future(loop=loop)
    runtime.conditions[future] = (predicate, contextvars.copy_context())
    timer = None
    try:
        if timeout_ms is not None:
            timer = expire_after(loop, future, timeout_ms, "the condition did not hold", line)
        await future
    finally:
        runtime.conditions.pop(future, None)
        if timer is not None:
            timer.cancel()
        del future, timer


@boundary
def check(runtime: Runtime) -> bool:
    """Wake those who wait for a predicate that has become true; return whether any was."""
    woken = False
    for future, (predicate, context) in list(runtime.conditions.items()):
        if future.done():
            continue
        try:
            holds = context.run(_holds, runtime, predicate)
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


def _holds(runtime: Runtime, predicate: Callable[[], object]) -> bool:
    decisions, loop = runtime.decisions, runtime.loop
    guarded, loop.guarded = loop.guarded, True
    refusal, decisions.refusal = decisions.refusal, "the predicate of workflow.wait_until()"
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
        decisions.refusal = refusal
        loop.guarded = guarded


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error
