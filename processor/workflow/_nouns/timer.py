"""Timers: the code sleeps, and a timer that fires wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta

from processor import checks
from processor.errors import InvalidArgument
from processor.workflow._context import current
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._frames import line_here

__all__ = ("expire_after", "sleep", "timeout_ms", "timer")

_Future = asyncio.Future


def sleep(delay: timedelta | float) -> Coroutine[object, None, None]:
    """Sleep durably, however long: a ``timedelta``, or seconds. ``asyncio.sleep`` does the same.

    ``math.inf`` sleeps until the run is cancelled.
    """
    runtime = current("sleep", awaited=True)
    return _sleep(runtime.loop, checks.lasting_ms(delay, "workflow.sleep: delay"), line_here())


def timer(when: timedelta | float | datetime) -> Coroutine[object, None, None]:
    """Wait for a delay (``timedelta`` or seconds), or until a time (an aware ``datetime``).

    A time that has passed does not wait. Raises ``InvalidArgument`` for a time without a zone.
    """
    runtime = current("timer", awaited=True)
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise InvalidArgument(
                f"workflow.timer: when: {when!r} has no time zone, so it names no time; give an "
                "aware datetime, for example workflow.now() + timedelta(days=1)"
            )
        when = when - runtime.now
    return _sleep(runtime.loop, checks.lasting_ms(when, "workflow.timer: when"), line_here())


async def _sleep(loop: WorkflowLoop, delay_ms: int | None, line: str) -> None:
    """Wait so long, or for ever where it is None."""
    if delay_ms == 0:
        await asyncio.sleep(0)
        return
    future: asyncio.Future[None] = _Future(loop=loop)
    if delay_ms is None:
        await future
        return
    started = loop.start_timer(loop.now_ms + delay_ms, _wake, (future,), line)
    try:
        await future
    finally:
        started.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


# --- time-outs of other nouns -----------------------------------------------------------------


def timeout_ms(timeout: timedelta | float | None, what: str) -> int | None:
    """Return a time-out that a user gave; ``what`` names it in errors."""
    return None if timeout is None else checks.lasting_ms(timeout, what)


def expire_after(
    loop: WorkflowLoop, future: asyncio.Future[object], timeout_ms: int, what: str, line: str
) -> asyncio.Handle:
    """Make a future raise ``TimeoutError`` after a while; asyncio's way when that is over now.

    The frame that waits is in the traceback of the error, and both have the error: the frame has to
    forget them as it ends, or they keep each other, and the run, until a collection of garbage.
    """
    error = TimeoutError(f"{what} within {timeout_ms / 1000:g} s")
    return loop.start_timer(loop.now_ms + timeout_ms, _expire, (future, error), line)


def _expire(future: asyncio.Future[object], error: TimeoutError) -> None:
    if not future.done():
        future.set_exception(error)
