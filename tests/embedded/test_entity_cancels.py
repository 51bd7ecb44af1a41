"""The operation that runs is cancelled, and its entity goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from processor import Client, Settings, UpdateFailed, Worker, activity, entity, workflow
from processor.testing import Environment

TIDIED: list[str] = []


@activity.define
async def tidy(name: str) -> None:
    TIDIED.append(name)


@entity.define
class Press:
    printed: int = 0

    async def run(self, pages: int, patient: bool = False) -> int:
        self.printed += pages
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            await tidy(f"{pages}")
            if patient:
                self.printed += 100
                return self.printed
            raise
        return self.printed

    def turn(self) -> int:
        self.printed += 1
        return self.printed


@workflow.define
async def asks(key: str) -> list[Any]:
    called = asyncio.create_task(workflow.call_entity(Press.run, key, 5))
    await asyncio.sleep(0.1)
    told = [await workflow.cancel(f"@Press@{key}") for _ in range(2)]
    try:
        await called
    except UpdateFailed as error:
        told.append(isinstance(error.__cause__, asyncio.CancelledError))
    told.append(await workflow.cancel(f"@Press@{key}"))
    return [*told, await workflow.call_entity(Press.turn, key)]


Serving = Callable[[Callable[[Any], Awaitable[None]]], None]


@pytest.fixture(params=["cached", "evicted"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Serving:
    def serve(test: Callable[[Any], Awaitable[None]]) -> None:
        code: dict[str, Any] = {"activities": [tidy], "entities": [Press]}

        async def main() -> None:
            server = f"embedded:{tmp_path}"
            settings = Settings(cached_runs_max=0 if request.param == "evicted" else 100)
            async with Worker(server, **code, settings=settings), Client(server) as client:
                await test(client)

        TIDIED.clear()
        asyncio.run(main())

    return serve


async def cancelled(press: Any) -> None:
    """Cancel the operation of a press, once one runs."""
    for _ in range(500):
        if await press.cancel("paper jam"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing runs")


def test_the_caller_hears_of_it_and_the_next_operation_begins(serving: Serving) -> None:
    async def test(client: Client) -> None:
        press = client.entity(Press, "one")
        assert not await press.cancel(), "nobody has called it"
        first = asyncio.create_task(press.call(Press.run, 7))
        await cancelled(press)
        turns = asyncio.create_task(press.call(Press.turn))
        with pytest.raises(UpdateFailed, match="paper jam") as caught:
            await first
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert await turns == 1, "its fields are restored"
        assert TIDIED == ["7"], "it is awaited to its end"
        assert not await press.cancel(), "nothing runs"
        assert await press.call(Press.turn) == 2, "what follows is not cancelled"
        run = await press.describe()
        assert run.cancel_reason is None

    serving(test)


def test_an_operation_may_go_on_to_an_end_of_its_own(serving: Serving) -> None:
    async def test(client: Client) -> None:
        press = client.entity(Press, "one")
        first = asyncio.create_task(press.call(Press.run, 7, True))
        await cancelled(press)
        assert await first == 107
        assert await press.call(Press.turn) == 108

    serving(test)


@pytest.mark.parametrize("cached", [0, 100])
def test_a_workflow_cancels_and_hears_of_it(cached: int) -> None:
    async def main() -> None:
        code: dict[str, Any] = {"activities": [tidy], "entities": [Press]}
        async with Environment([asks], **code, max_cached_runs=cached) as env:
            *told, is_cancelled, again, turned = await env.run(asks, "one")
            assert (told[0], is_cancelled, again, turned) == (True, True, False, 1)

    TIDIED.clear()
    asyncio.run(main())
    assert TIDIED == ["5"], "the clean-up is not cancelled by the second request"
