"""Sagas: what was done is undone in reverse, whatever ends the block."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    InvalidArgument,
    RetryPolicy,
    Worker,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowParked,
    activity,
    workflow,
)
from processor.testing import Environment

DONE: list[str] = []
TRIED: Counter[str] = Counter()


@activity.define
async def book(what: str) -> str:
    DONE.append(f"book {what}")
    return what


@activity.define(retry=RetryPolicy(maximum_attempts=2, initial_interval=0.01))
async def cancel_booking(what: str) -> None:
    TRIED[what] += 1
    if what == "stuck":
        raise ApplicationError(f"{what} cannot be cancelled")
    DONE.append(f"cancel {what}")


@workflow.define
async def trip(places: list[str], end: str) -> str:
    async with workflow.Saga() as saga:
        for place in places:
            await book(place)
            saga.compensate(cancel_booking, place)
        match end:
            case "fails":
                raise ApplicationError("no money")
            case "waits":
                await workflow.wait_for_event("go")
            case "goes on":
                workflow.continue_as_new([], "well")
    return "booked"


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()
    TRIED.clear()


def play(work: Any, *workflows: Any) -> None:
    async def main() -> None:
        given = workflows or (trip,)
        async with Environment(given, [book, cancel_booking], max_cached_runs=0) as client:
            await work(client)

    asyncio.run(main())


def test_what_ends_well_is_not_undone() -> None:
    async def work(client: Client) -> None:
        assert await client.run(trip, ["a", "b"], "well") == "booked"
        assert await client.run(trip, ["c"], "goes on") == "booked"

    play(work)
    assert DONE == ["book a", "book b", "book c"]


def test_an_error_undoes_all_in_reverse_and_goes_on() -> None:
    async def work(client: Client) -> None:
        with pytest.raises(WorkflowFailed, match="no money"):
            await client.run(trip, ["a", "b", "c"], "fails")

    play(work)
    assert DONE[3:] == ["cancel c", "cancel b", "cancel a"]


def test_a_cancellation_undoes_it_too() -> None:
    async def work(client: Client) -> None:
        handle = await client.start(trip, ["a", "b"], "waits", id="t")
        await handle.cancel("enough")
        with pytest.raises(WorkflowCancelled, match="enough"):
            await handle.result()

    play(work)
    assert DONE[-2:] == ["cancel b", "cancel a"] or DONE == []


def test_all_compensations_are_tried_and_their_errors_come_together() -> None:
    async def work(client: Client) -> None:
        with pytest.raises(WorkflowFailed, match="1 of 3 compensations failed") as failed:
            await client.run(trip, ["a", "stuck", "c"], "fails")
        assert "no money" in repr(failed.value.__cause__.__cause__)

    play(work)
    assert DONE[3:] == ["cancel c", "cancel a"]
    assert TRIED["stuck"] == 2


@workflow.define
async def interrupted() -> list[str]:
    seen: list[str] = []

    async def slowly(what: str) -> None:
        await asyncio.sleep(10)
        seen.append(what)

    async def block() -> None:
        async with workflow.Saga() as saga:
            saga.compensate(slowly, "one")
            saga.compensate(seen.append, "two")
            raise ApplicationError("no")

    task = asyncio.create_task(block())
    await asyncio.sleep(1)
    task.cancel()
    (done,), _ = await asyncio.wait([task])
    return [*seen, "cancelled" if done.cancelled() else "failed"]


def test_compensations_are_not_interrupted_by_a_cancellation() -> None:
    async def work(client: Client) -> None:
        assert await client.run(interrupted) == ["two", "one", "cancelled"]

    play(work, interrupted)


async def yields() -> AsyncIterator[None]:
    yield


RELEASE = ["broken"]


@workflow.define
async def has_a_bug() -> str:
    async with workflow.Saga() as saga:
        await book("a")
        saga.compensate(cancel_booking, "a")
        if RELEASE == ["broken"]:
            raise KeyError("a bug")
        await book("b")
    return "booked"


def test_a_bug_undoes_nothing_and_fixed_code_goes_on_with_the_block(tmp_path: Path) -> None:
    async def work() -> None:
        server = f"embedded:{tmp_path}"
        given: Any = {"workflows": [has_a_bug], "activities": [book, cancel_booking]}
        async with Worker(server, **given), Client(server) as client:
            handle = await client.start(has_a_bug, id="t")
            with pytest.raises(WorkflowParked, match="a bug"):
                await handle.result(parked="raise")
        RELEASE[:] = ["fixed"]
        async with Worker(server, **given), Client(server) as client:
            assert await client.handle("t").result(20) == "booked"

    asyncio.run(work())
    assert DONE == ["book a", "book b"]


@workflow.define(failure_exception_types=[InvalidArgument])
async def wrongly() -> str:
    saga = workflow.Saga()
    with pytest.raises(InvalidArgument, match="use it inside of"):
        saga.compensate(cancel_booking, "x")
    async with saga:
        wrong: Any = cancel_booking("x")
        with pytest.raises(InvalidArgument, match="give what is to be called"):
            saga.compensate(wrong)
        with pytest.raises(InvalidArgument, match="has a yield"):
            saga.compensate(yields)
        await wrong
    return "told"


def test_wrong_calls_are_told() -> None:
    async def work(client: Client) -> None:
        assert await client.run(wrongly) == "told"

    play(work, wrongly)
    with pytest.raises(RuntimeError, match=r"workflow.Saga\(\) was called outside"):
        workflow.Saga()
