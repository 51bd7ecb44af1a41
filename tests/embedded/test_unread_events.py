"""Events that a run's code does not take: so many are kept, and the next one is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from processor import Client, CommandRejected, Handle, Settings, Status, Worker, workflow

FULL = (
    r"run \w+ of 'deaf' has 5 events that its code has not taken \(unread_events_max\): event 'e' "
    "was not taken. Send it again when the code has taken some"
)


@workflow.define
async def deaf() -> list[int]:
    await workflow.wait_for_event("now")
    return [await workflow.wait_for_event("e", int) for _ in range(6)]


@workflow.define
async def broken() -> None:
    raise ValueError("a bug")


@workflow.define
async def trips(takes: int) -> None:
    """Park in the turn in which it has taken some of the events that came before."""
    await workflow.wait_for_event("trip")
    for _ in range(takes):
        await workflow.wait_for_event("e")
    raise ValueError("a bug")


@workflow.define
async def counts(to: int) -> int:
    for _ in range(to):
        await workflow.wait_for_event("e")
    return to


@workflow.define
async def sends(to: str, count: int) -> None:
    for number in range(count):
        workflow.signal(to, "e", number)


async def _fill(handle: Handle, accepted: int) -> None:
    for number in range(accepted):
        await handle.raise_event("e", number)
    for _ in range(2):
        with pytest.raises(CommandRejected, match="5 events that its code has not taken"):
            await handle.raise_event("e", 5)


@workflow.define
class Takes:
    def __init__(self) -> None:
        self.taken: list[int] = []

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_until(lambda: len(self.taken) == 12)
        return sum(self.taken)

    @workflow.signal
    def take(self, number: int) -> None:
        self.taken.append(number)


@pytest.mark.parametrize("cached", [0, 100])
def test_what_a_handler_has_taken_does_not_wait(tmp_path: Path, cached: int) -> None:
    server = f"embedded:{tmp_path}"
    settings = Settings(unread_events_max=5, cached_runs_max=cached)

    async def main() -> None:
        async with Worker(server, workflows=[Takes], settings=settings), Client(server) as client:
            handle = await client.start(Takes.run, id="a")
            for number in range(12):
                await handle.signal(Takes.take, number)
            assert await handle.result() == sum(range(12))

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, 100])
def test_the_bound_holds_through_replay_and_takeover(tmp_path: Path, cached: int) -> None:
    server = f"embedded:{tmp_path}"
    settings = Settings(unread_events_max=5, cached_runs_max=cached)

    async def main() -> None:
        async with Worker(server, workflows=[deaf], settings=settings), Client(server) as client:
            await _fill(await client.start(deaf, id="a"), 5)
        async with Worker(server, workflows=[deaf], settings=settings), Client(server) as client:
            handle = client.handle("a")
            with pytest.raises(CommandRejected, match=FULL):
                await handle.raise_event("e", 5)
            with pytest.raises(CommandRejected, match="event 'now' was not taken"):
                await handle.raise_event("now", None)
            await handle.terminate("it is full")

    asyncio.run(main())


def test_a_parked_run_takes_as_many(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    settings = Settings(unread_events_max=5)

    async def main() -> None:
        async with Worker(server, workflows=[broken], settings=settings), Client(server) as client:
            handle = await client.start(broken, id="a")
            assert (await handle.describe()).status is Status.PARKED
            await _fill(handle, 5)

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, 100])
@pytest.mark.parametrize("takes", [0, 2])
def test_what_came_before_a_run_was_parked_counts_on(
    tmp_path: Path, takes: int, cached: int
) -> None:
    """Code that is parked begins the turn again, so what it took in that turn is not taken."""
    server = f"embedded:{tmp_path}"
    settings = Settings(unread_events_max=5, cached_runs_max=cached)

    async def full(handle: Handle) -> None:
        with pytest.raises(CommandRejected, match="has 5 events that its code has not taken"):
            await handle.raise_event("e", 5)
        assert (await handle.describe()).pending["unread"] == {"e": 4, "trip": 1}

    async def park() -> None:
        async with Worker(server, workflows=[trips], settings=settings), Client(server) as client:
            handle = await client.start(trips, takes, id="a")
            for number in range(3):
                await handle.raise_event("e", number)
            await handle.raise_event("trip")
            assert (await handle.describe()).status is Status.PARKED
            await handle.raise_event("e", 3)
            await full(handle)

    async def look_again() -> None:
        async with Worker(server, workflows=[trips], settings=settings), Client(server) as client:
            await full(client.handle("a"))

    asyncio.run(park())
    asyncio.run(look_again())


def test_events_that_are_taken_do_not_count(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    settings = Settings(unread_events_max=5)

    async def main() -> None:
        async with Worker(server, workflows=[counts], settings=settings), Client(server) as client:
            handle = await client.start(counts, 30, id="a")
            for number in range(30):
                await handle.raise_event("e", number)
            assert await handle.result() == 30

    asyncio.run(main())


def test_messages_of_other_workflows_count_as_well(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    settings = Settings(unread_events_max=5)

    async def main() -> None:
        async with (
            Worker(server, workflows=[deaf, sends], settings=settings),
            Client(server) as client,
        ):
            handle = await client.start(deaf, id="a")
            await client.run(sends, "a", 8, id="b")
            with pytest.raises(CommandRejected, match="5 events"):
                await handle.raise_event("now", None)

    asyncio.run(main())
