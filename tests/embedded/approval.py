"""A class with handlers of all kinds, and runtimes in which tests have it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from processor import ApplicationError, Client, Settings, Worker, activity, workflow
from processor.testing import Environment

__all__ = ("Approval", "echo", "serving")


@activity.define
async def echo(value: str) -> str:
    return value


@workflow.define
class Approval:
    def __init__(self) -> None:
        self.votes: list[str] = []
        self.needed = 3
        self.changed = asyncio.Event()

    @workflow.run
    async def run(self, what: str) -> str:
        await workflow.wait_until(lambda: len(self.votes) >= self.needed)
        return f"{what}: {', '.join(self.votes)}"

    @workflow.signal
    async def vote(self, who: str) -> None:
        self.votes.append(await echo(who))

    @workflow.signal(name="set-needed")
    def set_needed(self, needed: int) -> None:
        self.needed = needed

    @workflow.signal
    def several(self, who: str, times: int = 1) -> None:
        self.votes += [who] * times

    @workflow.signal
    def nobody(self) -> None:
        self.votes.append("nobody")

    @workflow.signal(dynamic=True)
    def other(self, name: str, value: Any) -> None:
        self.votes.append(f"{name}={value}")

    @workflow.query
    def standing(self) -> list[str]:
        return self.votes

    @workflow.query
    def first(self, count: int, prefix: str = "") -> list[str]:
        return [prefix + each for each in self.votes[:count]]

    @workflow.query
    def asks(self) -> None:
        workflow.publish("records", None, 1)

    @workflow.query
    def fails(self) -> None:
        raise ApplicationError("no such thing", type="Missing")

    @workflow.query
    def wakes(self) -> None:
        self.changed.set()
        asyncio.get_running_loop().call_soon(self.votes.clear)

    @workflow.query
    def draws(self) -> list[Any]:
        return [workflow.random().random(), workflow.info().workflow_id]


@pytest.fixture(params=["simulated", "replayed", "cached", "evicted"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Run a test with a client of a runtime: embedded and simulated, with and without a cache."""
    settings = Settings(cached_runs_max=0 if request.param in ("replayed", "evicted") else 100)

    def serve(work: Callable[[Any], Awaitable[None]], *workflows: Any, entities: Any = ()) -> None:
        async def main() -> None:
            given: Any = {"workflows": workflows, "activities": [echo], "settings": settings}
            given["entities"] = entities
            if request.param in ("simulated", "replayed"):
                async with Environment(**given) as client:
                    await work(client)
                return
            server = f"embedded:{tmp_path}"
            worker = Worker(server, **given)
            async with worker, Client(server) as other:
                await work(other)

        asyncio.run(main())

    return serve
