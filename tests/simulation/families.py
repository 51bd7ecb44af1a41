"""Families: workflows that start workflows, and what each may come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from processor import (
    ApplicationError,
    ChildFailed,
    CommandRejected,
    RequestError,
    RetryPolicy,
    WorkflowAlreadyStarted,
    workflow,
)
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.simulation.mirror import ELSEWHERE

from .cases import Case, let_stop
from .chains import by_the_clock

__all__ = ("TERMINATED", "WORKFLOWS", "family_case")

TERMINATED: Final = "a test ends it"
"""Why a family terminates a child."""

_LONG_S: Final = 5_400
"""Longer than clocks jump, and shorter than the rest after a story: then all children are over."""

_AGAIN: Final = RetryPolicy(initial_interval=5)


@dataclass
class Member:
    """One thing that a family does. ``below`` is a family of its own, ``to`` somebody else's id.

    ``abroad``: its child is in another namespace, and may be refused on the way there.
    """

    kind: str
    number: int
    parent_close: str = "terminate"
    named: bool = False
    below: list[Member] = field(default_factory=list)
    to: str = ""
    abroad: bool = False


@workflow.define
async def offspring(kind: str, number: int) -> int:
    """What a child does."""
    match kind:
        case "double":
            await asyncio.sleep(number % 3)
        case "next":
            return (workflow.info().last_result(int) or 0) + number
        case "event":
            try:
                return await workflow.wait_for_event("go", int, timeout=_LONG_S)
            except TimeoutError:
                return -1
        case "flaky":
            if workflow.info().attempt <= number % 3:
                raise ApplicationError("not yet")
            return workflow.info().attempt
        case "fails":
            await asyncio.sleep(number % 2)
            raise ApplicationError("no")
        case _:
            try:
                await asyncio.sleep(_LONG_S)
            finally:
                await asyncio.sleep(number % 4)
    return 2 * number


@workflow.define
async def family(members: list[Member], fails: int = 0) -> list[Any]:
    """Do all that in order, and fail some times at the end."""
    told = [await _done(member) for member in members]
    if workflow.info().attempt <= fails:
        raise ApplicationError(f"attempt {workflow.info().attempt}")
    return told


WORKFLOWS: Final = (family, offspring)


async def _done(member: Member) -> Any:
    try:
        return await _DOES[member.kind](member, _options(member))
    except CommandRejected:
        if not member.abroad:
            raise
        return "refused"


def _options(member: Member) -> dict[str, Any]:
    options: dict[str, Any] = {"parent_close": member.parent_close}
    if member.abroad:
        options["namespace"] = ELSEWHERE
    if member.named:
        options["id"] = f"{workflow.info().workflow_id}/{member.number}"
    return options


async def _called(member: Member, options: dict[str, Any]) -> int:
    """Call a child, which doubles a number, or adds it to the result that it is given."""
    kind = "double"
    if member.number % 3 == 0:
        kind, options["last_result"] = "next", member.number
    return await workflow.call_child(offspring, kind, member.number, **options)


async def _at_once(member: Member, options: dict[str, Any]) -> int:
    numbers = range(member.number % 20)
    called = (workflow.call_child(offspring, "double", number) for number in numbers)
    return sum(await asyncio.gather(*called))


async def _failing(member: Member, options: dict[str, Any]) -> str:
    try:
        await workflow.call_child(offspring, "fails", member.number, **options)
    except ChildFailed as error:
        return error.kind
    return "not"


async def _timed(member: Member, options: dict[str, Any]) -> str:
    options["execution_timeout"] = 1 + member.number % 30
    try:
        await workflow.call_child(offspring, "waits", member.number, **options)
    except ChildFailed as error:
        return error.kind
    return "not"


async def _flaky(member: Member, options: dict[str, Any]) -> int:
    called = workflow.call_child(offspring, "flaky", member.number, retry=_AGAIN, **options)
    return await called


async def _told(member: Member, options: dict[str, Any]) -> int:
    child = await workflow.start_child(offspring, "event", 0, **options)
    with suppress(RequestError):  # where it has ended, after all that time
        await child.signal("go", member.number)
    return await child


async def _begun(member: Member, options: dict[str, Any]) -> int | str:
    """A child that may end as it begins; or runs of it begin each minute, until the second one."""
    if member.number % 2:
        clock = await workflow.start_child(by_the_clock, 2, 0, cron="* * * * *", **options)
        try:
            return await clock
        except ChildFailed as error:
            return error.kind
    child = await workflow.start_child(offspring, "double", member.number, **options)
    assert child.run_id is not None, "it has begun"
    return await child


async def _taken(member: Member, options: dict[str, Any]) -> str:
    options["id"] = workflow.info().workflow_id
    verb: Any = workflow.start_child if member.number % 2 else workflow.call_child
    try:
        await verb(offspring, "double", member.number, **options)
    except WorkflowAlreadyStarted:
        return "taken"
    return "not"


async def _stopped(member: Member, options: dict[str, Any]) -> str:
    child = await workflow.start_child(offspring, "waits", member.number, **options)
    await asyncio.sleep(member.number % 3)
    if member.number % 2:
        child.cancel("a test")
        try:
            await child
        except asyncio.CancelledError:
            return "stopped"
        return "too late"
    ended = False
    with suppress(RequestError):  # it has ended, or its namespace refuses what comes
        ended = await workflow.handle(child.id, namespace=child.namespace).terminate(TERMINATED)
    try:
        await child
    except ChildFailed as error:
        return "stopped" if error.kind == "terminated" else error.kind
    return "ended otherwise" if ended else "too late"


async def _given_up(member: Member, options: dict[str, Any]) -> str:
    options["cancellation"] = "try" if member.number % 2 else "abandon"
    try:
        async with asyncio.timeout(member.number % 5):
            await workflow.call_child(offspring, "waits", member.number, **options)
    except TimeoutError:
        return "given up"
    return "too late"


async def _left(member: Member, options: dict[str, Any]) -> str:
    """A child that the end of the family finds open, begun or on its way."""
    if member.number % 2:
        await workflow.start_child(offspring, "waits", member.number, **options)
        return "left"
    await _sent(workflow.call_child(offspring, "waits", member.number, **options))
    return "left"


async def _stranger(member: Member, options: dict[str, Any]) -> str:
    """A child that cannot be: its id is somebody else's, who is to be left alone."""
    options["id"] = member.to
    called = workflow.call_child(offspring, "double", member.number, reuse="reject", **options)
    await _sent(called)
    return "stranger"


