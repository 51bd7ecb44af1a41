"""What clocks and random numbers answer in workflow code, and what passes or parks beside them."""

from __future__ import annotations

import _thread
import asyncio
import inspect
import logging
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import loguru
import pytest
import pytz

from processor import workflow
from processor.config import Settings
from processor.core.runner import CodeError
from processor.testing import Environment
from processor.workflow._guard import guard as _guard
from tests.workflow import reaches_out
from tests.workflow.driver import START_MS, World

_guard.install()
before_time = time.time
from random import Random as before_Random  # noqa: E402

DRAWS: list[Callable[[], Any]] = [
    lambda: random.random(),
    lambda: random.randint(1, 1 << 60),
    lambda: random.sample(range(10**9), 3),
    lambda: random.Random().random(),
    lambda: before_Random().getrandbits(64),
    lambda: random.SystemRandom().random(),
    lambda: str(uuid.uuid1()),
    lambda: str(uuid.uuid4()),
    lambda: os.urandom(8).hex(),
    lambda: secrets.token_hex(),
    lambda: secrets.token_urlsafe(9),
    lambda: secrets.token_bytes(9).hex(),
    lambda: secrets.randbits(64),
    lambda: secrets.randbelow(10**18),
    lambda: secrets.choice(range(10**18)),
]
CLOCKS: list[Callable[[], Any]] = [
    lambda: time.time(),
    lambda: before_time(),
    lambda: time.time_ns() / 1e9,
]
SECONDS: list[Callable[[], Any]] = [
    lambda: time.monotonic(),
    lambda: time.monotonic_ns() / 1e9,
    lambda: time.perf_counter(),
    lambda: asyncio.get_running_loop().time(),
]
"""These count from a minute before the run began."""


@workflow.define
async def draws() -> list[list[Any]]:
    found = [[draw() for draw in DRAWS]]
    await asyncio.sleep(1.5)
    return [*found, [draw() for draw in DRAWS]]


def test_what_is_random_is_drawn_from_the_run_and_repeated_at_replay() -> None:
    world = World(draws)
    first, second = world.run()
    world.replay()
    assert all(one != other for one, other in zip(first, second, strict=True))
    assert World(draws).run() == [first, second]
    another = World(draws, seed=bytes(16)).run()
    assert all(one != other for one, other in zip(first, another[0], strict=True))


def test_clocks_tell_the_time_of_the_turn() -> None:
    @workflow.define
    async def tells() -> list[list[float]]:
        found = [[clock() for clock in CLOCKS + SECONDS]]
        await asyncio.sleep(1.5)
        return [*found, [clock() for clock in CLOCKS + SECONDS]]

    world = World(tells)
    first, second = world.run()
    world.replay()
    count, others = len(CLOCKS), len(SECONDS)
    assert first == [pytest.approx(START_MS / 1000)] * count + [60.0] * others
    assert second == [pytest.approx(START_MS / 1000 + 1.5)] * count + [61.5] * others


def test_the_stream_is_another_one_than_that_of_the_workflow() -> None:
    @workflow.define
    async def mixes(times: int) -> list[float]:
        for _ in range(times):
            random.random()
        return [workflow.random().random(), workflow.random().random()]

    assert World(mixes, (0,)).run() == World(mixes, (5,)).run()


def test_what_a_logger_draws_shifts_nothing() -> None:
    """A workflow's logger is silent at replay, and what its handlers drew is not drawn then."""
    seen: list[Any] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((uuid.uuid4(), record.created))

    @workflow.define
    async def logs() -> list[str]:
        workflow.logger.warning("hello")
        found = str(uuid.uuid4())
        await asyncio.sleep(1)
        return [found, str(uuid.uuid4())]

    handler = Handler()
    workflow.logger.logger.addHandler(handler)
    try:
        world = World(logs)
        told = world.run()
        world.replay()
    finally:
        workflow.logger.logger.removeHandler(handler)
    assert len(seen) == 1 and str(seen[0][0]) not in told
    assert abs(seen[0][1] - time.time()) < 100, "a log has the time of the host"


def test_a_predicate_and_a_side_effect() -> None:
    @workflow.define
    async def waits() -> list[bool]:
        end = time.monotonic() + 10
        await asyncio.gather(
            asyncio.sleep(10), workflow.wait_until(lambda: time.monotonic() >= end)
        )
        real = workflow.side_effect(lambda: time.time(), float)
        return [time.time() == START_MS / 1000 + 10, abs(real - before_time()) < 1]

    world = World(waits)
    assert world.run() == [True, False]
    world.replay()


# --- files ------------------------------------------------------------------------------------


def parked_by(
    call: Callable[[], Any], settings: Settings | None = None
) -> tuple[CodeError | None, list[Any]]:
    """Run code that makes a call and goes on; return what parks it, and what the code got."""
    got: list[Any] = []

    @workflow.define
    async def calls() -> None:
        try:
            got.append(call())
        except Exception as error:
            got.append(error)
        got.append("went on")

    try:
        World(calls, settings=settings or Settings()).start()
    except CodeError as error:
        return error, got
    return None, got


