"""Children while one run follows another."""

from __future__ import annotations

from typing import Any

import pytest

from processor import Client, InvalidArgument, workflow
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
