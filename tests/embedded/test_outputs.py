"""A run that is terminated with an output: who gets it, and what nobody gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ChildFailed,
    PayloadTooLarge,
    RetryPolicy,
    SchemaMismatch,
    Status,
    WorkflowFailed,
    WorkflowNotFound,
    WorkflowTerminated,
    sync,
    workflow,
)
from processor.codec.payloads import JsonPayloads
from processor.core.records.answers import Closed
from processor.failures import exception_of, failure_of
from processor.testing import Environment
from processor.workflow._outcomes import terminated

from .family import CACHED, types_of


@dataclass
class Paid:
    euros: int


@workflow.define
async def waits() -> str:
    return await workflow.wait_for_event("go", str)


@workflow.define
async def calls() -> str:
    return await workflow.call_child(waits, id="child")


@workflow.define
async def catches() -> list[Any]:
    try:
        return [await workflow.call_child(waits, id="child")]
    except ChildFailed as error:
        cause = error.__cause__
        assert isinstance(cause, WorkflowTerminated)
        return [error.kind, cause.reason, cause.output]


@workflow.define
async def asks() -> list[Any]:
    try:
        return [await workflow.handle("child").result()]
    except WorkflowTerminated as error:
        return [error.reason, error.output]


OURS = [waits, calls, catches, asks]


async def ended(handle: Any) -> WorkflowTerminated:
    with pytest.raises(WorkflowTerminated) as raised:
        await handle.result()
    return raised.value


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ({"paid": 3}, {"paid": 3}),
        (Paid(3), {"euros": 3}),
        ([], []),
        (0, 0),
        (False, False),
        ("", ""),
        (None, None),
    ],
)
def test_who_waits_gets_the_output(output: Any, told: Any) -> None:
    async def main() -> None:
        async with Environment(OURS) as env:
            handle = await env.start(waits, id="w")
            assert await handle.terminate("by hand", output=output)
            error = await ended(handle)
            assert (error.reason, error.output) == ("by hand", told)
            assert (await handle.describe()).result == told
            assert (await handle.describe()).status is Status.TERMINATED
            types = [event.type for event in await handle.history()][1:]
            given = ["OutputSet"] if output is not None else []
            assert types == [*given, "WorkflowTerminated"]
            assert not await handle.terminate("again", output="another")
            assert (await ended(handle)).output == told, "the first word counts"

    asyncio.run(main())


def test_an_output_that_cannot_be_sent_is_refused_at_the_call() -> None:
    async def main() -> None:
        async with Environment(OURS) as env:
            handle = await env.start(waits, id="w")
            with pytest.raises(SchemaMismatch, match="terminate: output: "):
                await handle.terminate(output=object())
            with pytest.raises(PayloadTooLarge, match="terminate: output: "):
                await handle.terminate(output="x" * 10_000_000)
            assert (await handle.describe()).status is Status.RUNNING
            with pytest.raises(WorkflowNotFound):
                await env.handle("nobody").terminate(output=1)

    asyncio.run(main())


@CACHED
def test_a_parent_and_another_instance_get_the_output(cached: int | None) -> None:
    async def main() -> None:
        async with Environment(OURS, max_cached_runs=cached) as env:
            parent = await env.start(catches, id="parent")
            await env.sleep(1)
            asker = await env.start(asks, id="asker")
            await env.sleep(1)
            await env.handle("child").terminate("by hand", output=[1, 2])
            assert await parent.result() == ["terminated", "by hand", [1, 2]]
            assert await asker.result() == ["by hand", [1, 2]]

    asyncio.run(main())


def test_the_output_travels_with_an_error_that_nobody_catches() -> None:
    async def main() -> None:
        async with Environment(OURS) as env:
            parent = await env.start(calls, id="parent")
            await env.sleep(1)
            await env.handle("child").terminate("by hand", output={"paid": 3})
            with pytest.raises(WorkflowFailed) as raised:
                await parent.result()
            failed = raised.value.__cause__
            assert isinstance(failed, ChildFailed)
            cause = failed.__cause__
            assert isinstance(cause, WorkflowTerminated)
            assert (cause.workflow_id, cause.reason, cause.output) == (
                "child",
                "by hand",
                {"paid": 3},
            )
            assert cause.run_id == failed.run_id

    asyncio.run(main())


@pytest.mark.parametrize("recursive", [True, False])
def test_children_end_or_go_on_as_without_an_output(recursive: bool) -> None:
    async def main() -> None:
        async with Environment(OURS) as env:
            parent = await env.start(calls, id="parent")
            await env.sleep(1)
            await parent.terminate(output=7, recursive=recursive)
            await env.sleep(1)
            assert (await ended(parent)).output == 7
            found = (await env.handle("child").describe()).status
            assert found is (Status.TERMINATED if recursive else Status.RUNNING)
            spared = [] if recursive else ["ChildrenSpared"]
            expected = [*spared, "OutputSet", "WorkflowTerminated"]
            assert (await types_of(env, "parent"))[-len(expected) :] == expected

    asyncio.run(main())


def test_no_run_follows_one_that_was_terminated_with_an_output() -> None:
    async def main() -> None:
        async with Environment(OURS) as env:
            again = RetryPolicy(maximum_attempts=3)
            handle = await env.start(waits, id="w", retry=again, cron="* * * * *")
            await env.sleep(90)
            await handle.terminate(output="enough")
            await env.sleep(180)
            assert (await ended(handle)).output == "enough"
            assert (await env.handle("w").describe()).successor is None

    asyncio.run(main())


def test_a_sync_client_gives_an_output(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    with sync.Worker(server, workflows=[waits]), sync.Client(server) as client:
        handle = client.start(waits, id="w")
        assert handle.terminate("by hand", output=["x"])
        with pytest.raises(WorkflowTerminated) as raised:
            handle.result(10)
        assert raised.value.output == ["x"]


def test_what_is_no_json_is_bytes_to_who_reads_it() -> None:
    payloads = JsonPayloads()
    assert terminated("w", Closed("r", "terminated", b"\xff"), payloads).output == b"\xff"
    told = WorkflowTerminated("x", workflow_id="w", run_id="r", reason="y", output={"a": 1})
    again = exception_of(failure_of(told, payloads), payloads)
    assert isinstance(again, WorkflowTerminated)
    assert vars(again).items() >= vars(told).items()
