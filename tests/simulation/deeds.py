"""The activities of the random programs: quick, slow, failing and hanging ones, near and far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from processor import ApplicationError, RetryPolicy, activity

__all__ = ("ACTIVITIES", "DEEDS", "FAILING", "FAR", "RESULTS")

FOR_EVER_S: Final = 1_000_000.0
TWICE: Final = RetryPolicy(maximum_attempts=2)
ONCE: Final = RetryPolicy(maximum_attempts=1)


@activity.define
async def double(number: int) -> int:
    return number * 2


@activity.define
def plain(number: int) -> int:
    return number + 1


@activity.define(queue="far", eager=False)
async def remote(number: int) -> int:
    return number * 3


@activity.define(queue="far", eager=False, start_to_close=30)
async def watched(number: int) -> int:
    activity.heartbeat(number)
    await asyncio.sleep(number % 7)
    return number * 5


@activity.define
async def slow(number: int) -> int:
    await asyncio.sleep(number % 50)
    return -number


@activity.define(start_to_close=60, heartbeat=20)
async def beating(number: int) -> int:
    for _ in range(number % 4):
        activity.heartbeat(number)
        await asyncio.sleep(5)
    return number * 7


@activity.define
async def flaky(number: int) -> int:
    if activity.info().attempt <= number % 3:
        raise ApplicationError("not yet")
    return number


@activity.define(queue="far", eager=False)
async def flaky_far(number: int) -> int:
    if activity.info().attempt <= number % 3:
        raise ApplicationError("not yet")
    return number + 2


@activity.define(retry=TWICE)
async def doomed(number: int) -> int:
    raise ValueError(f"never {number}")


@activity.define(queue="far", eager=False, retry=TWICE)
async def doomed_far(number: int) -> int:
    raise ValueError(f"never {number}")


@activity.define(retry=TWICE, start_to_close=3)
async def too_slow(number: int) -> int:
    await asyncio.sleep(FOR_EVER_S)
    return number


@activity.define(queue="far", eager=False, retry=TWICE, start_to_close=20)
async def too_slow_far(number: int) -> int:
    await asyncio.sleep(FOR_EVER_S)
    return number


@activity.define(queue="far", eager=False, retry=TWICE, heartbeat=5)
async def silent(number: int) -> int:
    activity.heartbeat(number)
    await asyncio.sleep(FOR_EVER_S)
    return number


@activity.define(queue="nowhere", eager=False, retry=ONCE, schedule_to_start=40)
async def nobodys(number: int) -> int:
    raise AssertionError("nobody serves this queue")


@activity.define(schedule_to_close=30)
async def hopeless(number: int) -> int:
    raise ApplicationError("not yet")


@activity.define
async def endless(number: int) -> int:
    await asyncio.sleep(FOR_EVER_S)
    return number


@activity.define(queue="far", eager=False, heartbeat=60)
async def endless_far(number: int) -> int:
    for _ in range(20):  # for ever would be days of heartbeats while a shard has no owner
        activity.heartbeat()
        await asyncio.sleep(20)
    await asyncio.sleep(FOR_EVER_S)
    return number


DEEDS: Final[dict[str, Callable[[int], Any]]] = {
    each.name: each for each in (double, plain, remote, watched, slow, beating, flaky, flaky_far)
}
FAILING: Final[dict[str, Callable[[int], Any]]] = {
    each.name: each
    for each in (doomed, doomed_far, too_slow, too_slow_far, silent, nobodys, hopeless)
}
FAR: Final = ("remote", "watched", "flaky_far")
"""Those of the first that go through a queue."""

ACTIVITIES: Final = (*DEEDS.values(), *FAILING.values(), endless, endless_far)

RESULTS: Final[dict[str, Callable[[int], int]]] = {
    "double": lambda number: number * 2,
    "plain": lambda number: number + 1,
    "remote": lambda number: number * 3,
    "watched": lambda number: number * 5,
    "slow": lambda number: -number,
    "beating": lambda number: number * 7,
    "flaky": lambda number: number,
    "flaky_far": lambda number: number + 2,
}
