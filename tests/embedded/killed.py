"""One life of a process with an embedded worker, which is killed or ends itself (see test_queue).

``python -m tests.embedded.killed PATH WORKFLOW`` starts the workflow, or goes on with it, and
prints its result.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from processor import (
    ActivityTimedOut,
    Client,
    RetryPolicy,
    Settings,
    Worker,
    WorkflowAlreadyStarted,
    activity,
    workflow,
)

__all__ = ("SLOTS", "TASKS", "WORKFLOWS", "attempts_of", "noted")

TASKS = 6
SLOTS = 2
_SOON = RetryPolicy(initial_interval=timedelta(seconds=0.01), coefficient=1)


def noted(path: Path, name: str) -> int:
    """Return how often an activity has begun, in all lives of the process."""
    file = path / name
    return file.read_text().count("\n") if file.exists() else 0


def attempts_of(path: Path, name: str) -> list[int]:
    return [int(line) for line in (path / name).read_text().split()]


def _note(path: str, name: str) -> None:
    with (Path(path) / name).open("a") as file:
        file.write(f"{activity.info().attempt}\n")


@activity.define(eager=False, retry=RetryPolicy(maximum_attempts=1))
async def waits(path: str, number: int) -> int:
    """Take part in what is killed until the file is there that says that it is over."""
    _note(path, "waits")
    while not (Path(path) / "over").exists():
        await asyncio.sleep(0.01)
    return number


@activity.define(retry=_SOON)
def ends_process(path: str) -> None:
    _note(path, "eager")
    os._exit(9)


@activity.define(retry=_SOON, eager=False)
def ends_process_far(path: str) -> None:
    _note(path, "queued")
    os._exit(9)


@workflow.define
async def fans_out(path: str) -> list[int]:
    return await asyncio.gather(*(waits(path, number) for number in range(TASKS)))


@workflow.define
async def eager(path: str) -> str:
    try:
        await ends_process(path)
    except ActivityTimedOut as error:
        return f"{error.kind}: {error}"
    return "it came back"


@workflow.define
async def queued(path: str) -> str:
    try:
        await ends_process_far(path)
    except ActivityTimedOut as error:
        return f"{error.kind}: {error}"
    return "it came back"


WORKFLOWS: dict[str, Any] = {each.name: each for each in (fans_out, eager, queued)}


async def main(path: Path, name: str) -> None:
    server = f"embedded:{path / 'state'}"
    worker = Worker(
        server,
        workflows=WORKFLOWS.values(),
        activities=[waits, ends_process, ends_process_far],
        settings=Settings(max_activities=SLOTS, shutdown_s=0.5),
    )
    async with worker, Client(server) as client, asyncio.timeout(60):
        with contextlib.suppress(WorkflowAlreadyStarted):
            await client.start(WORKFLOWS[name], str(path), id="w", reuse="reject")
        print(json.dumps(await client.handle("w").result()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
