"""What handlers do once the code of their run has returned."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    UpdateFailed,
    UpdateUnfinished,
    WorkflowFailed,
    workflow,
)
from tests.embedded.approval import echo, serving
from tests.embedded.test_handlers import parked

__all__ = ("serving",)


@workflow.define
class Ends:
    """Its handlers wait for what its code does last."""

    def __init__(self) -> None:
        self.done = False
        self.passed = 0

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_for_event("end")
        self.done = True
        return "over"

    async def _end(self) -> None:
        await workflow.wait_until(lambda: self.done)

    @workflow.update
    async def ended(self, what: str) -> str:
        await self._end()
        self.passed += 1
        return f"{what} {self.passed}"

    @workflow.update
    async def after_another(self) -> str:
        await workflow.wait_until(lambda: self.passed > 0)
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(3)))
        return "third"

    @workflow.update
    async def refuses(self) -> None:
        await self._end()
        raise ApplicationError("not any more")

    @workflow.update
    async def too_late(self) -> str:
        await self._end()
        return await echo("never")

    @workflow.update
    async def goes_round(self) -> None:
        await self._end()
        while True:
            await asyncio.sleep(0)

    @workflow.signal
    async def fails(self) -> None:
        await self._end()
        raise ApplicationError("the handler fails")

    @workflow.signal
    async def breaks(self) -> None:
        await self._end()
        raise ValueError("a bug")

    @workflow.query
    def how_many(self) -> int:
        return self.passed


def test_handlers_go_on_once_the_code_has_returned(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Ends.run, id="a")
        third = await handle.start_update(Ends.after_another)
        first = await handle.start_update(Ends.ended, "first")
        second = await handle.start_update(Ends.ended, "second")
        refused = await handle.start_update(Ends.refuses)
        await handle.raise_event("end")
        assert await first.result() == "first 1"
        assert await second.result() == "second 2"
        assert await third.result() == "third"
        with pytest.raises(UpdateFailed):
            await refused.result()
        assert await handle.result() == "over"
        assert await handle.query(Ends.how_many) == 2
        *_, before, last = await handle.history()
        assert (before.type, last.type) == ("UpdateCompleted", "WorkflowCompleted")

    serving(work, Ends)


def test_those_that_wait_for_more_than_that_are_unfinished(
    serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(client: Client) -> None:
        for name in ("too_late", "goes_round"):
            caplog.clear()
            handle = await client.start(Ends.run, id=name)
            waits = await handle.start_update(name)
            done = await handle.start_update(Ends.ended, "done")
            await handle.raise_event("end")
            assert await handle.result() == "over"
            assert await done.result() == "done 1"
            with pytest.raises(UpdateUnfinished):
                await waits.result()
            told = [each.getMessage() for each in caplog.records if "handlers" in each.message]
            assert len(told) == 1
            assert f"('{name}')" in told[0]

    with caplog.at_level(logging.WARNING, "processor.workflow"):
        serving(work, Ends)


def test_their_errors_count_as_they_do_before(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Ends.run, id="fails")
        await handle.signal(Ends.fails)
        await handle.raise_event("end")
        with pytest.raises(WorkflowFailed, match="the handler fails"):
            await handle.result()

    serving(work, Ends)


def test_a_bug_of_theirs_parks_the_run(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Ends.run, id="breaks")
        await handle.signal(Ends.breaks)
        await handle.raise_event("end")
        assert "a bug" in await parked(handle)
        await handle.terminate()

    serving(work, Ends)


@workflow.define
class Pages:
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen
        self.turns = False

    @workflow.run
    async def run(self, seen: list[str]) -> list[str]:
        if len(seen) > 0:
            return seen
        await workflow.wait_for_event("turn")
        self.turns = True
        return workflow.continue_as_new(["turned"])

    @workflow.update
    async def note(self) -> int:
        await workflow.wait_until(lambda: self.turns)
        self.seen.append("lost")
        return len(self.seen)


def test_who_goes_on_as_another_run_gives_them_nothing(serving: Any) -> None:
    """The next run has its arguments by then: what a handler told after that would be lost."""

    async def work(client: Client) -> None:
        handle = await client.start(Pages.run, [], id="a")
        noted = await handle.start_update(Pages.note)
        await handle.raise_event("turn")
        assert await handle.result() == ["turned"]
        with pytest.raises(UpdateUnfinished):
            await noted.result()

    serving(work, Pages)
