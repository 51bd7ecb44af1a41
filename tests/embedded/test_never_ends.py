"""A run whose code never ends is parked; all others go on, and so does it with better code."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from processor import Client, Status, Worker, workflow
from processor.workflow._engine import watchdog as _watchdog

mended = False


@workflow.define
async def spins() -> str:
    await workflow.wait_for_event("go")
    while not mended:
        pass
    return "done"


@workflow.define
async def well() -> str:
    await workflow.sleep(0.001)
    return "well"


@workflow.define
async def swallows() -> None:
    while True:
        with suppress(BaseException):
            await workflow.sleep(60)


def test_the_run_waits_for_better_code_and_the_others_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watchdog, "INTERRUPT_S", 0.2)
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        global mended
        mended = False
        async with Worker(server, workflows=[spins, well]), Client(server) as client:
            handle = await client.start(spins, id="s")
            await handle.raise_event("go", 1)
            assert await client.run(well, id="w") == "well"
            described = await handle.describe()
            assert described.status is Status.PARKED
            assert described.parked is not None
            assert described.parked["kind"] == "never_ends"
        mended = True
        async with Worker(server, workflows=[spins, well]), Client(server) as client:
            assert await client.handle("s").result() == "done"

    asyncio.run(main())


@pytest.mark.parametrize("how", ["eviction", "terminate", "stop"])
def test_code_that_catches_everything_holds_nobody_up(how: str, tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    cached = 1 if how == "eviction" else None

    async def main() -> None:
        async with (
            Worker(server, workflows=[swallows, well], max_cached_runs=cached),
            Client(server) as client,
        ):
            handle = await client.start(swallows, id="s")
            if how == "terminate":
                await handle.terminate("enough")
            assert await client.run(well, id="w") == "well"

    asyncio.run(asyncio.wait_for(main(), 20))
