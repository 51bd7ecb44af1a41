"""External events: kept, typed, in order, and never lost to a waiter that goes away."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest

from processor import activity, workflow
from processor.core.nouns.activity import ActivityScheduled
from processor.core.nouns.external import EventReceived, EventRejected
from processor.core.nouns.run import WorkflowCompleted
from processor.core.nouns.timer import TimerCancelled, TimerStarted
from processor.workflow._engine.runtime import SETTLES
from processor.workflow._nouns.external import ExternalEvents
from tests.workflow.driver import PAYLOADS, World


@dataclass
class Review:
    approved: bool
    by: str = "nobody"


@activity.define
async def step() -> None: ...


def test_events_are_kept_in_the_order_of_arrival() -> None:
    @workflow.define
    async def late() -> list[int]:
        await step()
        return [await workflow.wait_for_event("n", int) for _ in range(3)]

    world = World(late)
    world.start()
    for n in range(3):
        assert world.event("n", n) == []
    assert world.result(world.complete(1)) == [0, 1, 2]
    world.replay()


def test_each_name_has_its_own_queue() -> None:
    @workflow.define
    async def two() -> list[Any]:
        return [await workflow.wait_for_event("b"), await workflow.wait_for_event("a")]

    world = World(two)
    world.start()
    world.event("a", 1)
    assert world.result(world.event("b", 2)) == [2, 1]


def test_an_event_that_does_not_fit_is_rejected_and_the_wait_goes_on() -> None:
    @workflow.define
    async def typed() -> str:
        await step()
        review = await workflow.wait_for_event("review", Review, timeout=60)
        return review.by

    world = World(typed)
    world.start()
    world.event("review", "yes")
    rejected, started = world.complete(1)
    assert isinstance(rejected, EventRejected)
    assert rejected.name == "review"
    assert rejected.payload == b'"yes"'
    assert "Expected `object`, got `str`" in rejected.reason
    assert "test_events.py:" in world.lines[0]
    assert isinstance(started, TimerStarted)
    (again,) = world.event("review", {"approved": "perhaps"})
    assert isinstance(again, EventRejected)
    *_, end = world.event("review", {"approved": True, "by": "Ann"})
    assert end == WorkflowCompleted(b'"Ann"')
    world.replay()


def test_a_wait_times_out_and_the_event_waits_for_the_next_one() -> None:
    @workflow.define
    async def patient() -> list[Any]:
        try:
            await workflow.wait_for_event("go", bool, timeout=5)
        except TimeoutError as error:
            first = str(error)
        return [first, await workflow.wait_for_event("go", bool)]

    world = World(patient)
    (timer,) = world.start()
    assert timer == TimerStarted(1, world.now_ms + 5_000)
    assert world.fire(1) == []
    assert world.result(world.event("go", True)) == ["no event 'go' within 5 s", True]
    world.replay()


def test_an_event_cancels_the_time_out() -> None:
    @workflow.define
    async def quick() -> Any:
        found = await workflow.wait_for_event("go", timeout=5)
        await step()
        return found

    world = World(quick)
    world.start()
    cancelled, scheduled = world.event("go", 1)
    assert isinstance(cancelled, TimerCancelled)
    assert isinstance(scheduled, ActivityScheduled)
    world.replay()


def test_an_event_that_is_there_starts_no_timer() -> None:
    @workflow.define
    async def quick() -> Any:
        await step()
        return await workflow.wait_for_event("go", timeout=5)

    world = World(quick)
    world.start()
    world.event("go", 1)
    assert world.complete(1) == [WorkflowCompleted(b"1")]


def test_a_waiter_that_is_cancelled_before_it_runs_gives_its_event_back() -> None:
    """The event wakes the waiter, but another task that runs earlier cancels it."""

    @workflow.define
    async def racing() -> list[Any]:
        waiter: asyncio.Task[int]

        async def canceller() -> None:
            await workflow.wait_for_event("go")
            waiter.cancel()

        other = asyncio.create_task(canceller())
        await asyncio.sleep(0)
        waiter = asyncio.create_task(workflow.wait_for_event("n", int))
        await asyncio.wait([other, waiter])
        return [waiter.cancelled(), *[await workflow.wait_for_event("n", int) for _ in range(2)]]

    world = World(racing)
    world.start()
    # Both arrive in one turn and before the loop runs, as after a run was parked.
    SETTLES[EventReceived](world.runner._runtime, EventReceived("go", b"1"))
    world.event("n", 7)
    assert world.result(world.event("n", 8)) == [True, 7, 8]


@pytest.mark.parametrize("name", ["n", None])
def test_a_handler_has_what_a_waiter_gives_back(name: str | None) -> None:
    """It is there since the waiter was handed the event, or it is the dynamic one."""

    @workflow.define
    async def racing() -> list[Any]:
        waiter: asyncio.Task[int]
        found: list[Any] = []

        async def canceller() -> None:
            await workflow.wait_for_event("go")
            workflow.on_signal(name, lambda *given: found.append(given[-1]))
            waiter.cancel()

        other = asyncio.create_task(canceller())
        await asyncio.sleep(0)
        waiter = asyncio.create_task(workflow.wait_for_event("n", int))
        await asyncio.wait([other, waiter])
        await workflow.wait_until(lambda: found)
        return found

    world = World(racing)
    world.start()
    SETTLES[EventReceived](world.runner._runtime, EventReceived("go", b"1"))
    assert world.result(world.event("n", 7)) == [7]


def test_waiters_are_served_in_order_and_a_cancelled_one_is_passed_over() -> None:
    @workflow.define
    async def three() -> list[Any]:
        tasks = [asyncio.create_task(workflow.wait_for_event("n", int)) for _ in range(3)]
        await asyncio.sleep(1)
        tasks[0].cancel()
        return [await tasks[1], await tasks[2]]

    world = World(three)
    world.start()
    world.fire(1)
    world.event("n", 1)
    assert world.result(world.event("n", 2)) == [1, 2]


def test_polling_leaves_no_waiters_behind() -> None:
    @workflow.define
    async def polls() -> None:
        while True:
            try:
                await workflow.wait_for_event("go", timeout=1)
            except TimeoutError:
                continue

    world = World(polls)
    world.start()
    for id in range(1, 50):
        world.fire(id)
    waiters = world.runner._runtime.part(ExternalEvents)._waiters
    assert sum(map(len, waiters.values())) == 1


def test_conditions_are_asked_again_until_nothing_changes() -> None:
    @workflow.define
    async def chain() -> list[int]:
        seen: list[int] = []

        async def after(n: int) -> None:
            await workflow.wait_until(lambda: len(seen) >= n)
            seen.append(n)

        tasks = [asyncio.create_task(after(n)) for n in (3, 2, 1)]
        seen.append(await workflow.wait_for_event("go", int))
        await asyncio.gather(*tasks)
        return seen

    world = World(chain)
    assert world.start() == []
    assert world.result(world.event("go", 0)) == [0, 1, 2, 3]


def test_a_condition_times_out_and_may_raise() -> None:
    @workflow.define
    async def conditions() -> list[str]:
        found = []
        wrong = False
        try:
            await workflow.wait_until(lambda: False, timeout=2)
        except TimeoutError as error:
            found.append(str(error))

        def broken() -> bool:
            if wrong:
                raise KeyError("gone")
            return False

        task = asyncio.create_task(workflow.wait_until(broken))
        await asyncio.sleep(0)
        wrong = True
        try:
            await task
        except KeyError as error:
            found.append(str(error))
        return found

    world = World(conditions)
    assert world.run() == ["the condition did not hold within 2 s", "'gone'"]
    world.replay()


@pytest.mark.parametrize("looks", [0, 1, 2])
@pytest.mark.parametrize("error", [StopIteration, type("Stops", (StopIteration,), {})])
def test_a_predicate_that_stops_an_iteration_raises_as_python_says_it(
    error: type[StopIteration], looks: int
) -> None:
    @workflow.define
    async def waits() -> str:
        left = looks

        def holds() -> bool:
            nonlocal left
            left -= 1
            if left < 0:
                raise error(7)
            return False

        async def more() -> None:
            for _ in range(3):
                await workflow.sleep(0.001)

        task = asyncio.create_task(more())
        try:
            await workflow.wait_until(holds)
        except RuntimeError as raised:
            await task
            return f"{raised}, {type(raised.__cause__).__name__}"
        return "nothing"

    world = World(waits)
    assert world.run() == f"coroutine raised StopIteration, {error.__name__}"
    world.replay()


def test_a_predicate_may_not_ask_for_anything() -> None:
    @workflow.define
    async def asks() -> str:
        try:
            await workflow.wait_until(lambda: workflow.set_status(1))
        except RuntimeError as error:
            return str(error)
        return ""

    assert "may only read and compute" in World(asks).run()


def test_a_payload_decodes_by_its_type() -> None:
    @workflow.define
    async def typed() -> list[str]:
        review = await workflow.wait_for_event("review", Review)
        names = await workflow.wait_for_event("names", list[str] | None)
        return [type(review).__name__, *names]

    world = World(typed)
    world.start()
    world.event("review", Review(True))
    assert world.result(world.event("names", ["x"])) == ["Review", "x"]
    assert PAYLOADS.encode(Review(True)) == b'{"approved":true,"by":"nobody"}'


@workflow.define
async def minds_other_things() -> None:
    await workflow.wait_for_event("go", bool)


@workflow.define
async def handles() -> None:
    seen: list[int] = []
    workflow.on_signal("n", seen.append)
    await workflow.wait_for_event("go", bool)


@workflow.define
async def handles_slowly() -> None:
    async def handle(value: int) -> None:
        await workflow.wait_for_event("go", bool)

    workflow.on_signal("n", handle)
    await workflow.wait_for_event("go", bool)


def calls_of_a_replay(code: Any, events: int) -> int:
    """Return how many functions a replay calls, Python's and those of C."""
    world, count = World(code), 0
    world.start()
    for n in range(events):
        assert world.event("n", n) == []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        world.replay()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("code", [minds_other_things, handles, handles_slowly])
def test_a_replay_takes_as_long_as_its_history(code: Any) -> None:
    few, more, most = (calls_of_a_replay(code, n) for n in (100, 200, 400))
    assert most - more < 3 * (more - few)  # twice as much, and four times if it grew as a square
