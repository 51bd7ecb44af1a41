"""Values that a run sets, and who waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import (
    Client,
    InvalidArgument,
    PayloadTooLarge,
    SchemaMismatch,
    ValueNotSet,
    WorkflowNotFound,
    workflow,
)
from tests.embedded.approval import serving

__all__ = ("serving",)


@workflow.define
async def shows(count: int) -> str:
    for number in range(count):
        workflow.set_value("progress", number)
        await workflow.wait_for_event("go")
    workflow.set_value("progress", None)
    return "done"


def test_a_value_is_read_and_waited_for_also_after_the_end(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(shows, 2, id="a", delay=0.2)
        waits = [handle.value("progress", result_type=int) for _ in range(5)]
        assert await asyncio.gather(*waits) == [0] * 5
        assert await client.handle("a").value("progress") == 0
        await handle.raise_event("go")
        await handle.raise_event("go")
        assert await handle.result() == "done"
        assert await handle.value("progress") is None
        with pytest.raises(ValueNotSet, match="is completed, and has not set the value 'other'"):
            await handle.value("other")
        with pytest.raises(SchemaMismatch, match="value 'progress' of 'a'"):
            await handle.value("progress", result_type=int)
        with pytest.raises(WorkflowNotFound):
            await client.handle("none").value("progress")

    serving(work, shows)


def test_who_waits_when_the_run_ends_is_told(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(shows, 1, id="a")
        waits = asyncio.create_task(handle.value("other"))
        assert await handle.value("progress") == 0
        with pytest.raises(TimeoutError, match="no value 'more' of 'a' within 0"):
            await handle.value("more", timeout=0.05)
        await handle.terminate()
        with pytest.raises(ValueNotSet, match="is terminated"):
            await waits

    serving(work, shows)


@workflow.define
async def pages(page: int) -> int:
    workflow.set_value("page", page)
    await workflow.wait_for_event("next")
    if page < 3:
        workflow.continue_as_new(page + 1)
    return page


def test_each_newer_value_is_seen_along_a_chain(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(pages, 1, id="a")
        seen = []
        async for page in handle.watch("page", result_type=int):
            seen.append(page)
            await handle.raise_event("next")
        assert seen == [1, 2, 3]
        assert await handle.result() == 3

    serving(work, pages)


@workflow.define(failure_exception_types=[InvalidArgument])
async def too_many(large: bool) -> str:
    if large:
        workflow.set_value("one", "x" * 600_000)
        with pytest.raises(PayloadTooLarge, match="the values of a run have 1,000,000"):
            workflow.set_value("two", "x" * 600_000)
        workflow.set_value("one", "y" * 600_000)
        return "told"
    for number in range(1_000):
        workflow.set_value(f"v{number}", number)
    workflow.set_value("v7", 8)
    workflow.set_value("one more", 1)
    return "set"


def test_a_run_has_so_many_values(serving: Any) -> None:
    async def work(client: Client) -> None:
        assert await client.run(too_many, True, id="a") == "told"
        handle = await client.start(too_many, False, id="b")
        with pytest.raises(Exception, match="has 1,000 values already"):
            await handle.result()

    serving(work, too_many)
