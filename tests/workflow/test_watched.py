"""All code of users is watched, wherever it runs: in arguments, errors, results and questions."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pydantic
import pytest

from processor import ApplicationError, workflow
from processor.core.replay import begun
from processor.core.runner import CodeError
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.workflow._engine import watchdog as _watchdog
from processor.workflow._engine.runners import WorkflowRunners
from tests.workflow.driver import PAYLOADS, START_MS, World

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watchdog, "INTERRUPT_S", 0.2)
    monkeypatch.setattr(_watchdog, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(_watchdog, "_end_process", _must_not_end)
    monkeypatch.setattr(_watchdog, "_local", threading.local())


def _must_not_end(*_: object) -> None:
    raise OSError("the process would have ended")


@pytest.fixture(autouse=True)
def clean() -> Generator[None]:
    """Check that the thread is left as if nothing had happened, and that nothing lands later."""
    yield
    watched = _watchdog.here()
    assert watched.running is None and watched.sent is None
    assert asyncio._get_running_loop() is None
    for _ in range(1_000):
        threading.get_ident()


def _for_ever() -> Any:
    while True:
        pass


class Told(ApplicationError):
    def __str__(self) -> str:
        return str(_for_ever())


@dataclasses.dataclass
class Argument:
    number: int

    def __post_init__(self) -> None:
        while self.number:
            pass


class Result(pydantic.BaseModel):
    number: int

    @pydantic.field_serializer("number")
    def _serialized(self, value: int) -> int:
        return int(_for_ever())


@workflow.define
async def tells() -> None:
    raise Told("never")


@workflow.define
async def tells_causes() -> None:
    raise Told("never") from Told("neither")


@workflow.define
async def tells_a_bug() -> None:
    raise ExceptionGroup("many", [ValueError(), type("Bug", (ValueError,), {"__str__": _told})()])


def _told(self: object) -> str:
    return str(_for_ever())


@workflow.define
async def returns() -> Result:
    return Result(number=1)


@workflow.define
async def reads_an_event() -> None:
    await workflow.wait_for_event("go", Argument)


@workflow.define
async def spins_in_two_tasks() -> None:
    async def spins() -> None:
        _for_ever()

    await asyncio.gather(spins(), spins())


@pytest.mark.parametrize(
    "code",
    [tells, tells_causes, tells_a_bug, returns, spins_in_two_tasks],
    ids=lambda each: each.name,
)
def test_what_is_made_of_its_end_does_not_end(code: workflow.Workflow[[], Any]) -> None:
    _never_ends(World(code).start)


def test_an_unread_event_does_not_end() -> None:
    world = World(reads_an_event)
    world.start()
    _never_ends(lambda: world.event("go", {"number": 1}))


def _never_ends(function: Callable[[], object]) -> None:
    with pytest.raises(CodeError) as caught:
        function()
    assert caught.value.kind == "never_ends"
    assert __file__ in caught.value.where
    assert "_pytest" not in caught.value.traceback, "the host's frames are left out"


@workflow.define
async def takes(argument: Argument) -> int:
    return argument.number


def test_arguments_do_not_end() -> None:
    runners = WorkflowRunners(Registry([takes], [], Injected(PAYLOADS)))
    world = World(takes, ({"number": 0},))
    started = dataclasses.replace(world.started, arguments=PAYLOADS.encode(({"number": 1},)))
    made = begun(runners, "order-1", "run-1", started, START_MS)
    assert isinstance(made, CodeError)
    assert made.kind == "never_ends"


def test_arguments_that_end_the_process_end_the_start_only() -> None:
    @dataclasses.dataclass
    class Leaves:
        def __post_init__(self) -> None:
            raise SystemExit(3)

    @workflow.define
    async def takes_it(argument: Leaves) -> None: ...

    with pytest.raises(CodeError, match="SystemExit: 3"):
        World(takes_it, ({},))


# --- questions ------------------------------------------------------------------------------------


class Proxy:
    """An awaitable that forwards what is asked of it."""

    def __init__(self, answer: Callable[[Proxy, str], Any]) -> None:
        self._answer = answer

    def __await__(self) -> Any:
        self._waits = asyncio.get_running_loop().create_future().__await__()
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._waits)

    def __getattr__(self, name: str) -> Any:
        if name in ("cr_frame", "gi_frame", "cr_await", "gi_yieldfrom"):
            return self._answer(self, name)
        raise AttributeError(name)


def _itself(proxy: Proxy, name: str) -> Any:
    return proxy


def _leaves(proxy: Proxy, name: str) -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize("answer", [_itself, _leaves])
def test_an_awaitable_that_says_odd_things_of_itself_is_waited_for(
    answer: Callable[[Proxy, str], Any],
) -> None:
    @workflow.define
    async def waits() -> None:
        await Proxy(answer)

    world = World(waits)
    world.start()
    line = waits.function.__code__.co_firstlineno + 2
    assert world.runner.waiting() == [f"{__file__}:{line} waits"]


def test_a_question_that_does_not_end_ends_and_leaves_the_run_alone() -> None:
    @workflow.define
    async def waits() -> int:
        tasks = [asyncio.create_task(_awaits(Proxy(lambda *_: _for_ever()))) for _ in range(3)]
        await workflow.wait_for_event("go")
        for task in tasks:
            task.cancel()
        return 1

    async def _awaits(proxy: Proxy) -> None:
        await proxy

    world = World(waits)
    world.start()
    for _ in range(2):
        (said,) = world.runner.waiting()
        assert said.startswith("(where the code waits cannot be told: workflow code did not give")
    assert world.result(world.event("go", 1)) == 1


# --- what is dropped ------------------------------------------------------------------------------


def test_a_dropped_run_whose_tasks_all_spin_is_given_up_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @workflow.define
    async def spins_at_the_end() -> None:
        async def waits() -> None:
            try:
                await workflow.sleep(1)
            finally:
                _for_ever()

        await asyncio.gather(*(waits() for _ in range(20)))

    world = World(spins_at_the_end)
    world.start()
    begun = time.thread_time()
    world.runner.close()
    assert time.thread_time() - begun < 2
    [record] = caplog.records
    assert "while it was dropped: workflow code did not give" in record.getMessage()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_python_frees_with_a_run_is_watched(caplog: pytest.LogCaptureFixture) -> None:
    @dataclasses.dataclass
    class Stays:
        def __del__(self) -> None:
            _for_ever()

    @workflow.define
    async def returns_at_once(stays: Stays) -> int:
        return 1

    world = World(returns_at_once, ({},))
    assert world.result(world.start()) == 1
    [record] = caplog.records
    assert "while it was dropped: workflow code did not give" in record.getMessage()


# --- code that waits ------------------------------------------------------------------------------


def test_code_that_blocks_its_thread_is_said_and_said_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_watchdog, "SAY_S", 0.2)
    monkeypatch.setattr(_watchdog, "SAY_AGAIN_S", 0.5)

    @workflow.define
    async def blocks() -> int:
        try:
            queue.Queue[int]().get(timeout=1.5)
        except queue.Empty:
            return 1
        return 2

    with caplog.at_level(logging.WARNING):
        world = World(blocks)
        assert world.result(world.start()) == 1
    said = [record.getMessage() for record in caplog.records]
    assert 2 <= len(said) <= 4
    line = blocks.function.__code__.co_firstlineno + 3
    assert said[0].startswith("workflow order-1, run run-1: its code has not given control back")
    assert f"{__file__}:{line}: queue.Queue[int]().get(timeout=1.5)" in said[0]
    assert "await workflow.sleep(), an event or an activity" in said[0]


def test_a_paused_process_is_no_blocked_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_watchdog, "LOOK_EVERY_S", 0.25)
    now = 0.0
    monkeypatch.setattr(_watchdog, "time", _Clock(lambda: now))
    watched = _watchdog.Watched()
    watched.running = _Run()
    for now in (0.0, 0.25, 1_000.0, 1_000.25):  # noqa: B007  # the clock reads it
        watched.look()
    watched.running = None
    time.sleep(0.05)
    assert caplog.records == []


class _Run:
    workflow_id, run_id, turn = "order-1", "run-1", 1


class _Clock:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)
