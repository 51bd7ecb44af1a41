"""Workflow code that never gives control back: it is interrupted, given up, or ends the process."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from processor import workflow
from processor.core.runner import CodeError
from processor.workflow._engine import watchdog as _watchdog
from tests.workflow.driver import World

pytestmark = pytest.mark.slow


@pytest.fixture(params=["a clock of the thread", "none, as on macOS"])
def hurried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watchdog, "INTERRUPT_S", 0.2)
    monkeypatch.setattr(_watchdog, "LOOK_EVERY_S", 0.02)
    if request.param.startswith("none"):
        monkeypatch.delattr(time, "pthread_getcpuclockid")
    monkeypatch.setattr(_watchdog, "_local", threading.local())


def _line(function: Callable[..., object], below: int) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno + below}"


# --- an activation that does not end ----------------------------------------------------------


def test_code_that_does_not_give_control_back_parks_its_run(hurried: None) -> None:
    @workflow.define
    async def spins() -> None:
        await workflow.wait_for_event("go")
        while True:
            pass

    world = World(spins)
    world.start()
    with pytest.raises(CodeError, match=r"did not give control back for 0\.\d s of CPU") as caught:
        world.event("go", 1)
    error = caught.value
    assert error.kind == "never_ends"
    first = spins.function.__code__.co_firstlineno
    assert re.match(rf"{re.escape(__file__)}:({first + 3}|{first + 4}): ", error.where)
    assert "in spins" in error.traceback
    assert "time stands still within a turn, so await workflow.sleep()" in error.error
    _is_as_before()


@pytest.mark.parametrize("caught", [Exception, BaseException], ids=["Exception", "BaseException"])
def test_code_that_catches_the_interruption_and_ends_is_parked_too(
    hurried: None, caught: type[BaseException]
) -> None:
    @workflow.define
    async def catches() -> int:
        try:
            while True:
                pass
        except caught:
            return 1

    with pytest.raises(CodeError) as error:
        World(catches).start()
    assert error.value.kind == "never_ends"
    _is_as_before()


def test_a_task_and_a_condition_are_interrupted(hurried: None) -> None:
    def forever() -> bool:
        while True:
            pass

    @workflow.define
    async def in_a_task() -> None:
        async def inner() -> None:
            await asyncio.sleep(0)
            forever()

        task = asyncio.create_task(inner())
        await asyncio.Future()
        await task

    @workflow.define
    async def in_a_later_check() -> None:
        first = True

        def holds() -> bool:
            nonlocal first
            if first:
                first = False
                return False
            return forever()

        await workflow.wait_until(holds)

    for made in (in_a_task, in_a_later_check):
        with pytest.raises(CodeError) as error:
            World(made).start()
        assert error.value.kind == "never_ends", made
    _is_as_before()


def test_waiting_without_working_is_no_reason(hurried: None) -> None:
    @workflow.define
    async def blocks() -> int:
        select.select([], [], [], 0.5)
        return 1

    world = World(blocks)
    assert world.result(world.start()) == 1


def test_many_short_activations_are_no_reason(hurried: None) -> None:
    @workflow.define
    async def works() -> int:
        for _ in range(30):
            await workflow.wait_for_event("go")
            begun = _thread_time()
            while _thread_time() < begun + 0.02:
                pass
        return 1

    world = World(works)
    world.start()
    for _ in range(29):
        world.event("go", 1)
    assert world.result(world.event("go", 1)) == 1


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Let threads take turns fifty times as often as usual."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(usual_s / 50)
    yield
    sys.setswitchinterval(usual_s)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_the_interruption_lands_in_the_code_or_nowhere(
    busy_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations end at about the time when they are interrupted, in whatever order.

    Threads take turns often: the watchdog looks twice at an activation that it interrupts. What
    lands in a destructor, Python swallows; it is told to a hook that is no code it can land in.
    """
    monkeypatch.setattr(sys, "unraisablehook", bool)
    monkeypatch.setattr(_watchdog, "INTERRUPT_S", 0.0)
    monkeypatch.setattr(_watchdog, "LOOK_EVERY_S", 0.0)

    @workflow.define
    async def works(count: int) -> int:
        for _ in range(count):
            pass
        return 1

    parked = 0
    world: World | None = None
    ends = time.monotonic() + 2
    while time.monotonic() < ends or (not parked and time.monotonic() < ends + 60):
        for count in (10, 1_000, 100_000):
            try:
                world = World(works, (count,))  # its arguments are read, which is watched, too
                assert world.result(world.start()) == 1
            except CodeError as error:
                parked += error.kind == "never_ends"
            _is_as_before()
    assert parked > 0, "some are interrupted"
    world = None
    code = works.function.__code__
    while any(inspect.iscoroutine(each) and each.cr_code is code for each in gc.get_objects()):
        gc.collect()  # what was interrupted before it began is warned of here, and in no other test
        time.sleep(0.01)  # the watchdog lets go of the last one


