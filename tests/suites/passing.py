"""Time that passes in a case: real time embedded, virtual time simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from processor import Client, Handle, WorkflowNotFound
from processor.testing import Environment

__all__ = ("SLOTS", "begun", "kinds_of", "parked", "passes", "until")


SLOTS = 40
"""How many activities of a case run at once; the others wait in the queue."""


async def passes(client: Client, seconds: float) -> None:
    """Let time pass, and what is due by then."""
    await (client.sleep(seconds) if isinstance(client, Environment) else asyncio.sleep(seconds))


async def until(client: Client, holds: Callable[[], Awaitable[object]]) -> None:
    """Let a little time pass until something holds."""
    for _ in range(500):
        if await holds():
            return
        await passes(client, 0.01)
    raise AssertionError("it never held")


async def begun(client: Client, id: str) -> Handle[Any]:
    """Return a handle of a run that something else starts, once it runs."""
    handle = client.handle(id)

    async def is_there() -> bool:
        try:
            await handle.describe()
        except WorkflowNotFound:
            return False
        return True

    await until(client, is_there)
    return handle


async def kinds_of(handle: Handle[Any]) -> list[str]:
    """Return the types of a run's events."""
    return [event.type for event in await handle.history()]


async def parked(client: Client, handle: Handle[Any]) -> str:
    """Return why a run is parked, once it is."""

    async def is_parked() -> bool:
        return (await handle.describe()).parked is not None

    await until(client, is_parked)
    found = (await handle.describe()).parked
    assert found is not None
    return str(found["error"])