def test_other_files_are_let_through_and_park_the_run(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    calls: list[tuple[Callable[[], Any], Any]] = [
        (lambda: (tmp_path / "a").read_text(), "content"),
        (lambda: os.listdir(tmp_path), ["a"]),
        (lambda: (tmp_path / "b").write_text("x"), 1),
        (lambda: shutil.rmtree(tmp_path), None),
    ]
    for call, found in calls:
        error, got = parked_by(call)
        assert got == [found, "went on"]
        assert error is not None and error.kind == "nondeterminism"
        line = f"{__file__}:{call.__code__.co_firstlineno}: "
        assert f" at {line}" in error.error and error.where.startswith(line)
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda: socket.socket(),
        lambda: subprocess.run(["true"], check=False),
        lambda: os.system("true"),
        lambda: threading.Thread(target=print).start(),
        lambda: _thread.start_new_thread(print, ()),
        lambda: time.sleep(0),
        lambda: os.fork(),
        lambda: os.forkpty(),
        lambda: os.kill(os.getpid(), 0),
        lambda: os.execv("/nowhere", ["nothing"]),
        lambda: os.posix_spawn("/nowhere", ["nothing"], {}),
        lambda: os.spawnv(os.P_WAIT, "/nowhere", ["nothing"]),
        lambda: urllib.request.urlopen("http://127.0.0.1:1"),
        lambda: input(),
        lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL),
        lambda: signal.alarm(0),
        lambda: signal.setitimer(signal.ITIMER_REAL, 0),
        lambda: signal.raise_signal(signal.SIGURG),
    ],
)
def test_sockets_threads_and_processes_are_refused_at_the_line(call: Callable[[], Any]) -> None:
    error, got = parked_by(call)
    assert error is not None and error.kind == "nondeterminism"
    assert str(got[0]) == error.error and got[1] == "went on"


def test_what_came_with_installed_code_can_be_read_but_not_written() -> None:
    error, got = parked_by(lambda: len(Path(pytz.__file__).read_text()) > 0)
    assert error is None and got == [True, "went on"]
    error, _ = parked_by(lambda: os.listdir(Path(pytz.__file__).parent))
    assert error is None
    error, _ = parked_by(lambda: Path(pytz.__file__).touch())
    assert error is None or error.kind == "nondeterminism"
    error, _ = parked_by(lambda: open(Path(pytz.__file__).parent / "new", "w").close())
    (Path(pytz.__file__).parent / "new").unlink()
    assert error is not None


def test_a_time_zone_library_is_not_left_half_filled() -> None:
    pytz._tzinfo_cache.clear()
    error, got = parked_by(lambda: str(pytz.timezone("Europe/Berlin")))
    assert error is None and got[0] == "Europe/Berlin"
    assert str(pytz.timezone("Europe/Berlin")) == "Europe/Berlin"
    assert "Europe/Berlin" in pytz.all_timezones


def test_a_time_zone_can_be_read_by_the_first_import_of_its_module() -> None:
    known = {name: sys.modules[name] for name in list(sys.modules) if name.startswith("zoneinfo")}

    def call() -> str:
        import zoneinfo

        return str(zoneinfo.ZoneInfo("Europe/Berlin"))

    for name in known:
        del sys.modules[name]
    try:
        error, got = parked_by(call)
    finally:
        sys.modules.update(known)
    assert error is None and got[0] == "Europe/Berlin"


