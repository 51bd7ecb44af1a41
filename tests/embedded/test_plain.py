"""Plain functions (``def``) as workflows and handlers: they compute and send, and cannot wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial, wraps
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    InvalidArgument,
    UpdateRejected,
    UpdateUnfinished,
    WorkflowFailed,
    WorkflowParked,
    activity,
    workflow,
)
from processor.testing import Environment
from tests.embedded.approval import echo, serving

__all__ = ("serving",)


@activity.define
def doubled(number: int) -> int:
    return number * 2


@workflow.define(name="sum")
def add(first: int, second: int = 1) -> int:
    workflow.set_value("first", first)
    if second < 0:
        raise ApplicationError("negative")
    return first + second + workflow.side_effect(lambda: 0)


@workflow.define
class Count:
    def __init__(self) -> None:
        self.heard: list[int] = []

    @workflow.run
    def run(self, extra: int) -> list[int]:
        """A docstring."""
        return [*self.heard, extra]

    @workflow.signal
    def hear(self, number: int) -> None:
        self.heard.append(number)

    @workflow.query
    def count(self) -> int:
        return len(self.heard)

    @workflow.update
    def put(self, *numbers: int) -> int:
        self.heard = [*numbers]
        return len(numbers)

    @put.validator
    def check(self, *numbers: int) -> None:
        if len(numbers) > 2:
            raise ValueError("two at the most")

    @workflow.update
    async def wait(self) -> None:
        await asyncio.sleep(60)


@workflow.define
async def outer() -> list[int]:
    return [
        await add(3, 4),
        await workflow.call_child(add, 5, 6),
        *await workflow.call_child(Count.run, 7),
    ]


@workflow.define
def counts_down(left: int) -> str:
    if left:
        workflow.continue_as_new(left - 1)
    return "none left"


def test_a_plain_function_is_a_workflow_that_ends_in_its_first_turn(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(add, 1, 2, id="a")
        assert await handle.result() == 3
        assert await handle.value("first") == 1
        assert [each.type for each in await handle.history()] == [
            "WorkflowStarted", "ValueSet", "SideEffectRecorded", "WorkflowCompleted",
        ]  # fmt: skip
        with pytest.raises(WorkflowFailed, match="negative"):
            await client.run(add, 1, -1)
        assert await client.run(outer) == [7, 11, 7]
        assert await client.run(counts_down, 3) == "none left"
        assert await client.run("sum", 1) == 2

    serving(work, add, Count, outer, counts_down)


def test_handlers_of_a_plain_run_are_called_before_it_and_answer_after_it(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.signal_with_start(Count.run, 1, id="a", signal=(Count.hear, 5))
        assert await handle.result() == [5, 1]
        assert await handle.query(Count.count) == 1
        assert await client.update_with_start(Count.run, 1, id="b", update=(Count.put, 7, 8)) == 2
        assert await client.handle("b").result() == [7, 8, 1]
        with pytest.raises(UpdateRejected, match="two at the most"):
            await client.update_with_start(Count.run, 1, id="c", update=(Count.put, 7, 8, 9))
        with pytest.raises(UpdateUnfinished):
            await client.update_with_start(Count.run, 1, id="d", update=(Count.wait,))

    serving(work, Count)


def test_a_call_of_it_is_awaited_as_that_of_any_workflow() -> None:
    @workflow.define
    def twice(number: int) -> int:
        return number * 2

    assert asyncio.run(twice(4)) == twice.function(4) == 8
    count = Count()
    count.hear(1)
    assert count.run(2) == [1, 2]
    assert Count.run.__doc__ == "A docstring."


@workflow.define
async def waits() -> None: ...


def _returns() -> Any:
    return doubled(1)


def _sleeps() -> Any:
    return workflow.sleep(1)


def _asleep() -> Any:
    return asyncio.sleep(1)


def _child() -> Any:
    return workflow.start_child(waits)


def _inline() -> Any:
    return waits()


def _asks() -> Any:
    return (workflow.handle("x").query("q"), 5)[1]


def _starts() -> Any:
    return (workflow.signal_with_start(Count.run, 1, id="x", signal=("hear", 1)), 5)[1]


def _promises() -> Any:
    return workflow.promise(int).id


def _by_name() -> Any:
    workflow.call_activity("doubled", 1)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (_returns, "calls activity 'doubled'"),
        (_sleeps, r"calls workflow.sleep\(\)"),
        (_asleep, "returns <coroutine object sleep"),
        (_child, r"calls workflow.start_child\(\)"),
        (_inline, "calls workflow 'waits'"),
        (_by_name, r"calls workflow.call_activity\(\)"),
        (_asks, r"calls workflow.handle\(\).query\(\)"),
        (_starts, r"calls workflow.signal_with_start\(\)"),
        (_promises, r"calls workflow.promise\(\)"),
    ],
)
def test_what_has_to_be_awaited_parks_a_plain_workflow(code: Any, said: str) -> None:
    async def main() -> None:
        async with Environment([workflow.define(code), waits], [doubled]) as env:
            wanted = rf"\(def\) {said}.*make it an `async def`, and await the call"
            with pytest.raises(WorkflowParked, match=wanted):
                await env.run(code.__name__)

    asyncio.run(main())


def test_a_plain_handler_may_begin_tasks_that_wait() -> None:
    @workflow.define
    class Spawns:
        @workflow.run
        async def run(self) -> int:
            await workflow.wait_until(lambda: hasattr(self, "task"))
            return await self.task

        @workflow.signal
        def go(self) -> None:
            self.task = asyncio.ensure_future(doubled(4))

    async def main() -> None:
        async with Environment([Spawns], [doubled]) as env:
            handle = await env.start(Spawns.run)
            await handle.signal(Spawns.go)
            assert await handle.result() == 8

    asyncio.run(main())


def test_wrappers_are_what_they_wrap() -> None:
    def logged(function: Any) -> Any:
        @wraps(function)
        def call(*args: Any) -> Any:
            return function(*args)

        return call

    @logged
    async def slow(number: int) -> int:
        await asyncio.sleep(1)
        return number

    @logged
    def quick(number: int) -> int:
        return number

    async def main() -> None:
        async with Environment([workflow.define(slow), workflow.define(quick)]) as env:
            assert await env.run("slow", 1) == 1
            assert await env.run("quick", 2) == 2

    asyncio.run(main())


def test_generators_are_refused_with_what_to_write_instead() -> None:
    def orchestrator(context: Any) -> Iterator[Any]:
        yield context.call_activity("charge")

    async def streams() -> Any:
        yield 1

    for given in (orchestrator, streams):
        for decorator, name in ((workflow.define, "define"), (workflow.run, "run")):
            said = rf"@workflow\.{name}: .*{given.__name__} has a yield, .*`result = await charge"
            with pytest.raises(InvalidArgument, match=said):
                decorator(given)  # type: ignore[operator]
    for other in (partial(echo, 1), "order", 5):
        with pytest.raises(InvalidArgument, match="is no function: put it on a function outside"):
            workflow.define(other)  # type: ignore[call-overload]
