"""Queries that do what they may not: they are refused, and the run is as if nobody had asked."""

from __future__ import annotations

import asyncio
import random
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from processor import Client, QueryFailed, Settings, Status, Worker, activity, workflow
from processor.testing import Environment


@activity.define
async def echo(value: str) -> str:
    return value


@workflow.define
class Target:
    """Takes steps; ``ask`` does one of many things that a query may not."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.changed = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None

    @workflow.run
    async def run(self) -> list[Any]:
        self.timer = asyncio.get_running_loop().call_later(5, self.steps.append, "timer")
        await workflow.wait_until(lambda: "end" in self.steps and "timer" in self.steps)
        self.steps.append(random.randint(0, 1 << 40))
        return [*self.steps, await echo("last")]

    @workflow.signal
    async def step(self, what: str) -> None:
        self.steps.append(await echo(what))

    @workflow.query
    def ask(self, what: str) -> Any:
        return ASKS[what](self)


def _caught(self: Target) -> str:
    assert self.timer is not None
    with suppress(RuntimeError):
        self.timer.cancel()
    return "caught"


def _drives(self: Target) -> None:
    waits: Any = workflow.wait_until(lambda: True)
    with suppress(StopIteration):
        waits.send(None)
    workflow.publish("records", None, 1)


def _raises(error: BaseException) -> Any:
    raise error


ASKS: dict[str, Any] = {
    "side effect": lambda self: workflow.side_effect(lambda: 5),
    "timer": lambda self: self.timer.cancel(),
    "caught": _caught,
    "drives": _drives,
    "handler": lambda self: workflow.on_signal("step", print),
    "query": lambda self: workflow.on_query("ask", print),
    "file": lambda self: Path(__file__).read_text(),
    "sleep": lambda self: time.sleep(0.01),
    "wakes": lambda self: (self.changed.set(), asyncio.get_running_loop().call_soon(print)),
    "exit": lambda self: sys.exit(7),
    "interrupt": lambda self: _raises(KeyboardInterrupt()),
    "cancelled": lambda self: _raises(asyncio.CancelledError()),
    "generator exit": lambda self: _raises(GeneratorExit()),
    "stop": lambda self: _raises(StopIteration()),
}
REFUSED = ("side effect", "timer", "caught", "drives", "handler", "query", "file", "sleep", "wakes")
SAID = {
    "exit": "SystemExit: 7",
    "interrupt": "KeyboardInterrupt",
    "cancelled": "CancelledError",
    "generator exit": "GeneratorExit",
    "stop": "StopIteration",
}
"""What whoever asks is told of an error that may have no text."""


async def asks_twice(client: Client, what: str, is_cached: bool) -> None:
    handle = await client.start(Target.run, id=what)
    await handle.signal(Target.step, "one")
    for _ in range(2):
        with pytest.raises(QueryFailed) as refused:
            await handle.query(Target.ask, what)
        if what in REFUSED:
            assert "may only read and compute" in str(refused.value)
        else:
            assert str(refused.value) == f"query 'ask' of {what!r} failed: {SAID[what]}"
    await handle.signal(Target.step, "end")
    if is_cached:
        assert (await handle.describe()).status is Status.RUNNING, what


async def ends_as_if_nobody_had_asked(client: Client, what: str) -> None:
    handle = client.handle(what, workflow=Target.run)
    result = await handle.result(timeout=60)
    assert result[:3] == ["one", "end", "timer"], what
    assert result[-1] == "last"
    if what not in ("timer", "caught"):
        with pytest.raises(QueryFailed):
            await handle.query(Target.ask, what)


@pytest.mark.parametrize("cached", [0, 100])
def test_a_query_changes_nothing_whatever_it_does(tmp_path: Path, cached: int) -> None:
    server = f"embedded:{tmp_path}"
    settings = Settings(cached_runs_max=cached)

    async def main() -> None:
        serving = Worker(server, workflows=[Target], activities=[echo], settings=settings)
        async with serving, Client(server) as client:
            await asyncio.gather(*(asks_twice(client, what, cached > 0) for what in ASKS))
        serving = Worker(server, workflows=[Target], activities=[echo], settings=settings)
        async with serving, Client(server) as client:
            await asyncio.gather(*(ends_as_if_nobody_had_asked(client, what) for what in ASKS))

    asyncio.run(main())


@workflow.define
class Draws:
    def __init__(self) -> None:
        self.drawn: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        for _ in range(3):
            await workflow.wait_for_event("next")
            self.drawn.append([random.random(), uuid.uuid4().hex, workflow.random().random()])
        return self.drawn

    @workflow.query
    def draws(self) -> list[Any]:
        asyncio.get_running_loop().create_future()
        return [random.random(), uuid.uuid4().hex, workflow.uuid4().hex]


@pytest.mark.parametrize("asked", [False, True])
def test_what_a_run_draws_is_the_same_at_replay(tmp_path: Path, asked: bool) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=[Draws]), Client(server) as client:
            handle = await client.start(Draws.run, id="a")
            for _ in range(2):
                await handle.raise_event("next")
                if asked:
                    await handle.query(Draws.draws)
            before = list((await handle.history())[-1].fields.items())
            assert before
        strict = Worker(server, workflows=[Draws], strict_replay=True)
        async with strict, Client(server) as client:
            handle = client.handle("a", workflow=Draws.run)
            await handle.raise_event("next")
            assert len({each for row in await handle.result() for each in row}) == 9

    asyncio.run(main())


@workflow.define
class Leaves:
    """Its handler waits when it ends, and would clean up if it were unwound."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_for_event("end")
        return self.said

    @workflow.signal(unfinished="abandon")
    async def waits(self, what: str) -> None:
        self.said.append(what)
        try:
            await workflow.sleep(1000)
        finally:
            self.said.append("cleaned up")

    @workflow.query
    def all(self) -> list[str]:
        return self.said


def test_a_closed_run_answers_as_it_ended() -> None:
    async def main() -> None:
        async with Environment([Leaves]) as env:
            handle = await env.start(Leaves.run, id="a")
            await handle.signal(Leaves.waits, "one")
            await handle.raise_event("end")
            assert await handle.result() == ["one"]
            assert await handle.query(Leaves.all) == ["one"]
            assert await handle.query(Leaves.all) == ["one"]

    asyncio.run(main())


@workflow.define
async def clings() -> str:
    async def for_ever() -> None:
        while True:
            with suppress(BaseException):
                await asyncio.sleep(1000)

    asyncio.get_running_loop().create_task(for_ever())
    await asyncio.sleep(0.01)
    return "ended"


def test_a_task_that_catches_everything_keeps_no_run_from_ending() -> None:
    async def main() -> None:
        async with Environment([clings]) as env:
            assert await env.run(clings) == "ended"

    asyncio.run(main())
