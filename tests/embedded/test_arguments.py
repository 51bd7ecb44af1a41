"""Whatever a user passes to a client: it is taken, or refused at the call by an error of ours."""

from __future__ import annotations

import asyncio
import functools
import math
import random
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import Client, InvalidArgument, ProcessorError, Worker, workflow
from processor.codec.records import encode
from processor.core.inputs import ClientCommand
from processor.embedded.ports import MemoryInbox

Call = Callable[[Client, Any], Awaitable[Any]]


@workflow.define
async def returns(value: Any = None) -> Any:
    return value


@workflow.define
async def waits() -> None:
    await workflow.wait_for_event("go")


class Text(str):
    """Text that is another one whenever somebody looks."""

    def __str__(self) -> str:
        return "\udc80"

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        raise RuntimeError("no")


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __hash__ = __bool__ = __len__ = __repr__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


ODD: list[Any] = [
    *(None, True, 0, 1, -1, 5, 2**31, 2**63, -(2**64), 0.5, math.nan, math.inf, -math.inf, 1e17),
    *("", "a", "\udc80", "x\x00\n\x1b", "é" * 501, "x" * 1_000_001, "1", Text("t"), b"", b"\xff"),
    *(timedelta(0), timedelta(days=-1), timedelta(microseconds=1), timedelta.max),
    *(datetime(2026, 1, 1, tzinfo=UTC), uuid.UUID(int=0), (), [], {}, [1], {"a": 1}, {1: 2}),
    *(object(), type, ValueError("v"), Broken(), lambda: 0, returns, waits, ["\udc80"]),
    *("allow", "use-existing", "terminate", "raise", "running"),
]
DEEP: list[Any] = functools.reduce(lambda inner, _: [inner], range(1_100), [])


async def listed(client: Client, **how: Any) -> None:
    async for _ in client.list(**how):
        pass


CALLS: dict[str, Call] = {
    "start: workflow": lambda c, odd: c.start(odd),
    "start: id": lambda c, odd: c.start(returns, id=odd),
    "start: reuse": lambda c, odd: c.start(returns, id="a", reuse=odd),
    "start: conflict": lambda c, odd: c.start(returns, id="a", conflict=odd),
    "start: execution_timeout": lambda c, odd: c.start(returns, execution_timeout=odd),
    "start: memo": lambda c, odd: c.start(returns, memo=odd),
    "start: timeout": lambda c, odd: c.start(returns, timeout=odd),
    "argument": lambda c, odd: c.start(returns, odd),
    "run: workflow": lambda c, odd: c.run(odd, timeout=0.01),
    "run: id": lambda c, odd: c.run(returns, id=odd),
    "run: timeout": lambda c, odd: c.run(returns, timeout=odd),
    "run: parked": lambda c, odd: c.run(returns, parked=odd),
    "run: execution_timeout": lambda c, odd: c.run(returns, execution_timeout=odd),
    "handle: id": lambda c, odd: c.handle(odd).describe(),
    "handle: run_id": lambda c, odd: c.handle("done", odd).describe(),
    "handle: workflow": lambda c, odd: c.handle("done", workflow=odd).describe(),
    "list: status": lambda c, odd: listed(c, status=odd),
    "list: workflow": lambda c, odd: listed(c, workflow=odd),
    "list: limit": lambda c, odd: listed(c, limit=odd),
    "raise_event: name": lambda c, odd: c.handle("open").raise_event(odd),
    "event": lambda c, odd: c.handle("open").raise_event("e", odd),
    "cancel: reason": lambda c, odd: c.handle("done").cancel(odd),
    "terminate: reason": lambda c, odd: c.handle("done").terminate(odd),
    "result: timeout": lambda c, odd: c.handle("done").result(odd),
    "result: parked": lambda c, odd: c.handle("done").result(1, parked=odd),
    "history": lambda c, odd: c.handle(odd).history(),
}
HOW = ("id", "reuse", "conflict", "execution_timeout", "memo", "timeout", "parked")


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[ClientCommand]:
    """What was put into the inbox of the shard; each command was one that can be written down."""
    commands: list[ClientCommand] = []
    submit = MemoryInbox.submit

    def noted(self: MemoryInbox, command: ClientCommand) -> None:
        encode(command)
        commands.append(command)
        submit(self, command)

    monkeypatch.setattr(MemoryInbox, "submit", noted)
    return commands


