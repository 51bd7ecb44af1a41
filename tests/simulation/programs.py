"""Random programs over all that a workflow can do, and what each may come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from uuid import uuid4

from processor import (
    ActivityTimedOut,
    ApplicationError,
    ProcessorError,
    WorkflowNotFound,
    workflow,
)

from . import deeds
from .deeds import DEEDS, doomed, endless, endless_far
from .listening import Listener
from .till import Till

__all__ = (
    "KINDS",
    "RELEASE",
    "WORKFLOWS",
    "Author",
    "Listener",
    "Step",
    "events_of",
    "fits",
    "flaky",
    "gathers",
    "program",
    "victim",
)


@dataclass
class Step:
    """One thing that a program does. ``branches`` are programs of their own."""

    kind: str
    number: int = 0
    to: str = ""
    branches: list[list[Step]] = field(default_factory=list)


@dataclass
class Named:
    """A payload that makes up what it lacks."""

    name: str = field(default_factory=lambda: uuid4().hex)


# --- the interpreter --------------------------------------------------------------------------


@workflow.define
async def program(steps: list[Step]) -> list[Any]:
    return [await _one(step) for step in steps]


@workflow.define
async def victim(tidies: bool) -> str:
    """Goes on until somebody ends it."""
    try:
        await asyncio.gather(workflow.wait_for_event("never", int), _unless_lost(endless(0)))
    except asyncio.CancelledError:
        if tidies:
            await deeds.double(1)
        raise
    return "it came"


@dataclass
class Release:
    """What all hosts run: with a bug, or without it."""

    mended: bool = False


RELEASE: Final = Release()


@workflow.define
async def flaky(fails: int, told: int, parks: int = 0) -> list[Any]:
    """Fail some times, with what it was told so far taken or not; the last run takes all.

    The attempt ``parks`` meets a bug until there is a release without it, and fails then.
    """
    attempt, memo = workflow.info().attempt, workflow.info().memo
    if memo != (None if attempt == 1 else {"attempt": attempt - 1}):
        return [attempt, "it has the memo", memo]
    tries = {} if attempt == 1 else {"tries": attempt - 1}
    if (found := workflow.info().attributes) != tries:
        return [attempt, "it has the attributes", found]
    workflow.upsert_memo({"attempt": attempt})
    workflow.upsert_attributes({"tries": attempt})
    if attempt <= fails:
        await asyncio.sleep(attempt % 3)
        if attempt == parks and not RELEASE.mended:
            raise ValueError("a bug")
        raise ApplicationError(f"attempt {attempt}")
    return [attempt, sorted([await workflow.wait_for_event("told", int) for _ in range(told)])]


@workflow.define
async def gathers(fails: int, told: int) -> list[list[str | int]]:
    """Fail some times, as soon as a handler has got all that came; the last run takes it.

    What the handler of a run that fails has not begun with is not taken.
    """
    heard: list[list[str | int]] = []
    attempt = workflow.info().attempt
    workflow.on_query("so_far", lambda: [[attempt], *heard])
    await asyncio.sleep(attempt * 5)
    workflow.on_signal(None, lambda name, number: heard.append([name, number]))
    if attempt <= fails:
        raise ApplicationError(f"attempt {attempt}")
    await workflow.wait_until(lambda: len(heard) == told)
    return heard


WORKFLOWS: Final = (program, victim, flaky, gathers, Listener, Till)


async def _one(step: Step) -> Any:
    if step.kind in DEEDS:
        return await _unless_lost(DEEDS[step.kind](step.number))
    if step.kind in deeds.FAILING:
        try:
            return await deeds.FAILING[step.kind](step.number)
        except ProcessorError:  # its own error, or an ActivityError where it was timed out
            return "failed"
    return await _STEPS[step.kind](step)


async def _unless_lost(called: Coroutine[Any, Any, Any]) -> Any:
    """Await an activity, which is given up when it seems to end its workers.

    So many may die in a story; the invariants know how many it takes.
    """
    try:
        return await called
    except ActivityTimedOut as error:
        if error.kind != "lost":
            raise
        return "lost"


async def _sleep(step: Step) -> str:
    await asyncio.sleep(step.number / 10)
    return "slept"


async def _long_sleep(step: Step) -> str:
    await workflow.sleep(step.number % 5 * 86_400 + 3_600)
    return "slept"


async def _event(step: Step) -> int:
    return await workflow.wait_for_event(f"event-{step.number}", int)


async def _no_event(step: Step) -> Any:
    try:
        return await workflow.wait_for_event("never", int, timeout=step.number)
    except TimeoutError:
        return "timeout"


async def _given_up(step: Step) -> Any:
    try:
        return await asyncio.wait_for(_unless_lost(endless(step.number)), timeout=1 + step.number)
    except TimeoutError:
        return "given up"


async def _given_up_far(step: Step) -> Any:
    try:
        async with asyncio.timeout(1 + step.number):
            return await _unless_lost(endless_far(step.number))
    except TimeoutError:
        return "given up"


async def _publish(step: Step) -> str:
    workflow.publish("records", str(step.number), step.number)
    return "published"


async def _signal(step: Step) -> str:
    workflow.signal(step.to, f"event-{step.number}", step.number)
    return "sent"


async def _call(step: Step) -> str:
    await workflow.signal(step.to, f"event-{step.number}", step.number)
    return "told"


async def _call_to_cancel(step: Step) -> bool:
    return await workflow.cancel(step.to, "enough")


async def _call_nobody(step: Step) -> str:
    try:
        await workflow.signal(f"nobody-{step.number}", "event", step.number)
    except WorkflowNotFound:
        return "nobody"
    return "somebody"


async def _call_in_vain(step: Step) -> str:
    """Tell nobody something, and do not wait for the answer."""
    told = workflow.signal(f"vain-{step.number}", "event", step.number)
    waits = asyncio.create_task(told)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    waits.cancel()
    return "in vain"


async def _cancel(step: Step) -> str:
    workflow.cancel(step.to, "enough")
    return "sent"


async def _noted(step: Step) -> int:
    return workflow.side_effect(lambda: step.number, int)


async def _made_up(step: Step) -> str:
    named = workflow.side_effect(dict, Named)
    workflow.publish("records", named.name, step.number)
    return "made up"


async def _status(step: Step) -> str:
    workflow.set_status({"at": step.number, "id": str(workflow.uuid4())})
    return "set"


async def _until(step: Step) -> str:
    reached: list[int] = []

    async def reach() -> None:
        await asyncio.sleep(step.number % 5)
        reached.append(step.number)

    async with asyncio.TaskGroup() as group:
        group.create_task(reach())
        await workflow.wait_until(lambda: reached)
    return "held"


async def _queue(step: Step) -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def produce() -> None:
        for number in range(3):
            await queue.put(await deeds.double(number))

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        return [await queue.get() for _ in range(3)]


async def _all(step: Step) -> list[Any]:
    return list(await asyncio.gather(*map(program.function, step.branches)))


async def _group(step: Step) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(program.function(branch)) for branch in step.branches]
    return [task.result() for task in tasks]


async def _broken_group(step: Step) -> str:
    """Let a group break. In a task of its own: Python 3.11 leaves the parent half cancelled."""

    async def breaks() -> str:
        how = "whole"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(endless(step.number))
                group.create_task(doomed(step.number))
        except* ProcessorError:
            how = "broken"
        return how

    return await asyncio.ensure_future(breaks())


async def _race(step: Step) -> list[Any]:
    """Take what is done first."""
    branches = [program.function(branch) for branch in step.branches]
    won = await _first(*branches)
    return [[index, task.result()] for index, task in won]


async def _sure_race(step: Step) -> list[Any]:
    won = await _first(endless(step.number), _sleep(step))
    return [task.result() for _, task in won]


async def _first(*racers: Coroutine[Any, Any, Any]) -> list[tuple[int, asyncio.Task[Any]]]:
    """Return those of the racers that are done first, with their numbers; give the rest up."""
    tasks = [asyncio.ensure_future(racer) for racer in racers]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [(index, task) for index, task in enumerate(tasks) if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _timeout(step: Step) -> Any:
    try:
        async with asyncio.timeout(step.number % 20):
            return await program.function(step.branches[0])
    except TimeoutError:
        return "timeout"


async def _cancelled(step: Step) -> str:
    task = asyncio.ensure_future(endless(step.number))
    try:
        if step.number % 2:
            await asyncio.sleep(step.number % 10)
    finally:
        task.cancel()
        await asyncio.wait([task])
    return "cancelled" if task.cancelled() else "not cancelled"


_STEPS: Final[dict[str, Callable[[Step], Any]]] = {
    "sleep": _sleep,
    "long sleep": _long_sleep,
    "event": _event,
    "no event": _no_event,
    "given up": _given_up,
    "given up far": _given_up_far,
    "publish": _publish,
    "signal": _signal,
    "cancel": _cancel,
    "call": _call,
    "call to cancel": _call_to_cancel,
    "call nobody": _call_nobody,
    "call in vain": _call_in_vain,
    "noted": _noted,
    "made up": _made_up,
    "status": _status,
    "until": _until,
    "queue": _queue,
    "all": _all,
    "group": _group,
    "broken group": _broken_group,
    "race": _race,
    "sure race": _sure_race,
    "timeout": _timeout,
    "cancelled": _cancelled,
}

# --- the model --------------------------------------------------------------------------------

_CONSTANT: Final[dict[str, Any]] = {
    "sleep": "slept",
    "long sleep": "slept",
    "no event": "timeout",
    "given up": "given up",
    "publish": "published",
    "made up": "made up",
    "signal": "sent",
    "cancel": "sent",
    "call": "told",
    "call to cancel": True,
    "call nobody": "nobody",
    "call in vain": "in vain",
    "status": "set",
    "until": "held",
    "queue": [0, 2, 4],
    "broken group": "broken",
    "sure race": ["slept"],
    "cancelled": "cancelled",
}


def fits(steps: list[Step], result: Any) -> bool:
    """Return whether a program may come to this; only races have more than one right end."""
    if not isinstance(result, list) or len(result) != len(steps):
        return False
    return all(map(_fits, steps, result))


def _fits(step: Step, result: Any) -> bool:
    branches = step.branches
    match step.kind:
        case "all" | "group":
            return len(result) == len(branches) and all(map(fits, branches, result))
        case "race":
            winners = [index for index, _ in result]
            rising = bool(winners) and winners == sorted(set(winners))
            return rising and all(fits(branches[index], each) for index, each in result)
        case "timeout":
            return result == "timeout" or fits(branches[0], result)
        case "given up" | "given up far":
            return result in ("given up", "lost")
        case kind if kind in DEEDS and result == "lost":
            return True
        case "event" | "noted":
            return bool(result == step.number)
        case kind if kind in deeds.FAILING:
            return bool(result == "failed")
        case kind if kind in DEEDS:
            return bool(result == deeds.RESULTS[kind](step.number))
        case kind:
            return bool(result == _CONSTANT[kind])


# --- the author -------------------------------------------------------------------------------

_BRANCHING: Final = ("all", "group", "race", "timeout")
_SENT: Final = ("signal", "cancel", "call", "call to cancel", "call in vain")
"""Kinds that a story puts into programs by itself: most need a receiver."""

_ASKED: Final = tuple(kind for kind in _CONSTANT if kind not in _SENT)
_LEAVES: Final = (*DEEDS, *deeds.FAILING, *_ASKED, "given up far")
KINDS: Final = (*_LEAVES, "event", "noted", *_BRANCHING)


class Author:
    """Writes programs. Numbers are unique in a story, so that each event has its own name."""

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
        kinds = (*_LEAVES, "event", "noted", *_BRANCHING * 3) if depth < 2 else _LEAVES
        kind = self._random.choice(kinds)
        if kind not in _BRANCHING:
            return Step(kind, self.number())
        count = 1 if kind == "timeout" else self._random.randint(2, 3)
        return Step(kind, self.number(), branches=[self.write(depth + 1) for _ in range(count)])


def events_of(steps: list[Step]) -> list[int]:
    """Return the numbers of the events that a program waits for."""
    numbers: list[int] = []
    for step in steps:
        if step.kind == "event":
            numbers.append(step.number)
        for branch in step.branches:
            numbers += events_of(branch)
    return numbers
