"""Activities that run in processes, which have to import them; and a worker to be killed."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from processor import ApplicationError, Client, Worker, activity, workflow


@dataclass
class Point:
    x: int


class Odd(ApplicationError):
    """Cannot be made again from what ``BaseException`` keeps."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}", details=[one, other], retryable=False)


class Exits(Exception):
    """Ends whatever reads its pickle."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)


class Local(OSError):
    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")


late: list[str] = []
mark = ContextVar("mark", default="none of others")


def beats_later() -> None:
    time.sleep(0.3)
    try:
        activity.heartbeat(1)
    except RuntimeError as error:
        late.append(str(error))


@activity.define(pool="processes")
def calls(what: str) -> Any:
    match what:
        case "context":
            found = mark.get()
            mark.set("of another attempt")
            return found
        case "later":
            Thread(target=copy_context().run, args=(beats_later,)).start()
        case "heard":
            end = time.monotonic() + 20
            while not late and time.monotonic() < end:
                time.sleep(0.01)
            return late
        case "pid":
            return os.getpid()
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "error":
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ValueError("outer") from error
        case "odd":
            raise Odd(1, 2)
        case "exits":
            raise Exits("no")
        case "local":
            raise Local("a", "b")
        case "system exit":
            sys.exit(4)
        case "function":
            return lambda: 1
        case "info":
            info = activity.info()
            assert info.started is not None and info.scheduled is not None
            return [info.workflow, info.attempt, info.namespace, info.started >= info.scheduled]
        case "details":
            activity.heartbeat([1, 2])
            return activity.heartbeat_details(list[int])
        case "signals":
            for each in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), each)
            program = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
            return subprocess.run([sys.executable, "-c", program], check=False).returncode
        case "left open":
            activity.heartbeat(activity.info().task_token)
            raise activity.CompleteAsync
        case "bad details":
            activity.heartbeat(object())
    return None


@activity.define(pool="processes")
def moved(point: Point, by: int = 1) -> Point:
    return Point(point.x + by)


def says(path: Path, pid: int | None) -> None:
    """Write an id of a process, which is whole as soon as it is there."""
    partial = path.with_suffix(".new")
    partial.write_text(str(pid))
    partial.replace(path)


@activity.define(pool="processes", start_to_close=60)
def computes(folder: str, how: str) -> str:
    """Compute for ever, or until it is asked to stop."""
    path = Path(folder)
    if how == "asks":
        assert not activity.is_cancelled()  # who has asked once is not interrupted
    says(path / f"pid-{activity.info().attempt}", os.getpid())
    try:
        if how == "shielded":
            with activity.shield():
                while not path.joinpath("go").exists():
                    time.sleep(0.01)
        while how != "asks" or not activity.is_cancelled():
            sum(range(1_000))
            if how == "beats":
                activity.heartbeat(os.getpid())
    except asyncio.CancelledError:
        path.joinpath("cancelled").write_text("")
        if how == "stubborn":
            while True:
                sum(range(1_000))
        raise
    return "asked"


@activity.define(pool="processes", start_to_close=60)
def forks(folder: str, how: str) -> None:
    """Leave a process of its own behind, which has all that this one has open."""
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    forked.start()
    says(Path(folder, "pid-1"), forked.pid)
    if how == "exit":
        os._exit(3)
    time.sleep(600)


def doubled(function: Callable[[int], int]) -> Callable[[int], int]:
    @functools.wraps(function)
    def called(number: int) -> int:
        return 2 * function(number)

    return called


def bare(number: int) -> int:
    return number


@activity.define(pool="processes")
@doubled
def decorated(number: int) -> int:
    return number


decorated_elsewhere = activity.define(name="elsewhere", pool="processes")(doubled(bare))


@activity.define(pool="processes", start_to_close=60)
def sleeps(folder: str) -> None:
    """Wait in C code, which nothing interrupts."""
    says(Path(folder, "pid-1"), os.getpid())
    time.sleep(600)


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @activity.define(pool="processes")
    def scaled(self, number: int) -> int:
        return number * self.factor


@workflow.define
async def computing(folder: str, how: str) -> None:
    await (sleeps(folder) if how == "sleeps" else computes(folder, how))


async def main(folder: str, how: str) -> None:
    server = f"embedded:{folder}/state"
    worker = Worker(server, workflows=[computing], activities=[computes, sleeps])
    async with worker, Client(server) as client:
        await client.run(computing, folder, how)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