async def _sent(called: Coroutine[Any, Any, Any]) -> None:
    """Send a child, and do not wait for it."""
    task = asyncio.create_task(called)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.sleep(0)


async def _deeper(member: Member, options: dict[str, Any]) -> list[Any]:
    return await workflow.call_child(family, member.below, **options)


_Does = Callable[[Member, dict[str, Any]], Coroutine[Any, Any, Any]]

_DOES: Final[dict[str, _Does]] = {
    "called": _called,
    "at once": _at_once,
    "failing": _failing,
    "timed": _timed,
    "flaky": _flaky,
    "told": _told,
    "begun": _begun,
    "taken": _taken,
    "stopped": _stopped,
    "given up": _given_up,
    "left": _left,
    "stranger": _stranger,
    "deeper": _deeper,
}

# --- the model --------------------------------------------------------------------------------


def _fit(members: list[Member], told: Any) -> bool:
    """Return whether a family may come to this: an outage makes some of it come too late."""
    return len(told) == len(members) and all(map(_fits, members, told))


def _fits(member: Member, told: Any) -> bool:
    number, kind = member.number, member.kind
    if member.abroad and told == "refused":
        return True
    match kind:
        case "begun" if number % 2:
            return bool(told == "cancelled")
        case "called" | "begun":
            return bool(told == 2 * number)
        case "at once":
            return bool(told == sum(2 * each for each in range(number % 20)))
        case "failing":
            return bool(told == "failed")
        case "timed":
            return bool(told == "timed_out")
        case "flaky":
            return bool(told == 1 + number % 3)
        case "told":
            return told in (number, -1)
        case "deeper":
            return _fit(member.below, told)
        case "stopped" | "given up":
            return told in (kind, "too late")
        case kind:
            return bool(told == kind)


# --- the author -------------------------------------------------------------------------------


class _Author:
    def __init__(self, random: Random, *, named: bool, apart: Random) -> None:
        self._random = random
        self._abroad = apart.choice((0.0, 0.4, 0.8))
        self._apart = apart
        self._named = named
        self._number = 0

    def write(self, depth: int = 0) -> list[Member]:
        return [self._member(depth) for _ in range(self._random.randint(1, 4 - depth))]

    def _member(self, depth: int) -> Member:
        random = self._random
        self._number += random.randint(1, 9)
        lacks = ("deeper", "stranger") if depth == 2 else ("stranger",)
        kinds = [kind for kind in _DOES if kind not in lacks]
        member = Member(random.choice(kinds), self._number)
        member.parent_close = random.choice(("terminate", "terminate", "cancel", "abandon"))
        member.named = self._named and random.random() < 0.5
        member.abroad = self._apart.random() < self._abroad
        if member.kind == "deeper":
            member.below = self.write(depth + 1)
        return member


def family_case(random: Random, cases: list[Case], apart: Random) -> Case:
    """Return a family, which somebody may stop, or which fails some times with its children.

    ``apart`` says which children are in another namespace.
    """
    fails = random.choice((0, 0, 0, 1, 2))
    members = _Author(random, named=not fails, apart=apart).write()
    others = [each for each in cases if each.workflow == "program"]
    if others and random.random() < 0.3:  # it ends before it hears anything
        members = [Member("stranger", 0, to=random.choice(others).workflow_id)]
    case = Case("family", "family", [members, fails], {}, runs=1 + fails)
    case.after = [each for each in others if each.workflow_id == members[-1].to]
    case.ends["completed"] = lambda told: _fit(members, told)
    if fails:
        case.plan = Plan(retry=RetryOptions(random.choice((1, 10_000)), 2.0, 60_000))
    elif random.random() < 0.4:
        let_stop(case, random, len(members))
        case.ends["completed"] = lambda result: True  # what waits for a child may swallow it
    return case
