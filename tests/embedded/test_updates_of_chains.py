"""Updates while one run follows another: outcomes belong to the workflow id."""

from __future__ import annotations

from typing import Any

import pytest

from processor import Client, UpdateUnfinished, workflow
from tests.embedded.approval import serving

__all__ = ("serving",)


@workflow.define
class Pages:
    """Goes on as a new run after each page."""

    def __init__(self, page: int) -> None:
        self.next = False

    @workflow.run
    async def run(self, page: int) -> int:
        await workflow.wait_until(lambda: self.next)
        if page < 3:
            workflow.continue_as_new(page + 1)
        return page

    @workflow.update
    def turn(self) -> str:
        self.next = True
        return workflow.info().run_id

    @workflow.update(unfinished="abandon")
    async def never(self) -> None:
        await workflow.wait_until(lambda: False)


def test_a_copy_gets_the_outcome_of_an_earlier_run(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Pages.run, 1, id="a")
        first = await handle.update(Pages.turn, id="one")
        assert first == handle.run_id
        assert await handle.update(Pages.turn, id="one") == first
        second = await handle.update(Pages.turn, id="two")
        assert second != first
        assert await handle.update(Pages.turn, id="one") == first
        unfinished = await handle.start_update(Pages.never, id="never")
        await handle.update(Pages.turn, id="three")
        with pytest.raises(UpdateUnfinished, match="is completed"):
            await unfinished.result()
        assert await handle.result() == 3
        assert await handle.update(Pages.turn, id="two") == second

    serving(work, Pages)
