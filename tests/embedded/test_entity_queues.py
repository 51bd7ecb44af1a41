"""Entities for which much waits: what that costs, and what changed code meets of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import Client, Settings, Worker, activity, entity
from processor.codec.records import encode
from processor.core.records.snapshot import EntityDelta, Snapshot
from processor.testing import Environment
from tests.embedded.inside import records_in

HELD: set[str] = set()


@activity.define
async def hold(name: str) -> None:
    while name in HELD:
        await asyncio.sleep(0.001)


@entity.define
class Tally:
    left: int = 0

    async def slow(self, name: str) -> None:
        await hold(name)

    async def count_down(self, amount: int) -> int:
        await asyncio.sleep(0)
        self.left -= amount
        return self.left

    @entity.read
    def total(self) -> int:
        return self.left


def worker(path: Path, cls: Any = Tally, **settings: Any) -> Worker:
    return Worker(
        f"embedded:{path}", activities=[hold], entities=[cls], settings=Settings(**settings)
    )


def test_what_waits_is_not_written_with_each_operation_that_ends(tmp_path: Path) -> None:
    """So the log grows with the operations, and not with how many wait for each of them."""

    async def main(path: Path, count: int) -> int:
        HELD.add("a")
        async with worker(path), Client(f"embedded:{path}") as client:
            ada = client.entity(Tally, "ada")
            await ada.signal(Tally.slow, "a")
            await asyncio.gather(*[ada.signal(Tally.count_down, 1) for _ in range(count)])
            HELD.clear()
            await ada.call(Tally.count_down, 1)
            assert await ada.call(Tally.total) == -count - 1
        return sum(len(encode(each)) for each in records_in(path))

    few, many = (asyncio.run(main(tmp_path / str(count), count)) / count for count in (40, 400))
    assert many < 1.3 * few, (few, many)


@pytest.mark.parametrize("cached", [0, 100])
def test_code_that_changes_meets_no_operation_that_has_ended(tmp_path: Path, cached: int) -> None:
    """Also while others still wait, and the snapshot is older than those that have ended."""
    server, settings = f"embedded:{tmp_path}", {"cached_runs_max": cached, "shutdown_s": 0}

    async def begin() -> None:
        HELD.update("ab")
        async with worker(tmp_path, **settings), Client(server) as client:
            ada = client.entity(Tally, "ada")
            for name in "ab":
                await ada.signal(Tally.slow, name)
                for _ in range(20):
                    await ada.signal(Tally.count_down, 1)
            HELD.remove("a")
            while await ada.call(Tally.total) > -20:
                await asyncio.sleep(0.01)

    @entity.define(name="Tally")
    class Changed:
        left: int = 0

        async def slow(self, name: str) -> None:
            await hold(name)

        async def count_down(self, amount: int) -> None:
            self.left -= 100 * amount

    async def go_on() -> None:
        HELD.clear()
        async with worker(tmp_path, Changed, **settings), Client(server) as client:
            ada = client.entity(Changed, "ada")
            await ada.call(Changed.count_down, 0)
            state = await ada.state()
            assert state is not None and state.left == -20 - 2_000

    asyncio.run(begin())
    settled = [each for each in records_in(tmp_path) if isinstance(each, EntityDelta | Snapshot)]
    assert isinstance(settled[-1], EntityDelta), "operations have ended since the last snapshot"
    asyncio.run(go_on())


@entity.define(history=1)
class Steps:
    last: int = 0

    async def step(self, number: int, text: str) -> None:
        await hold(str(number))
        self.last = number

    @entity.read
    def reached(self) -> int:
        return self.last


def test_what_ended_last_is_kept_while_others_wait(tmp_path: Path) -> None:
    server, settings = f"embedded:{tmp_path}", {"cached_runs_max": 0, "shutdown_s": 0}
    text = "x" * 200  # so the snapshot, with its queue, is longer than a few turns after it

    async def begin() -> None:
        HELD.update(("1", "5"))
        async with worker(tmp_path, Steps, **settings), Client(server) as client:
            ada = client.entity(Steps, "ada")
            for number in range(20):
                await ada.signal(Steps.step, number, text)
            HELD.remove("1")
            while await ada.call(Steps.reached) < 4:
                await asyncio.sleep(0.01)

    async def kept() -> list[Any]:
        async with worker(tmp_path, Steps, **settings), Client(server) as client:
            return [each.arguments for each in await client.entity(Steps, "ada").history()]

    asyncio.run(begin())
    settled = [each for each in records_in(tmp_path) if isinstance(each, EntityDelta | Snapshot)]
    assert isinstance(settled[-1], EntityDelta), "operations have ended since the last snapshot"
    assert asyncio.run(kept()) == [[4, text]]
    HELD.clear()


@entity.define
class Large:
    async def pause(self) -> None:
        await asyncio.sleep(10)

    def text(self, size: int) -> str:
        return "x" * size

    def leave(self) -> None:
        raise SystemExit


def test_results_that_are_too_large_for_one_turn_are_given_in_several() -> None:
    async def main() -> None:
        async with Environment([], entities=[Large]) as env:
            large = env.entity(Large, "l")
            first = asyncio.ensure_future(large.call(Large.pause))
            await env.sleep(1)
            calls = [large.call(Large.text, 600_000) for _ in range(30)]
            assert [len(each) for each in await asyncio.gather(*calls)] == [600_000] * 30
            assert first.done()

    asyncio.run(main())


def test_what_an_entity_had_not_done_when_it_parked_is_told() -> None:
    async def main() -> None:
        async with Environment([], entities=[Large]) as env:
            large = env.entity(Large, "l")
            await large.signal(Large.pause)
            for operation in (Large.leave, Large.pause, Large.pause):
                await large.signal(operation)
            await env.sleep(20)
            found = await large.describe()
            assert found.status == "parked"
            assert found.pending["unread"] == {"leave": 1, "pause": 2}

    asyncio.run(main())
