"""What was asked for may be taken back in a turn that is full, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from processor import PayloadTooLarge, activity, workflow
from processor.config import Settings
from processor.core.event import Decision
from processor.core.nouns.activity import ActivityCancelled, ActivityStopRequested
from processor.core.nouns.call import CallGivenUp
from processor.core.nouns.child import ChildCancelRequested
from processor.core.nouns.timer import TimerCancelled
from tests.workflow.driver import World


@activity.define
async def step() -> int:
    raise NotImplementedError


@activity.define(cancellation="wait")
async def waited() -> int:
    raise NotImplementedError


@workflow.define
async def other() -> int:
    raise NotImplementedError


async def timer() -> None:
    await asyncio.sleep(60)


async def asked() -> None:
    await workflow.handle("other").result()


async def child() -> None:
    await workflow.call_child(other, id="child")


@pytest.mark.parametrize(
    ("begun", "cancelled"),
    [
        (timer, TimerCancelled),
        (step, ActivityCancelled),
        (waited, ActivityStopRequested),
        (asked, CallGivenUp),
        (child, ChildCancelRequested),
    ],
    ids=lambda each: getattr(each, "__name__", None) or each.name,
)
@pytest.mark.parametrize("reason", ["", "r" * 5_000])
def test_what_was_asked_for_is_taken_back_in_a_full_turn(
    begun: Callable[..., Any], cancelled: type[Decision], reason: str
) -> None:
    @workflow.define
    async def gives_up() -> str:
        tasks = [asyncio.create_task(begun()) for _ in range(1 if begun is child else 3)]
        await workflow.wait_for_event("go")
        try:
            for _ in range(1_000):
                workflow.signal("another", "again", 1)
        except PayloadTooLarge:
            for task in tasks:
                task.cancel(reason or None)
            await asyncio.wait(tasks, timeout=None)
            return "given up"
        return "the turn was not full"

    world = World(gives_up, settings=Settings(payload_bytes_max=500, turn_bytes_max=2_000))
    world.start()
    made = world.event("go", None)
    assert sum(isinstance(each, cancelled) for each in made) in (1, 3)
    if world.over(made):
        assert world.result(made) == "given up"
    texts = [getattr(each, "reason", "") for each in made if isinstance(each, cancelled)]
    assert sum(map(len, texts)) <= 2_000, "a reason has no room in it"
    world.replay()
