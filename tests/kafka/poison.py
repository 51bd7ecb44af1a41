"""Workflows and activities that misbehave, one way each; and one that takes what it is given."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from typing import Any

from processor import PayloadTooLarge, ProcessorError, RetryPolicy, activity, workflow

__all__ = ("POISONED", "POISON_ACTIVITIES", "carries", "misbehaves", "spreads")

_TWICE = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=2)


@activity.define(retry=_TWICE)
async def ends_its_worker() -> None:
    os._exit(3)


@activity.define(retry=_TWICE, start_to_close=0.5)
async def never_returns() -> None:
    await asyncio.Event().wait()


@activity.define(retry=_TWICE, start_to_close=0.5)
def loops_in_a_thread() -> None:
    """It holds the interpreter whenever it can; the thread is lost until the loop ends."""
    until = time.monotonic() + 6.0
    while time.monotonic() < until:
        pass


@activity.define(retry=_TWICE)
async def holds_the_event_loop() -> None:
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        pass
    raise RuntimeError("held it")


@activity.define(retry=_TWICE)
async def returns_an_object() -> Any:
    return object()


@activity.define(retry=_TWICE)
async def returns(size: int) -> str:
    return "x" * size


@activity.define
async def measures(value: str) -> int:
    return len(value)


POISON = {
    each.name: each
    for each in (
        ends_its_worker,
        never_returns,
        loops_in_a_thread,
        holds_the_event_loop,
        returns_an_object,
    )
}
POISON_ACTIVITIES = [*POISON.values(), returns, measures]


@workflow.define
async def misbehaves(name: str, size: int = 0, queued: bool = False) -> str:
    """Call an activity that misbehaves and say what became of it."""
    try:
        if name == "returns":
            return str(len(await returns(size)))
        await POISON[name].options(eager=not queued)()
    except ProcessorError as error:
        return f"{type(error).__name__}: {error}"
    return "it ended"


@workflow.define
async def spreads(count: int, size: int) -> str:
    """Ask for a great deal at once."""
    calls = [measures("x" * size) for _ in range(count)]
    try:
        return str(sum(await asyncio.gather(*calls)))
    except PayloadTooLarge as error:
        return str(error)


@workflow.define
async def carries(value: str, result_size: int) -> str:
    """Take an argument, then an event, pass both to activities, and return something large."""
    event = await workflow.wait_for_event("more", str)
    sizes = [await measures(value), await measures(event)]
    assert sizes == [len(value), len(event)]
    return "y" * result_size


POISONED = [misbehaves, spreads, carries]