def test_an_error_that_python_ignores_is_told_of_and_parks_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python reads the source of the line in C, so that no frame says who reads it."""

    class Broken:
        def __del__(self) -> None:
            raise OSError("half made")

    def call() -> str:
        made = Broken()
        del made
        return "went on"

    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    _guard._wrap_unraisable_hook()
    error, got = parked_by(call)
    assert error is None and got[0] == "went on"
    assert 'raise OSError("half made")' in capsys.readouterr().err
    error, _ = parked_by(lambda: [call(), Path(__file__).read_text()])
    assert error is not None, "it is the hook that passes, not what comes after it"


def test_a_warning_is_told_of_by_whatever_tells_of_warnings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def into_a_file(message: Any, *_: Any, **__: Any) -> None:
        with open(tmp_path / "warnings", "a") as file:
            file.write(str(message))

    def call() -> None:
        warnings.warn("careful", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", into_a_file)
        error, _ = parked_by(call)
    assert error is None
    assert (tmp_path / "warnings").read_text() == "careful"


def test_a_logger_that_rotates_its_files_does_so(tmp_path: Path) -> None:
    sink = loguru.logger.add(tmp_path / "log", rotation=20, format="{message}")

    @workflow.define
    async def logs() -> str:
        for number in range(5):
            loguru.logger.info(f"a message, number {number}")
        return "done"

    try:
        assert World(logs).run() == "done"
    finally:
        loguru.logger.remove(sink)
    assert len(list(tmp_path.iterdir())) == 5


# --- modes ------------------------------------------------------------------------------------


def test_a_run_stays_with_the_mode_that_it_began_under() -> None:
    @workflow.define
    async def waits() -> bool:
        await asyncio.sleep(1)
        return time.time() == START_MS / 1000 + 1

    refusing = World(waits, settings=Settings(guard="refuse"))
    assert refusing.flags == ("guard=refuse",)
    refusing.start()
    refusing.settings = Settings()
    refusing.runner = refusing.fresh()
    refusing.runner.activate(refusing.now_ms, 0, refusing.turns[0].facts, ())
    with pytest.raises(CodeError, match=r"time\.time\(\)"):
        refusing.fire(1)

    answering = World(waits)
    assert answering.flags == ()
    answering.settings = Settings(guard="refuse")
    answering.runner = answering.fresh()
    assert answering.run() is True

    without = World(waits, settings=Settings(guard=False))
    assert without.flags == ("guard=off",)
    assert without.run() is False


@pytest.mark.parametrize(
    ("guard", "flags", "status"),
    [("answer", [], "completed"), ("refuse", ["guard=refuse"], "parked")],
)
def test_the_mode_stands_in_the_history(guard: Any, flags: list[str], status: str) -> None:
    @workflow.define
    async def tells() -> bool:
        return time.time() > 0

    async def main() -> tuple[Any, str]:
        async with Environment(workflows=[tells], guard=guard) as environment:
            handle = await environment.start(tells)
            described = await handle.describe()
            first, *_ = await handle.history()
            return first.fields.get("flags") or [], described.status.value

    found, state = asyncio.run(main())
    assert (list(found), state) == (flags, status)


def test_without_a_guard_everything_passes(tmp_path: Path) -> None:
    def call() -> float:
        socket.socket().close()
        (tmp_path / "a").write_text("x")
        return time.time() + random.random()

    error, got = parked_by(call, Settings(guard=False))
    assert error is None and abs(got[0] - before_time()) < 10


@pytest.mark.parametrize("guard", ["answer", "refuse"])
def test_passthrough_lifts_refusals_and_clocks_still_answer(guard: Any, tmp_path: Path) -> None:
    def call() -> list[Any]:
        with workflow.passthrough():
            socket.socket().close()
            (tmp_path / "a").write_text("x")
            return [time.time(), str(uuid.uuid4())]

    error, got = parked_by(call, Settings(guard=guard))
    assert error is None and got[0][0] == START_MS / 1000
    assert parked_by(call, Settings(guard=guard))[1] == got
    error, _ = parked_by(lambda: [call(), socket.socket()], Settings(guard=guard))
    assert error is not None


def test_modules_that_pass_are_found_by_the_nearest_frame(tmp_path: Path) -> None:
    settings = Settings(passthrough=("tests.workflow.reaches_out",))
    path = tmp_path / "a"
    error, got = parked_by(lambda: reaches_out.write(path), settings)
    assert error is None and got == [1, "went on"]
    error, _ = parked_by(lambda: reaches_out.write(path), Settings(passthrough=("tests.work",)))
    assert error is not None
    error, _ = parked_by(lambda: reaches_out.call(lambda: path.write_text("x")), settings)
    assert error is not None, "the nearest frame is the test's"
    error, _ = parked_by(lambda: reaches_out.write(path), Settings(passthrough=("tests",)))
    assert error is None


def test_modes_are_checked() -> None:
    for wrong in ({"guard": "off"}, {"guard": True}, {"passthrough": "pydantic_ai"}):
        with pytest.raises(ValueError, match=r"give"):
            Settings(**wrong)  # type: ignore[arg-type]


# --- names that cannot be made to answer ------------------------------------------------------


def test_names_that_do_not_answer_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"datetime\.now\(\).*workflow\.now\(\)"):

        @workflow.define
        async def asks() -> str:
            return str(datetime.now())

    with pytest.warns(UserWarning, match=r"urandom.*os\.urandom.*test_answers\.py:\d+"):

        @workflow.define
        async def draws_bytes() -> str:
            def inner() -> bytes:
                return reaches_out_urandom(4)

            return inner().hex()

    with pytest.warns(UserWarning, match=r"ctime\(\) \(write time\.ctime\(\)"):

        @workflow.define
        async def tells() -> str:
            return before_ctime()

    with pytest.warns(UserWarning, match=r"thread_time\(\) \(write time\.thread_time\(\)"):

        @workflow.define
        async def tells_more() -> str:
            return str(before_thread_time())

    with pytest.warns(UserWarning, match=r"of_the_process .*workflow\.random\(\)"):

        @workflow.define
        async def draws_from_a_global() -> float:
            return of_the_process.random()


before_ctime = inspect.unwrap(time.ctime)
before_thread_time = inspect.unwrap(time.thread_time)
of_the_process = random.Random(5)
reaches_out_urandom = os.urandom.__wrapped__  # type: ignore[attr-defined]
assert sys.version_info >= (3, 11)
