"""Delayed signals: entities that do something later, also of their own accord."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import Client, CommandRejected, InvalidArgument, Settings, Worker, entity, workflow
from processor.testing import Environment


@entity.define
class Window:
    """Sums up what comes within some time of the first one."""

    open: list[int] = []  # noqa: RUF012  # each object has a copy
    sums: list[int] = []  # noqa: RUF012

    def add(self, amount: int, within_s: float = 0.5) -> None:
        if not self.open:
            workflow.signal_entity(Window.close, entity.info().key, delay=within_s)
        self.open.append(amount)

    def close(self) -> None:
        self.sums.append(sum(self.open))
        self.open.clear()

    async def add_slowly(self, amount: int) -> None:
        await asyncio.sleep(0.01)
        workflow.signal_entity(Window.add, entity.info().key, amount, delay=timedelta(seconds=0.1))
        await asyncio.sleep(0.01)

    def fail(self) -> None:
        workflow.signal_entity(Window.add, entity.info().key, 1_000, delay=0)
        raise ValueError("no")

    def forget(self) -> None:
        entity.delete()

    @entity.read
    def sums_of(self) -> list[int]:
        return self.sums


@workflow.define
async def sender(key: str, at: datetime) -> list[int]:
    workflow.signal_entity(Window.add, key, 3, at=at)
    await workflow.signal_entity("Window.add", key, 4, delay=0.2)
    await asyncio.sleep(1.5)
    return await workflow.call_entity(Window.sums_of, key)


async def sums(client: Client, key: str, count: int) -> list[int]:
    """Return the sums of a key once there are so many."""
    for _ in range(500):
        found = await client.entity(Window, key).call(Window.sums_of)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{key} has {found}")


async def plays(client: Any) -> None:
    ada = client.entity(Window, "ada")
    await ada.signal(Window.add, 1, 3.0)  # longer than a machine stands still
    await ada.signal(Window.add, 2)
    assert await ada.call(Window.sums_of) == []
    run = await ada.describe()
    (timer,) = run.pending["timers"]
    assert timer["signal"] == "close"
    assert await sums(client, "ada", 1) == [3]
    await ada.call(Window.add_slowly, 5)
    assert await sums(client, "ada", 2) == [3, 5], "an operation's end does not cancel it"
    soon = datetime.now(UTC) - timedelta(days=1)
    assert await client.run(sender, "bob", soon, id="s") == [7]


@pytest.mark.parametrize("cached", [0, 100])
def test_signals_arrive_when_they_are_due(tmp_path: Path, cached: int) -> None:
    async def main() -> None:
        server, settings = f"embedded:{tmp_path}", Settings(cached_runs_max=cached)
        code: dict[str, Any] = {"workflows": [sender], "entities": [Window]}
        async with Worker(server, **code, settings=settings), Client(server) as client:
            await plays(client)

    asyncio.run(main())


def test_time_passes_at_once_in_an_environment() -> None:
    async def main() -> None:
        async with Environment([sender], entities=[Window]) as env:
            ada = env.entity(Window, "ada")
            await ada.signal(Window.add, 1, delay=timedelta(days=30))
            await ada.signal(Window.add, 2, delay=timedelta(days=30))
            await env.sleep(timedelta(days=30, seconds=1))
            assert await ada.call(Window.sums_of) == [3]

    asyncio.run(main())


def test_a_delayed_signal_outlives_its_process_and_the_state(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def begin() -> None:
        async with Worker(server, entities=[Window]), Client(server) as client:
            ada = client.entity(Window, "ada")
            await ada.signal(Window.add, 1, delay=0.5, key="once")
            await ada.signal(Window.add, 1, delay=0.5, key="once")
            await ada.call(Window.forget)

    async def go_on() -> None:
        async with Worker(server, entities=[Window]), Client(server) as client:
            assert await sums(client, "ada", 1) == [1]
            assert not (await client.entity(Window, "ada").describe()).pending["timers"]

    asyncio.run(begin())
    asyncio.run(go_on())


def test_what_a_plain_operation_asked_for_later_is_lost_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with Environment(entities=[Window]) as env:
            ada = env.entity(Window, "ada")
            await ada.signal(Window.fail)
            await env.sleep(5)
            assert await ada.call(Window.sums_of) == []

    asyncio.run(main())


def test_delayed_signals_have_a_bound(tmp_path: Path) -> None:
    async def main() -> None:
        server, settings = f"embedded:{tmp_path}", Settings(unread_events_max=3)
        async with Worker(server, entities=[Window], settings=settings), Client(server) as client:
            ada = client.entity(Window, "ada")
            for _ in range(3):
                await ada.signal(Window.add, 1, delay=1_000)
            with pytest.raises(CommandRejected, match=r"3 events .*unread_events_max"):
                await ada.signal(Window.add, 1, delay=1_000)
            with pytest.raises(InvalidArgument, match="signal: give delay or at, not both"):
                await ada.signal(Window.add, 1, delay=1, at=datetime.now(UTC))

    asyncio.run(main())
