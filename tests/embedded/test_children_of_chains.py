"""Children while one run follows another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import Client, InvalidArgument, Status, workflow
from processor.testing import Environment
from tests.embedded.approval import serving

__all__ = ("serving",)


@workflow.define
async def waits(name: str) -> str:
    return await workflow.wait_for_event("go", str)


@workflow.define
async def counts_down(left: int) -> str:
    if left:
        workflow.continue_as_new(left - 1)
    return workflow.info().workflow_id


@workflow.define
async def goes_on(left: int, parent_close: Any) -> str:
    if not left:
        return "done"
    child = await workflow.start_child(waits, "x", id=f"child-{left}", parent_close=parent_close)
    if parent_close != "abandon":
        with pytest.raises(InvalidArgument, match=f"'child-{left}'.*. Await them first, or start"):
            workflow.continue_as_new(left - 1, parent_close)
        child.signal("go", "now")
        await child
    return workflow.continue_as_new(left - 1, parent_close)


@workflow.define
async def parent() -> str:
    return await workflow.call_child(counts_down, 3, id="counts")


def test_a_child_that_goes_on_answers_with_the_end_of_its_chain(serving: Any) -> None:
    async def work(client: Client) -> None:
        assert await client.run(parent, id="p") == "counts"

    serving(work, parent, counts_down)


@pytest.mark.parametrize("parent_close", ["terminate", "cancel", "abandon"])
def test_a_run_goes_on_once_its_children_have_ended(serving: Any, parent_close: str) -> None:
    async def work(client: Client) -> None:
        assert await client.run(goes_on, 2, parent_close, id="p") == "done"
        for number in (1, 2):
            found = await client.handle(f"child-{number}").describe()
            assert found.status.value == ("running" if parent_close == "abandon" else "completed")

    serving(work, goes_on, waits)


@workflow.define
async def counts() -> int:
    return (workflow.info().last_result(int) or 0) + 1


@workflow.define
async def by_the_clock(cancels: bool, parent_close: Any = "terminate") -> str:
    close = {"parent_close": parent_close}
    child = await workflow.start_child(counts, id="clock", cron="* * * * *", **close)
    await workflow.sleep(150)
    if cancels:
        child.cancel("enough")
        try:
            await child
        except asyncio.CancelledError:
            return "cancelled"
    return "left"


@pytest.mark.parametrize("cached", [0, None])
@pytest.mark.parametrize(
    ("cancels", "parent_close", "status"),
    [
        (True, "terminate", Status.CANCELLED),
        (False, "terminate", Status.TERMINATED),
        (False, "cancel", Status.CANCELLED),
        (False, "abandon", Status.RUNNING),
    ],
)
def test_a_child_by_the_clock_is_one_child_with_many_runs(
    cached: int | None, cancels: bool, parent_close: str, status: Status
) -> None:
    async def main() -> None:
        async with Environment([counts, by_the_clock], max_cached_runs=cached) as env:
            told = await env.run(by_the_clock, cancels, parent_close, id="p")
            assert told == ("cancelled" if cancels else "left")
            await env.sleep(1)
            found = await env.handle("clock").describe()
            assert found.status is status
            events = await env.handle("clock").history()
            lineage = events[0].fields["lineage"]
            assert lineage["previous_result"] == 2, "two minutes have passed"
            assert lineage["parent"]["workflow_id"] == "p"
            types = [event.type for event in await env.handle("p").history()]
            assert types.count("ChildEnded") == cancels, "one end, however many runs"

    asyncio.run(main())
