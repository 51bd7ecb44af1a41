"""What replay cannot repeat is stopped at its line, and only in workflow code."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processor import NonDeterminismError, workflow
from processor.config import Settings
from processor.core.runner import CodeError
from processor.workflow._guard import guard as _guard
from tests.workflow.driver import World

_guard.install()

REFUSES = Settings(guard="refuse")

FORBIDDEN: list[tuple[str, Callable[[], Any], str]] = [
    ("time.time()", lambda: time.time(), "workflow.now()"),
    ("time.time_ns()", lambda: time.time_ns(), "workflow.now()"),
    ("time.monotonic()", lambda: time.monotonic(), "workflow.now()"),
    ("time.perf_counter()", lambda: time.perf_counter(), "workflow.now()"),
    ("time.sleep()", lambda: time.sleep(0), "asyncio.sleep()"),
    ("random.random()", lambda: random.random(), "workflow.random()"),
    ("random.choice()", lambda: random.choice([1]), "workflow.random()"),
    ("random.shuffle()", lambda: random.shuffle([1]), "workflow.random()"),
    ("random.Random() without a seed", lambda: random.Random(), "workflow.random()"),
    ("random.SystemRandom()", lambda: random.SystemRandom().random(), "workflow.random()"),
    ("uuid.uuid1()", lambda: uuid.uuid1(), "workflow.uuid4()"),
    ("uuid.uuid4()", lambda: uuid.uuid4(), "workflow.uuid4()"),
    ("os.urandom()", lambda: os.urandom(4), "workflow.random()"),
    ("secrets.token_hex()", lambda: secrets.token_hex(), "activity"),
    ("open()", lambda: open(__file__), "activity"),  # noqa: SIM115
    ("open()", lambda: Path(__file__).read_text(), "activity"),
    ("os.listdir()", lambda: os.listdir("."), "activity"),
    ("a socket (socket.__new__)", lambda: socket.socket(), "activity"),
    ("a socket (socket.gethostbyname)", lambda: socket.gethostbyname("localhost"), "activity"),
    ("subprocess.Popen()", lambda: subprocess.run(["true"], check=False), "activity"),
    ("os.system()", lambda: os.system("true"), "activity"),
    ("a new thread", lambda: threading.Thread(target=print).start(), "activity"),
    ("loop.run_in_executor()", lambda: _loop().run_in_executor(None, print), "plain (not async)"),
    ("loop.call_soon_threadsafe()", lambda: _loop().call_soon_threadsafe(print), "call_soon"),
    ("loop.add_reader()", lambda: _loop().add_reader(0, print), "activity"),
    ("loop.sock_recv()", lambda: _loop().sock_recv(None, 1), "activity"),  # type: ignore[arg-type]
    ("loop.getaddrinfo()", lambda: _loop().getaddrinfo("localhost", 1), "activity"),
    ("loop.close()", lambda: _loop().close(), "activity"),
]


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@pytest.mark.parametrize(
    ("name", "call", "instead"), FORBIDDEN, ids=[f"{n}-{x[0]}" for n, x in enumerate(FORBIDDEN)]
)
def test_a_forbidden_call_names_its_line(name: str, call: Callable[[], Any], instead: str) -> None:
    @workflow.define
    async def calls() -> None:
        call()

    world = World(calls, settings=REFUSES)
    with pytest.raises(CodeError) as caught:
        world.start()
    error = caught.value
    line = call.__code__.co_firstlineno
    assert error.kind == "nondeterminism"
    assert error.error.startswith(f"workflow code called {name} at {__file__}:{line}: ")
    assert instead in error.error
    assert error.where.startswith(f"{__file__}:{line}: ")
    assert "lambda" in error.where


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: asyncio.to_thread(print), "loop.run_in_executor()"),
        (lambda: asyncio.open_connection("localhost", 1), "loop.create_connection()"),
        (lambda: asyncio.create_subprocess_exec("true"), "loop.subprocess_exec()"),
    ],
)
def test_asyncio_functions_that_reach_out_name_the_users_line(
    call: Callable[[], Any], name: str
) -> None:
    @workflow.define
    async def calls() -> None:
        await call()

    with pytest.raises(CodeError) as caught:
        World(calls).start()
    line = calls.function.__code__.co_firstlineno + 2
    assert f"workflow code called {name} at {__file__}:{line}: await call()" in caught.value.error


def test_it_parks_the_run_even_if_the_code_catches_it() -> None:
    caught_inside = []

    @workflow.define
    async def swallows() -> str:
        try:
            return str(time.time())
        except NonDeterminismError as error:
            caught_inside.append(str(error))
        return "all is well"

    with pytest.raises(CodeError) as caught:
        World(swallows, settings=REFUSES).start()
    assert caught.value.kind == "nondeterminism"
    assert caught_inside == [caught.value.error]
    first = swallows.function.__code__.co_firstlineno
    assert caught.value.where == f"{__file__}:{first + 3}: return str(time.time())"


def test_predicates_are_workflow_code_too() -> None:
    @workflow.define
    async def waits() -> None:
        await workflow.wait_until(lambda: time.time() > 0)

    with pytest.raises(CodeError, match=r"time\.time\(\)"):
        World(waits, settings=REFUSES).start()


def test_what_the_library_and_logging_do_passes(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log", delay=True)
    log = logging.getLogger("users.own")
    log.addHandler(handler)

    @workflow.define
    async def works() -> list[str]:
        import wave  # not imported yet: reading the module's file is the import system's doing

        log.error("hello")
        workflow.logger.error("hello")
        zone = zoneinfo.ZoneInfo("UTC")
        drawn = random.Random(7).random()
        host = workflow.side_effect(lambda: [time.time() > 0, bool(os.urandom(1))], list[bool])
        return [wave.__name__, str(zone), str(drawn > 0), str(host)]

    sys.modules.pop("wave", None)
    try:
        assert World(works).start()
    finally:
        log.removeHandler(handler)
        handler.close()
    assert "hello" in (tmp_path / "log").read_text()


def test_other_code_is_left_alone_also_while_a_workflow_runs() -> None:
    seen: list[float] = []
    go, gone = threading.Event(), threading.Event()

    def elsewhere() -> None:
        go.wait()
        seen.append(time.time() + random.random() + len(os.urandom(1)) + len(os.listdir(".")))
        gone.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()

    @workflow.define
    async def holds() -> str:
        go.set()
        gone.wait()
        return "done"

    assert World(holds).run() == "done"
    thread.join()
    assert seen
    _guard.install()
    assert time.time() > 0
    assert not hasattr(time.time.__wrapped__, "__wrapped__")  # type: ignore[attr-defined]


def test_nothing_is_said_when_python_ends_and_has_cleared_the_modules() -> None:
    code = """
import os, sys, time, uuid
from processor.workflow._guard import guard
guard.install()
names, kept = vars(guard), (open, os.devnull, time.time, uuid.uuid4)
class Odd:
    def __del__(self):
        raise ValueError("told by Python")
for name in names:
    names[name] = None  # what Python does to a module that outlives the others
kept[0](kept[1]).close()
kept[2](), kept[3](), Odd()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.startswith("Exception ignored in: <function Odd.__del__")
    assert done.stderr.endswith("ValueError: told by Python\n") and done.stderr.count("Error") == 1
