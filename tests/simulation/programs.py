"""Random small programs, and beside each what it has to come to, whatever happens on the way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

from processor import ActivityError, ApplicationError, RetryPolicy, activity, workflow

FOR_EVER_S = 1_000_000.0


@dataclass
class Step:
    """One thing that a program does. ``branches`` run at once."""

    kind: str
    number: int = 0
    to: str = ""
    branches: list[list[Step]] = field(default_factory=list)


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


@activity.define
async def flaky(number: int) -> int:
    if activity.info().attempt <= number % 3:
        raise ApplicationError("not yet")
    return number


@activity.define(retry=RetryPolicy(maximum_attempts=2))
async def doomed(number: int) -> int:
    raise ValueError(f"never {number}")


@activity.define
async def endless(number: int) -> int:
    await asyncio.sleep(FOR_EVER_S)
    return number


ACTIVITIES = (double, plain, remote, watched, slow, flaky, doomed, endless)
_CALLED: dict[str, Any] = {each.name: each for each in ACTIVITIES}


@workflow.define
async def program(steps: list[Step]) -> list[Any]:
    return [await _one(step) for step in steps]


async def _one(step: Step) -> Any:
    match step.kind:
        case "sleep":
            await asyncio.sleep(step.number / 10)
            return "slept"
        case "event":
            return await workflow.wait_for_event(f"event-{step.number}", int)
        case "no event":
            try:
                return await workflow.wait_for_event("never", int, timeout=step.number)
            except TimeoutError:
                return "timeout"
        case "doomed":
            try:
                return await doomed(step.number)
            except ActivityError:
                return "failed"
        case "given up":
            try:
                return await asyncio.wait_for(endless(step.number), timeout=1 + step.number)
            except TimeoutError:
                return "given up"
        case "publish":
            workflow.publish("records", str(step.number), step.number)
            return "published"
        case "signal":
            workflow.signal(step.to, f"event-{step.number}", step.number)
            return "sent"
        case "noted":
            return workflow.side_effect(lambda: step.number, int)
        case "all":
            return await asyncio.gather(*(program.function(branch) for branch in step.branches))
        case _:
            return await _CALLED[step.kind](step.number)


def expected(steps: list[Step]) -> list[Any]:
    """Return what a program comes to."""
    return [_expected(step) for step in steps]


def _expected(step: Step) -> Any:
    number = step.number
    results: dict[str, Any] = {
        "sleep": "slept",
        "event": number,
        "no event": "timeout",
        "doomed": "failed",
        "given up": "given up",
        "publish": "published",
        "signal": "sent",
        "noted": number,
        "double": number * 2,
        "plain": number + 1,
        "remote": number * 3,
        "watched": number * 5,
        "slow": -number,
        "flaky": number,
    }
    if step.kind == "all":
        return [expected(branch) for branch in step.branches]
    return results[step.kind]


KINDS = (
    *("double", "plain", "remote", "watched", "slow", "flaky", "doomed", "given up"),
    *("sleep", "event", "no event", "publish", "noted", "all"),
)


class Author:
    """Writes programs. ``events`` are those that somebody has to raise, by program."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._number = 0

    def write(self, depth: int = 0) -> list[Step]:
        size = self._random.randint(1, 4 if depth == 0 else 2)
        return [self._step(depth) for _ in range(size)]

    def number(self) -> int:
        self._number += 1
        return self._number

    def _step(self, depth: int) -> Step:
        kinds = KINDS if depth < 2 else KINDS[:-1]
        kind = self._random.choice(kinds)
        if kind == "all":
            count = self._random.randint(2, 3)
            return Step(kind, branches=[self.write(depth + 1) for _ in range(count)])
        return Step(kind, self.number())


def events_of(steps: list[Step]) -> list[int]:
    """Return the numbers of the events that a program waits for."""
    numbers: list[int] = []
    for step in steps:
        if step.kind == "event":
            numbers.append(step.number)
        for branch in step.branches:
            numbers += events_of(branch)
    return numbers
