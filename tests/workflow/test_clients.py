"""A client in workflow code is refused at its line: each replay would send its requests again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from processor import Client, Worker, activity, workflow
from processor.config import Settings
from processor.core.runner import CodeError
from processor.workflow._guard import guard as _guard
from tests.workflow.driver import World

_guard.install()

payments: list[str] = []


@activity.define
async def pay() -> None:
    payments.append("paid")


@workflow.define
async def child() -> None:
    await pay()


async def everything(client: Client) -> None:
    async for _ in client.list():
        pass


CALLS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "start": lambda client: client.start(child, id="payment-1"),
    "run": lambda client: client.run(child),
    "run, with a time-out": lambda client: client.run(child, timeout=1, parked="raise"),
    "list": everything,
    "result": lambda client: client.handle("a").result(),
    "result, with a time-out": lambda client: client.handle("a").result(1, parked="raise"),
    "raise_event": lambda client: client.handle("a").raise_event("go"),
    "cancel": lambda client: client.handle("a").cancel(),
    "terminate": lambda client: client.handle("a").terminate(),
    "describe": lambda client: client.handle("a").describe(),
    "history": lambda client: client.handle("a").history(),
    "opening": lambda client: client.__aenter__(),
}


@pytest.mark.parametrize("server", ["embedded:./nowhere", "127.0.0.1:1"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("guard", ["answer", False])
def test_every_request_is_refused(
    server: str, call: Callable[[Client], Awaitable[Any]], guard: Any
) -> None:
    client = Client(server)
    vars(client._calls.gateway)["_partitions"] = 1  # as after connecting to a broker
    went_on: list[bool] = []

    @workflow.define
    async def asks() -> None:
        try:
            await call(client)
        except Exception:
            await asyncio.sleep(1)
            went_on.append(True)

    world = World(asks, settings=Settings(guard=guard))
    with pytest.raises(CodeError) as caught:
        world.start()
    error = caught.value
    assert error.kind == "nondeterminism" and not went_on
    assert "workflow code called a Client at " in error.error
    assert "workflow.signal()" in error.error and "an activity that uses the client" in error.error
    assert Path(__file__).name in error.where
    assert not world.timers, "a client's timers are no timers of the run"


def test_a_client_is_not_made_in_workflow_code() -> None:
    """Its id would be drawn from the run, and would be that of another process's client."""

    @workflow.define
    async def makes() -> None:
        Client("embedded:./nowhere")

    with pytest.raises(CodeError, match=r"a Client at .*Client\("):
        World(makes).start()


def test_a_workflow_that_starts_another_through_a_client_pays_nothing(tmp_path: Path) -> None:
    """It is parked instead of paying once more at each replay."""
    server, clients = f"embedded:{tmp_path}", []

    @workflow.define
    async def parent() -> None:
        await clients[0].start(child, id="payment-1")
        await workflow.sleep(0.1)

    async def main() -> tuple[str, list[str]]:
        worker = Worker(server, workflows=[parent, child], activities=[pay], max_cached_runs=0)
        async with worker, Client(server) as client:
            clients.append(client)
            handle = await client.start(parent, id="parent")
            await client.run(child, id="payment-2", timeout=10)  # another's request goes through
            status = (await handle.describe()).status.value
            return status, [each.workflow_id async for each in client.list()]

    payments.clear()
    status, ids = asyncio.run(main())
    assert (status, sorted(ids), payments) == ("parked", ["parent", "payment-2"], ["paid"])