# --- a run that is dropped --------------------------------------------------------------------


def test_a_dropped_run_that_catches_everything_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @workflow.define
    async def swallows() -> None:
        while True:
            with suppress(BaseException):
                await asyncio.sleep(1)

    @workflow.define
    async def swallows_ours() -> None:
        while True:
            with suppress(BaseException):
                await workflow.sleep(1)

    for made in (swallows, swallows_ours):
        caplog.clear()
        world = World(made)
        world.start()
        begun = time.process_time()
        world.runner.close()
        assert time.process_time() - begun < 1
        [record] = caplog.records
        text = record.getMessage()
        assert "workflow order-1, run run-1: its code is dropped, but it catches" in text
        assert _line(made.function, 4) in text
        del world
        gc.collect()


def test_a_dropped_run_that_only_computes_is_interrupted(
    hurried: None, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow.define
    async def spins_at_the_end() -> None:
        try:
            await workflow.sleep(1)
        finally:
            while True:
                pass

    world = World(spins_at_the_end)
    world.start()
    world.runner.close()
    [record] = caplog.records
    assert "run run-1: while it was dropped: workflow code did not give" in record.getMessage()
    _is_as_before()


def test_code_that_catches_much_while_it_is_dropped_still_ends() -> None:
    ended = []

    @workflow.define
    async def tidies() -> None:
        try:
            await workflow.sleep(1)
        finally:
            for _ in range(500):
                with suppress(BaseException):
                    await workflow.sleep(1)
            ended.append(True)

    world = World(tidies)
    world.start()
    world.runner.close()
    assert ended == [True]


# --- what cannot be interrupted ---------------------------------------------------------------

_STUBBORN = """
import hashlib, re, sys
from processor import workflow
from processor.core.runner import CodeError
from processor.workflow._engine import watchdog as _watchdog
from tests.workflow.driver import World

_watchdog.INTERRUPT_S, _watchdog.END_S, _watchdog.LOOK_EVERY_S = 0.1, 0.5, 0.02
_watchdog.LOOK_BY_SIGNAL_S = 0.05
if "by signal" in sys.argv:
    _watchdog.look_by_signal()

def swallows():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

def backtracks():
    re.match("(a+)+$", "a" * 60 + "b")

def swallows_and_backtracks():
    while True:
        try:
            backtracks()
        except BaseException:
            pass

def raises_to_a_power():
    (10 ** 200_000) ** 1_000_000

def hashes():
    hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 2**31 - 1)

@workflow.define
async def stubborn() -> None:
    globals()[sys.argv[1]]()

try:
    World(stubborn, workflow_id="order-7", run_id="run-7").start()
except CodeError as error:
    print(error.kind, error.where)
"""


def _ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _STUBBORN, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("swallows",),
        ("hashes",),
        ("swallows_and_backtracks", "by signal"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_interrupted_ends_the_process_and_is_named(
    arguments: tuple[str, ...],
) -> None:
    """C code that lets other threads run, as ``hashes`` does, is seen as all other code is."""
    ended = _ended(*arguments)
    assert ended.returncode == 1
    assert "workflow order-7, run run-7: its code does not give control back" in ended.stderr
    assert f"in {arguments[0]}" in ended.stderr


@pytest.mark.parametrize("name", ["backtracks", "raises_to_a_power"])
def test_c_code_that_handles_signals_is_interrupted_by_one(name: str) -> None:
    """It holds Python's lock, so that no other thread sees it."""
    ended = _ended(name, "by signal")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.match(r"never_ends <string>:\d+", ended.stdout)


# --- what it needs ----------------------------------------------------------------------------


def _is_as_before() -> None:
    """Check that the thread is left as if nothing had happened, and that nothing lands later."""
    assert gc.isenabled()
    assert asyncio._get_running_loop() is None
    watched = _watchdog.here()
    assert watched.running is None
    assert watched.sent is None
    for _ in range(1_000):
        threading.get_ident()


def _thread_time() -> float:
    real: float = inspect.unwrap(time.thread_time)()
    return real
