"""Temporal: samples-python, hello/, what talks with an open run."""

from __future__ import annotations

import asyncio

from processor import (
    workflow,
)
from processor.testing import Environment

# --- hello/query


@workflow.define
class Asked:
    def __init__(self) -> None:
        self.said = ""

    @workflow.run
    async def run(self, name: str) -> None:
        self.said = f"Hello, {name}!"
        await asyncio.sleep(2)
        self.said = f"Goodbye, {name}!"

    @workflow.query
    def greeting(self) -> str:
        return self.said


def test_query() -> None:
    """hello/query: 20 lines, theirs 39. A run answers while it goes on, and after its end."""

    async def main() -> None:
        async with Environment([Asked]) as env:
            handle = await env.start(Asked.run, "World")
            assert await handle.query(Asked.greeting) == "Hello, World!"
            await handle.result()
            assert await handle.query(Asked.greeting) == "Goodbye, World!"

    asyncio.run(main())


# --- hello/signal


@workflow.define
class Receptionist:
    def __init__(self) -> None:
        self.guests: asyncio.Queue[str] = asyncio.Queue()
        self.closing = False

    @workflow.run
    async def run(self) -> list[str]:
        greetings = []
        while True:
            await workflow.wait_until(lambda: not self.guests.empty() or self.closing)
            while not self.guests.empty():
                greetings.append(f"Hello, {self.guests.get_nowait()}!")
            if self.closing:
                return greetings

    @workflow.signal
    async def arrive(self, name: str) -> None:
        await self.guests.put(name)

    @workflow.signal
    def close(self) -> None:
        self.closing = True


def test_signal() -> None:
    """hello/signal: 29 lines, theirs 50. Signals fill a queue until one says that it is over."""

    async def main() -> None:
        async with Environment([Receptionist]) as env:
            handle = await env.start(Receptionist.run)
            for name in ("Ada", "Bob"):
                await handle.signal(Receptionist.arrive, name)
            await handle.signal(Receptionist.close)
            assert await handle.result() == ["Hello, Ada!", "Hello, Bob!"]

    asyncio.run(main())


# --- hello/update


@workflow.define
class Updated:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_until(lambda: self.done)
        return "Hello, World!"

    @workflow.update
    async def finish(self, word: str) -> str:
        self.done = True
        return f"{word} is done"


def test_update() -> None:
    """hello/update: 19 lines, theirs 39. Who updates a run gets an answer."""

    async def main() -> None:
        async with Environment([Updated]) as env:
            handle = await env.start(Updated.run)
            assert await handle.update(Updated.finish, "it") == "it is done"
            assert await handle.result() == "Hello, World!"

    asyncio.run(main())
