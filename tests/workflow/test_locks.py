"""Locks, fact by fact: what the code decides when a grant and the end of the wait come at once."""

from __future__ import annotations

import asyncio

import pytest

from processor import workflow
from processor.core.data.address import Address
from processor.core.event import Event
from processor.core.nouns.external import EventReceived
from processor.core.nouns.locks.holding import LockAnswered, LockCalled, LockReleased
from processor.core.nouns.run import WorkflowCancelRequested
from processor.core.nouns.timer import TimerFired
from processor.core.records.answers import Locked, Refused

from .driver import World

TIMER, LOCK = 1, 2
GRANTED = LockAnswered(LOCK, Locked(7))
REFUSED = LockAnswered(LOCK, Refused("CommandRejected", "too much to do"))


@workflow.define
async def gives_up() -> None:
    async def locks() -> None:
        async with asyncio.timeout(10), workflow.lock("@Account@ada"):
            await workflow.wait_for_event("never")

    task = asyncio.ensure_future(locks())
    stops = asyncio.ensure_future(workflow.wait_for_event("stop"))
    try:
        await asyncio.wait([task, stops], return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        stops.cancel()
        await asyncio.wait([task])
        await asyncio.shield(workflow.sleep(1_000))


ENDS: dict[str, Event] = {
    "timed out": TimerFired(TIMER),
    "stopped": EventReceived("stop"),
    "cancelled": WorkflowCancelRequested("enough"),
}


@pytest.mark.parametrize("answer_first", [True, False])
@pytest.mark.parametrize("answer", [GRANTED, REFUSED])
@pytest.mark.parametrize("end", ENDS)
def test_a_grant_that_comes_with_the_end_of_the_wait_is_given_back(
    end: str, answer: LockAnswered, answer_first: bool
) -> None:
    world = World(gives_up)
    assert LockCalled(LOCK, Address(None, "@Account@ada")) in world.start()
    facts = (answer, ENDS[end]) if answer_first else (ENDS[end], answer)
    released = [LockReleased(LOCK)] if answer is GRANTED else []
    assert [each for each in world.feed(*facts) if isinstance(each, LockReleased)] == released
    world.replay()


@pytest.mark.parametrize("end", ENDS)
def test_a_wait_that_ends_before_the_grant_is_withdrawn(end: str) -> None:
    world = World(gives_up)
    world.start()
    assert LockReleased(LOCK) in world.feed(ENDS[end])
    world.replay()
