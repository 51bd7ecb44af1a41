"""The API over an embedded worker, as tests ask it: in the process, or over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from processor import ApplicationError, Client, Worker, activity, entity, workflow
from processor.api import HttpOptions
from processor.api.app import Api
from processor.api.running import served
from processor.api.serving import ServedNamespace

__all__ = ("BASE", "HUSH", "Account", "Basket", "asked", "at_port", "greet", "refuses")

BASE = "/api/v1/namespaces/default"
HUSH = "hush-7f3a"
"""What stands in each payload of these tests, and may be seen by nobody who may not read."""


@activity.define
async def slow(value: str) -> str:
    activity.leave_open()
    return value


@workflow.define
async def greet(name: str, times: int = 1) -> str:
    return f"Hello, {name}!" * times


@workflow.define
async def refuses(why: str) -> None:
    raise ApplicationError(why, type="Refused")


@workflow.define
class Basket:
    def __init__(self) -> None:
        self.held: list[str] = []
        self.is_paid = asyncio.Event()

    @workflow.run
    async def run(self, owner: str) -> list[str]:
        workflow.set_status({"owner": owner})
        workflow.set_value("owner", owner)
        await self.is_paid.wait()
        return self.held

    @workflow.signal
    def add(self, item: str, count: int = 1) -> None:
        self.held += [item] * count

    @workflow.signal
    def pay(self) -> None:
        self.is_paid.set()

    @workflow.query
    def items(self) -> list[str]:
        return self.held

    @workflow.update
    async def remove(self, item: str) -> int:
        if item not in self.held:
            raise ApplicationError(f"no {item}")
        self.held.remove(item)
        return len(self.held)


@entity.define
class Account:
    balance: int = 0

    async def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance


CODE: dict[str, Any] = {
    "workflows": [greet, refuses, Basket],
    "activities": [slow],
    "entities": [Account],
}


@asynccontextmanager
async def asked(
    path: Path, options: HttpOptions | None = None, **code: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Client]]:
    """Yield what asks an API in this process, without a socket, and the client behind the API."""
    options = HttpOptions() if options is None else options
    server = f"embedded:{path / 'state'}"
    async with Worker(server, **(code or CODE)), Client(server) as client:
        app = Api(ServedNamespace(client, "default", options))
        transport = httpx.ASGITransport(app=app)
        url = "http://localhost:8233"
        async with httpx.AsyncClient(transport=transport, base_url=url, timeout=60) as http:
            yield http, client


@asynccontextmanager
async def at_port(
    path: Path, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Client, int]]:
    """Yield what asks an API over a socket, the client behind the API, and its port."""
    server = f"embedded:{path / 'state'}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Worker(server, **CODE))
        client = await stack.enter_async_context(Client(server))
        given = HttpOptions(port=0, **options)
        at = await stack.enter_async_context(served(client, "default", given))
        http = httpx.AsyncClient(base_url=at.url, timeout=60)
        yield await stack.enter_async_context(http), client, int(at.url.rpartition(":")[2])