def with_client(path: Path, talk: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        server = f"embedded:{path}"
        worker = Worker(server, workflows=[returns, waits])
        async with worker, Client(server) as client, asyncio.timeout(120):
            await client.run(returns, id="done")
            await client.start(waits, id="open")
            await talk(client)
            assert await client.run(returns, 7) == 7, "the shard goes on"

    asyncio.run(main())


async def outcome(call: Call, client: Client, odd: Any = None) -> Exception | None:
    """Return the error of a call, which has to be ours."""
    try:
        await call(client, odd)
    except (ProcessorError, TimeoutError) as error:
        str(error).encode()
        return error
    return None


def test_every_argument_of_the_client_takes_or_refuses_every_odd_value(
    tmp_path: Path, reached: list[ClientCommand]
) -> None:
    async def talk(client: Client) -> None:
        for name, call in CALLS.items():
            for odd in (*ODD, DEEP):
                try:
                    error = await outcome(call, client, odd)
                except Exception as other:
                    raise AssertionError(f"{name}, {type(odd)}: {other!r}") from other
                if isinstance(error, InvalidArgument) and name != "history":
                    assert name in str(error), "the error names the argument"

    with_client(tmp_path, talk)
    assert len(reached) > 200


def test_random_calls_of_odd_values(tmp_path: Path, reached: list[ClientCommand]) -> None:
    chance = random.Random(13)

    async def talk(client: Client) -> None:
        for _ in range(1_500):
            how = {name: chance.choice(ODD) for name in HOW if chance.random() < 0.3}
            args = [chance.choice((*ODD, DEEP)) for _ in range(chance.randrange(3))]
            what = chance.choice((returns, returns, "returns", chance.choice(ODD)))
            if how.get("timeout") is None and chance.random() < 0.9:
                how["timeout"] = 0.5
            if chance.random() < 0.5:
                how.pop("parked", None)
                await outcome(lambda c, _: c.start(what, *args, **how), client)  # noqa: B023
            else:
                how["timeout"] = 0.05
                await outcome(lambda c, _: c.run(what, *args, **how), client)  # noqa: B023

    with_client(tmp_path, talk)
    assert len(reached) > 100


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda c: c.start(returns, id=uuid.UUID(int=0)), r"start: id: .*str\("),
        (lambda c: c.start(returns, id=""), "start: id: give an id of 1 to"),
        (lambda c: c.start(returns, id="x" * 1_000_000), "1,000,000"),
        (lambda c: c.start(returns, execution_timeout=0), "longer than 0"),
        (lambda c: c.start(returns, reuse="never"), "start: reuse: give one of"),
        (lambda c: c.handle("open").cancel(5), "cancel: reason: give text"),
        (lambda c: c.handle("open").raise_event("\udc80"), "raise_event: name: .*surrogate"),
        (lambda c: c.handle("open").raise_event(""), "raise_event: name: give a name of 1 to"),
        (lambda c: listed(c, limit=0), "list: limit: give a whole number from 1 on, not 0"),
        (lambda c: listed(c, status="gone"), "list: status: give one of running"),
        (lambda c: c.handle("done").result("5"), "result: timeout: .*timedelta or seconds"),
    ],
)
def test_what_is_refused_says_what_to_give(tmp_path: Path, call: Any, text: str) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(InvalidArgument, match=text):
            await call(client)

    with_client(tmp_path, talk)


def test_times_are_seconds_or_timedelta(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        assert await client.run(returns, 1, timeout=timedelta(seconds=20)) == 1
        handle = await client.start(waits, execution_timeout=0.5, timeout=timedelta(seconds=20))
        with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
            await handle.result(timedelta(milliseconds=100))

    with_client(tmp_path, talk)
