"""The workflows of a story that go on as new runs, or begin by the clock."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from processor import ActivityTimedOut, ApplicationError, workflow

from . import deeds

__all__ = ("WORKFLOWS",)


@workflow.define
async def goes_on(told: int, each: int, pauses: int, so_far: list[int]) -> list[Any]:
    """Take some of what it is told, and go on as another run, until it has heard all.

    Before that it goes on ``pauses`` times without a pause. It leaves an activity behind.
    """
    if pauses:
        workflow.continue_as_new(told, each, pauses - 1, so_far)
    left = asyncio.ensure_future(deeds.endless(0))
    try:
        for _ in range(each):
            so_far.append(await workflow.wait_for_event("told", int))
            if len(so_far) == told:
                break
        else:
            workflow.continue_as_new(told, each, 0, so_far)
    finally:
        with suppress(ActivityTimedOut):  # given up where it seems to end its workers
            await deeds.double(len(so_far))
    left.cancel()
    await asyncio.wait([left])
    return [workflow.info().attempt, sorted(so_far)]


@workflow.define
async def by_the_clock(count: int, fails: int) -> int:
    """Count up at each time of a cron string; fail once on the way, and end the chain."""
    info = workflow.info()
    number = (info.last_result(int) or 0) + 1
    if number == count:
        workflow.cancel(info.workflow_id, "enough")
        await workflow.wait_for_event("never")
    if number == fails and info.last_failure is None:
        raise ApplicationError(f"no {number}")
    return number


WORKFLOWS: Final = (goes_on, by_the_clock)
