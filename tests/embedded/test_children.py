"""Children: what comes of them, what is told of them, and what survives restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from processor import (
    ApplicationError,
    ChildFailed,
    Client,
    InvalidArgument,
    Settings,
    Status,
    Worker,
    WorkflowFailed,
    WorkflowNotFound,
    WorkflowParked,
    workflow,
)

from .family import (
    ALL,
    CACHED,
    breaks,
    calls,
    embedded,
    fans_out,
    in_every_way,
    misuses,
    parent,
    passes_event,
    simulated,
    slow,
    starts,
    too_many,
    types_of,
    whose,
)

# --- results and failures -----------------------------------------------------------------------


@CACHED
def test_what_comes_of_a_child_that_is_called(tmp_path: Path, cached: int | None) -> None:
    async def main() -> None:
        async with embedded(tmp_path, cached) as client:
            await check_results(client)
        async with simulated(cached) as env:
            await check_results(env)
            assert not env.dead_letters

    asyncio.run(main())


async def check_results(client: Client) -> None:
    assert await client.run(calls, "ship", id="one") == "shipped A"
    assert await types_of(client, "one") == [
        *("WorkflowStarted", "ChildCalled", "ChildEnded", "WorkflowCompleted"),
    ]
    assert await client.run(calls, "by name", "B") == "shipped B"
    assert await types_of(client, "B") == ["WorkflowStarted", "WorkflowCompleted"]
    told = await client.run(calls, "wrong type", "C")
    assert told.startswith("SchemaMismatch: the result of child workflow 'ship': ")
    basket, owner, run_id = await client.run(starts, "basket", id="starts")
    assert basket == owner == "Ada: egg, egg"
    child = await client.handle("basket").describe()
    assert child.run_id == run_id
    assert child.parent is not None and child.parent.workflow_id == "starts"
    assert child.root == child.parent
    *first, end = await types_of(client, "starts")
    assert first[:5] == [
        "WorkflowStarted",
        "ChildCalled",
        "ChildStarted",
        "MessageSent",
        "CallSent",
    ]
    assert ({*first[5:]}, end) == ({"CallAnswered", "ChildEnded"}, "WorkflowCompleted")


@CACHED
def test_how_a_child_ends_without_a_result(cached: int | None) -> None:
    async def main() -> None:
        async with simulated(cached) as env:
            assert await env.run(calls, "application", "a") == (
                "failed breaks a True: child workflow 'breaks' ('a') failed: Stock: out of stock"
                " <- ApplicationError: out of stock"
            )
            assert (await env.run(calls, "activity", "b")).endswith(
                "failed: ValueError: ValueError: no <- ActivityFailed: ValueError: no"
            )
            told = await env.run(calls, "child", "c")
            assert told.startswith("failed breaks c True: child workflow 'breaks' ('c') failed: ")
            assert "<- ChildFailed: child workflow 'breaks' ('deep') failed: Stock" in told
            assert await env.run(calls, "time-out", "d") == (
                "timed_out slow d True: child workflow 'slow' ('d') timed out"
            )
            handle = await env.start(calls, "slow", "e")
            await env.sleep(1)
            await env.handle("e").terminate("an operator")
            assert await handle.result() == (
                "terminated slow e True: child workflow 'slow' ('e') was terminated: an operator"
            )
            handle = await env.start(calls, "slow", "f")
            await env.sleep(1)
            await env.handle("f").cancel("an operator")
            assert await handle.result() == (
                "cancelled slow f True: child workflow 'slow' ('f') was cancelled: an operator"
            )

    asyncio.run(main())


def test_a_failure_of_a_child_travels_on_with_its_causes() -> None:
    async def main() -> None:
        async with simulated(None) as env:
            with pytest.raises(WorkflowFailed) as raised:
                await env.run(breaks, "child", id="top")
            failed = raised.value.__cause__
            assert isinstance(failed, ChildFailed)
            assert (failed.kind, failed.workflow, failed.id) == ("failed", "breaks", "deep")
            assert failed.run_id == (await env.handle("deep").describe()).run_id
            cause = failed.__cause__
            assert isinstance(cause, ApplicationError)
            assert (cause.type, cause.details) == ("Stock", {"left": 0})

    asyncio.run(main())


@CACHED
def test_an_id_that_is_taken(cached: int | None) -> None:
    async def main() -> None:
        async with simulated(cached) as env:
            await env.start(slow, id="taken")
            told = await env.run(calls, "ship", "taken")
            assert told.startswith("WorkflowAlreadyStarted: workflow id 'taken' is taken by run ")
            assert told.endswith("Give this child another id, or none: it gets one of its own")
            assert await env.run(calls, "ship", "closed") == "shipped A"
            assert await env.run(calls, "ship", "closed") == "shipped A"
            told = await env.run(calls, "rejects", "closed")
            assert "reuse policy is 'reject'. Give this child another id" in told
            with pytest.raises(WorkflowFailed, match="'taken' is taken by run"):
                await env.run(starts, "taken")
            assert (await env.handle("taken").describe()).status is Status.RUNNING

    asyncio.run(main())


@CACHED
def test_a_child_with_a_retry_policy_answers_with_the_end_of_its_chain(cached: int | None) -> None:
    async def main() -> None:
        async with simulated(cached) as env:
            assert await env.run(calls, "retry", "r", id="parent") == "time 3"
            last = await env.handle("r").describe()
            assert last.memo == {"for": "r"}
            assert last.parent is not None and last.parent.workflow_id == "parent"
            assert await env.run(calls, "delay", "d") == "shipped A"

    asyncio.run(main())


@CACHED
def test_parents_and_roots(cached: int | None) -> None:
    async def main() -> None:
        async with simulated(cached) as env:
            found = await env.run(whose, 3, id="top")
            assert [tuple(each) for each in found] == [
                *(("", ""), ("top", "top"), ("at-2", "top"), ("at-1", "top")),
            ]
            deepest = await env.handle("at-0").describe()
            assert deepest.parent is not None and deepest.parent.workflow_id == "at-1"
            assert deepest.root is not None and deepest.root.workflow_id == "top"
            assert (await env.handle("top").describe()).parent is None

    asyncio.run(main())


@CACHED
def test_a_thousand_children(tmp_path: Path, cached: int | None) -> None:
    count = 1_000 if cached is None else 50

    async def main() -> None:
        async with embedded(tmp_path, cached) as client:
            handle = await client.start(fans_out, count, id="many")
            assert await handle.result() == count * (count - 1)
            first = await client.handle(f"{handle.run_id}.1").describe()
            assert first.status is Status.COMPLETED

    asyncio.run(main())


@CACHED
def test_children_are_waited_for_as_tasks_are(cached: int | None) -> None:
    async def main() -> None:
        async with simulated(cached) as env:
            assert await env.run(in_every_way) == [2, [4, 6], "went", 14]

    asyncio.run(main())


# --- what is said -------------------------------------------------------------------------------


def test_a_parent_is_described_with_its_children(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as client:
            handle = await client.start(parent, "slow", "abandon", "wait", id="parent")
            while not (found := (await handle.describe()).pending)["children"]:
                await asyncio.sleep(0.01)
            while not (await handle.describe()).pending["waiting"]:
                await asyncio.sleep(0.01)
            found = (await handle.describe()).pending
            (child,) = found["children"]
            run = await client.handle("child").describe()
            assert child == {
                "id": 1,
                "workflow_id": "child",
                "namespace": None,
                "run_id": run.run_id,
                "workflow": "slow",
                "parent_close": "abandon",
                "cancelled": False,
            }
            assert found["children_open"] == 1
            await handle.terminate()

    asyncio.run(main())


def test_a_child_that_is_registered_nowhere_parks_and_the_test_is_told() -> None:
    async def main() -> None:
        async with simulated(None) as env:
            with pytest.raises(WorkflowParked, match="'nowhere' is not registered") as raised:
                await env.run(calls, "nowhere", "child", id="parent")
            assert raised.value.workflow_id == "child"
            run = await env.handle("parent").describe()
            assert run.pending["children"][0]["workflow_id"] == "child"
            assert (await env.handle("child").describe()).status is Status.PARKED

    asyncio.run(main())


def test_who_waits_for_a_parent_hears_of_a_child_that_is_parked(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as client:
            handle = await client.start(calls, "nowhere", "child", id="parent")
            with pytest.raises(WorkflowParked, match="'nowhere' is not registered") as raised:
                await handle.result(20, parked="raise")
            assert raised.value.workflow_id == "child"

    asyncio.run(main())


def test_too_many_children_park_the_parent_and_it_goes_on_with_more_room(tmp_path: Path) -> None:
    async def begin() -> str:
        server, few = f"embedded:{tmp_path}", Settings(children_open_max=3)
        async with Worker(server, workflows=ALL, settings=few), Client(server) as client:
            handle = await client.start(too_many, id="parent")
            with pytest.raises(WorkflowParked) as raised:
                await handle.result(parked="raise")
            assert (await handle.describe()).pending["children_open"] == 3
            return str(raised.value)

    async def go_on() -> None:
        async with embedded(tmp_path) as client:
            while (await client.handle("parent").describe()).pending["children_open"] < 4:
                await asyncio.sleep(0.01)
            await client.handle("parent").terminate()

    told = asyncio.run(begin())
    assert "has 3 children that have not ended" in told and "children_open_max=3" in told
    asyncio.run(go_on())


@pytest.mark.parametrize(
    ("what", "match"),
    [
        ("option", "there is no option 'unknown'; there are at, attributes, cancellation, delay"),
        ("close", r"parent_close: give one of \('terminate', 'cancel', 'abandon'\), not 'kill'"),
        ("arguments", "too many positional arguments"),
        ("activity", "workflow.call_child: workflow: .* is none: put @workflow.define"),
        ("class", "name the method that is run: Basket.run"),
        ("both", "give delay or at, not both"),
        ("cron", "workflow.call_child: cron: such a child has no end to wait for"),
        ("no cron", "workflow.start_child: cron: 'often': "),
        ("cron and delay", "give one of delay, at and cron"),
        ("id", "workflow.call_child: id: give an id of 1 to 1,000 bytes"),
        ("reuse", "reuse: give one of .*, not 'use-existing'"),
        ("result", "result_type is for workflows named by text"),
    ],
)
def test_what_cannot_be_asked_for_is_a_bug_of_the_code(what: str, match: str) -> None:
    async def main() -> None:
        async with simulated(None) as env:
            with pytest.raises(WorkflowParked, match=match):
                await env.run(misuses, what)

    asyncio.run(main())


def test_outside_of_workflow_code_there_are_no_children() -> None:
    with pytest.raises(RuntimeError, match=r"workflow.call_child\(\) was called outside"):
        workflow.call_child(slow)
    wrong: bool = "no"  # type: ignore[assignment]
    with pytest.raises(InvalidArgument, match="terminate: recursive: give True or False"):
        asyncio.run(Client("embedded:nowhere").handle("a").terminate(recursive=wrong))


# --- restarts -----------------------------------------------------------------------------------


def test_children_and_their_parents_survive_restarts(tmp_path: Path) -> None:
    async def begin() -> None:
        async with embedded(tmp_path) as client:
            await client.start(passes_event, 20, id="parent")
            for number in range(20):
                handle = client.handle(f"waits-{number}")
                while True:
                    try:
                        await handle.describe()
                        break
                    except WorkflowNotFound:
                        await asyncio.sleep(0.01)

    async def go_on() -> None:
        async with embedded(tmp_path) as client:
            for number in range(20):
                await client.handle(f"waits-{number}").raise_event("go", number)
            result = await client.handle("parent").result()
            assert result == list(range(20))

    asyncio.run(begin())
    asyncio.run(go_on())
