"""Workflow code raises what cannot be shown: its run is parked, and all others go on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processor import ApplicationError, Client, Status, Worker, WorkflowFailed, workflow
from tests.core.broken import BROKEN


@workflow.define
async def well() -> str:
    await workflow.sleep(0.001)
    return "well"


@workflow.define
async def raises(name: str) -> None:
    await workflow.sleep(0.001)
    raise BROKEN[name]()


@workflow.define
async def raises_in_a_task(name: str) -> None:
    async def inner() -> None:
        await workflow.sleep(0.001)
        raise BROKEN[name]()

    await asyncio.create_task(inner())


@workflow.define
async def fails(name: str) -> None:
    await workflow.sleep(0.001)
    raise ApplicationError("on purpose") from BROKEN[name]()


@workflow.define
async def interrupts() -> None:
    await workflow.sleep(0.001)
    raise KeyboardInterrupt("not by anybody's key")


@workflow.define
async def interrupts_in_a_task() -> None:
    async def inner() -> None:
        await workflow.sleep(0.001)
        raise KeyboardInterrupt("not by anybody's key")

    async with asyncio.TaskGroup() as group:
        group.create_task(inner())


ALL = [well, raises, raises_in_a_task, fails, interrupts, interrupts_in_a_task]


async def _parked(client: Client, id: str) -> str:
    async with asyncio.timeout(20):
        while (described := await client.handle(id).describe()).status is not Status.PARKED:
            assert described.status is Status.RUNNING
            await asyncio.sleep(0.01)
    assert described.parked is not None and described.parked["kind"] == "bug"
    return str(described.parked["error"])


@pytest.mark.parametrize("name", BROKEN)
def test_an_error_that_cannot_be_shown_parks_its_run(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            await client.start(raises, name, id="r")
            await client.start(raises_in_a_task, name, id="t")
            for id in "rt":
                await _parked(client, id)
            with pytest.raises(WorkflowFailed):
                await client.run(fails, name, timeout=20)
            assert await client.run(well, timeout=20) == "well"
        async with Worker(server, workflows=ALL), Client(server) as client:
            assert await client.run(well, timeout=20) == "well"
            await _parked(client, "r")

    asyncio.run(asyncio.wait_for(main(), 60))
    assert "Logging error" not in capfd.readouterr().err


@pytest.mark.parametrize("code", [interrupts, interrupts_in_a_task], ids=lambda code: code.name)
def test_a_keyboard_interrupt_that_code_raises_parks_its_run(
    code: workflow.Workflow[[], None], tmp_path: Path
) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            await client.start(code, id="k")
            assert "not by anybody's key" in await _parked(client, "k")
            assert await client.run(well, timeout=20) == "well"
        async with Worker(server, workflows=ALL), Client(server) as client:
            assert await client.run(well, timeout=20) == "well"

    asyncio.run(asyncio.wait_for(main(), 60))


_WORKS = """
import asyncio, signal, sys
from processor import Client, Worker, workflow

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

@workflow.define
async def works() -> None:
    print("at work", flush=True)
    for _ in range(10**9):
        pass

async def main():
    async with Worker(sys.argv[1], workflows=[works]), Client(sys.argv[1]) as client:
        await client.start(works)

if sys.argv[2] == "asyncio":
    asyncio.run(main())
else:
    asyncio.new_event_loop().run_until_complete(main())
"""


@pytest.mark.parametrize("handler", ["asyncio", "Python's own"])
def test_a_real_interrupt_that_lands_in_workflow_code_ends_the_worker(
    handler: str, tmp_path: Path
) -> None:
    """Twice where asyncio's handler is in place: the first one cancels the task of the host."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKS, f"embedded:{tmp_path}", handler],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    for _ in range(2 if handler == "asyncio" else 1):
        os.kill(process.pid, signal.SIGINT)
        try:
            process.wait(0.3)
        except subprocess.TimeoutExpired:
            continue
    _, said = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in said
    assert "is parked" not in said
