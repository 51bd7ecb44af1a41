"""Attempts that are over while their functions go on: reported at their time, told and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processor import Client, RetryPolicy, Worker, activity, workflow
from processor.activities.executor import Executor
from processor.activities.threads import ActivityThreads
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.options import DEFAULTS
from processor.core.inputs import ActivityReport
from processor.embedded.runtime import SystemClock
from processor.injection.interceptors import Injected
from processor.registry import Registry
from tests.own_time import in_own_time

from .test_executor import task

pytestmark = pytest.mark.slow

OVER = threading.Event()


@pytest.fixture(autouse=True)
def over() -> Any:
    """End what the activities of a test began."""
    OVER.clear()
    yield
    OVER.set()


async def swallows() -> None:
    while not OVER.is_set():
        with contextlib.suppress(BaseException):
            await asyncio.sleep(0.05)


def hangs() -> None:
    OVER.wait(20)


def quick() -> int:
    return 7


class Running:
    """An executor of three activities, and what it reports."""

    def __init__(self, **settings: Any) -> None:
        payloads = JsonPayloads()
        defined = [activity.define(each) for each in (swallows, hangs, quick)]
        self.reports: list[ActivityReport] = []
        self.executor = Executor(
            Registry([], defined, Injected(payloads)), Settings(**settings), "test", SystemClock()
        )
        self.slots = self.executor.free

    def begin(self, name: str, id: int = 1, *, eager: bool = False, **changes: Any) -> None:
        attempt = replace(task(1, id=id, eager=eager), name=name, **changes)
        if eager:
            self.executor.reserve(1)
            self.executor.start(attempt, self.reports.append)
        else:
            self.executor.enqueue(attempt, self.reports.append)

    async def outcomes(self, count: int = 1) -> list[ActivityReport]:
        async with asyncio.timeout(15):  # what hangs ends by itself after 20 s
            while True:
                found = [r for r in self.reports if r.kind in ("completed", "failed")]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.01)


def kinds(reports: list[ActivityReport]) -> list[str | None]:
    return [r.failure.timeout_kind or r.failure.type if r.failure else r.kind for r in reports]


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "queued"])
@pytest.mark.parametrize("kind", ["start_to_close", "schedule_to_close", "heartbeat"])
def test_an_attempt_ends_at_its_time_though_its_function_swallows_the_cancellation(
    kind: str, eager: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        it = Running()
        now_ms = SystemClock().now_ms()
        limits = {"schedule_to_close": {"deadline_ms": now_ms + 100}}
        it.begin("swallows", eager=eager, **limits.get(kind, {f"{kind}_ms": 100}))
        assert kinds(await it.outcomes()) == [kind]
        assert it.executor.running == 0
        it.executor.release(int(eager))
        assert it.executor.free == it.slots
        OVER.set()
        await asyncio.sleep(0.2)
        assert len(await it.outcomes()) == 1, "what it does later is not reported"

    with caplog.at_level(logging.WARNING, "processor.activities"):
        asyncio.run(main())
    (said,) = (record.message for record in caplog.records)
    assert "'swallows' goes on" in said and "Let CancelledError through" in said


def test_a_clean_up_that_is_short_is_waited_for_and_not_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends: list[str] = []

    async def cleans() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            await asyncio.sleep(0.2)
            ends.append("cleaned")

    async def main() -> list[ActivityReport]:
        it = Running()
        registry = Registry([], [activity.define(cleans)], it.executor._registry.injected)
        it.executor._functions._registry = registry
        it.begin("cleans", start_to_close_ms=100)
        found = await it.outcomes()
        assert ends == ["cleaned"]
        return found

    assert kinds(asyncio.run(main())) == ["start_to_close"]
    assert not caplog.records


@pytest.mark.parametrize("name", ["swallows", "hangs"])
def test_who_brought_a_task_hears_of_its_cancellation_though_the_function_goes_on(
    name: str,
) -> None:
    async def main() -> None:
        it = Running()
        it.begin(name)
        await asyncio.sleep(0.05)
        it.executor.cancel("0-1", 1)
        assert kinds(await it.outcomes()) == ["ActivityCancelled"]
        assert it.executor.running == 0 and it.executor.free == it.slots
        OVER.set()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["swallows", "hangs"])
@pytest.mark.parametrize("timeout_s", [0.0, 0.2])
def test_a_worker_stops_though_a_function_goes_on(
    name: str, timeout_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        it = Running()
        it.begin(name)
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await it.executor.drain(timeout_s)
        await it.executor.drain(0)
        assert time.monotonic() - begun < 15, "what hangs ends by itself after 20 s"
        assert kinds(it.reports) in (["lost"], [None, "lost"], ["started", "lost"])

    with caplog.at_level(logging.WARNING, "processor.activities"):
        asyncio.run(main())
    assert f"the worker stops while activities run: '{name}' (1)" in caplog.text


def test_late_activities_are_cancelled_when_a_worker_stops() -> None:
    ends: list[str] = []

    @activity.define(name="wait")
    async def wait() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def main() -> None:
        it = Running()
        it.executor._functions._registry = Registry([], [wait], it.executor._registry.injected)
        it.begin("wait")
        begun = asyncio.get_running_loop().time()
        await it.executor.drain(0.1)
        assert kinds(await it.outcomes()) == ["lost"]
        took_s = asyncio.get_running_loop().time() - begun
        assert took_s < 0.8, "it is not waited for as one that swallows it"

    in_own_time(main())
    assert ends == ["cancelled"]


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["start_to_close_ms", "heartbeat_ms"])
def test_threads_that_hang_are_replaced_and_told(
    limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen: 32 of them, each timed out long ago, and no plain activity ran in the process again."""

    async def main() -> None:
        it = Running(activity_threads_max=3)
        for id in range(3):
            it.begin("hangs", id, **{limit: 100})
        assert kinds(await it.outcomes(3)) == [limit.removesuffix("_ms")] * 3
        for id in range(3, 9):
            it.begin("quick", id, start_to_close_ms=60_000)
        assert kinds(await it.outcomes(9))[3:] == ["completed"] * 6
        await asyncio.sleep(1.2)

    with caplog.at_level(logging.WARNING, "processor.activities"):
        asyncio.run(main())
    (said,) = (record.message for record in caplog.records)
    assert "'hangs' goes on" in said and "activity.is_cancelled()" in said


def test_an_activity_of_which_too_much_goes_on_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Others go on, and so does it once its functions have ended."""

    async def main() -> None:
        it = Running(activity_threads_max=2)
        for id in range(6):
            it.begin("hangs", id, start_to_close_ms=100)
        said = kinds(await it.outcomes(6))
        assert set(said) == {"start_to_close", "ActivityNeverEnds"}
        assert said.count("start_to_close") <= 3, "one begins while the second is not over"
        assert not it.executor.place("hangs", DEFAULTS, 0), "another worker may have it"
        assert it.executor.place("quick", DEFAULTS, 0)
        it.begin("hangs", 6)
        refused = (await it.outcomes(7))[-1].failure
        assert refused is not None and refused.retryable
        assert "attempts of it that are over do not end" in refused.message
        OVER.set()
        async with asyncio.timeout(15):
            while not it.executor.place("hangs", DEFAULTS, 0):
                await asyncio.sleep(0.01)
        it.begin("hangs", 7)
        assert kinds(await it.outcomes(8))[-1] == "completed"

    with caplog.at_level(logging.ERROR, "processor.activities"):
        asyncio.run(main())
    assert len(caplog.records) == 1


def test_tasks_that_swallow_their_cancellation_are_bounded() -> None:
    async def main() -> None:
        it = Running(max_activities=2)
        for id in range(2):
            it.begin("swallows", id, start_to_close_ms=50)
        await it.outcomes(2)
        it.begin("swallows", 2, start_to_close_ms=50)
        assert kinds(await it.outcomes(3))[2:] == ["ActivityNeverEnds"]
        it.begin("quick", 3)
        assert kinds(await it.outcomes(4))[3:] == ["completed"]
        OVER.set()

    asyncio.run(main())


def test_as_many_threads_as_asked_for_and_no_more() -> None:
    threads, gate = ActivityThreads(3), threading.Event()
    seen: set[int] = set()

    def notes() -> None:
        seen.add(threading.get_ident())
        gate.wait(30)

    futures = [threads.submit(notes) for _ in range(10)]
    end = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.1)
    assert len(seen) == 3
    gate.set()
    for future in futures:
        future.result(20)
    assert len(seen) == 3
    assert threads.submit(threading.get_ident).result(20) in seen, "one that waits is used again"
    threads.shutdown()
    with pytest.raises(RuntimeError, match="the worker stops"):
        threads.submit(notes)


def test_a_thread_too_many_ends() -> None:
    threads, gate = ActivityThreads(1), threading.Event()
    calls: list[Any] = []

    def hangs() -> int:
        calls.append(call := threads.begun("hangs"))
        gate.wait(30)
        threads.ended(call)
        return threading.get_ident()

    first = threads.submit(hangs)
    while not calls:
        time.sleep(0.001)
    second = threads.submit(threading.get_ident)
    assert threads.leave(calls[0]) and not threads.leave(calls[0])
    other = second.result(20)
    assert threads.left == {"hangs": 1}
    gate.set()
    assert first.result(20) != other
    assert threads.left["hangs"] == 0 and not threads.leave(calls[0])
    assert {threads.submit(threading.get_ident).result(20) for _ in range(5)} == {other}


# --- end to end -----------------------------------------------------------------------------------

LIBRARY = """
import asyncio, sys, threading
from processor import Client, Settings, Worker, activity, workflow

@activity.define(start_to_close=0.3)
def hangs() -> None:
    threading.Event().wait()

@activity.define(start_to_close=0.3)
async def swallows() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass

@workflow.define
async def w(name: str) -> None:
    await (hangs() if name == "hangs" else swallows())

async def main() -> None:
    server, settings = "embedded:" + sys.argv[1], Settings(shutdown_s=1)
    worker = Worker(server, workflows=[w], activities=[hangs, swallows], settings=settings)
    async with worker, Client(server) as client:
        await client.start(w, sys.argv[2])
        await asyncio.sleep(float(sys.argv[3]))

asyncio.run(main())
print("main ended")
"""


@pytest.mark.parametrize("name", ["hangs", "swallows"])
@pytest.mark.parametrize("seconds", [0.1, 1.5], ids=["it runs", "it was left"])
def test_a_process_ends_though_a_function_goes_on(
    name: str, seconds: float, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LIBRARY, str(tmp_path), name, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40)
    assert (done.returncode, done.stdout) == (0, "main ended\n"), done.stderr


EXITS = """
import asyncio, sys
from processor import Client, Worker, activity, workflow

@activity.define
async def leaves() -> None:
    async def exits() -> None:
        sys.exit(3)
    await asyncio.gather(asyncio.create_task(exits()), asyncio.sleep(5))

@workflow.define
async def w() -> None:
    await leaves()

async def main() -> None:
    server = "embedded:" + sys.argv[1]
    async with Worker(server, workflows=[w], activities=[leaves]), Client(server) as client:
        await client.run(w)

asyncio.run(main())
"""


def test_an_exit_in_a_task_of_an_activity_names_the_activity(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EXITS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40)
    assert done.returncode == 3
    assert "activity 'leaves' was cancelled or exits" in done.stderr
    assert "sys.exit()" in done.stderr


ONCE = RetryPolicy(maximum_attempts=1)


@activity.define(name="far", queue="gpu", retry=ONCE)
async def far() -> str:
    return "ran"


@workflow.define
async def goes_far() -> str:
    return await far()


def test_the_embedded_runtime_runs_activities_of_all_queues(tmp_path: Path) -> None:
    async def main() -> str:
        server = f"embedded:{tmp_path}"
        worker = Worker(server, workflows=[goes_far], activities=[far])
        async with worker, Client(server) as client:
            return await client.run(goes_far, timeout=20)

    assert asyncio.run(main()) == "ran"


@pytest.mark.parametrize(
    ("queues", "options", "here"),
    [
        (None, replace(DEFAULTS, queue="gpu"), True),
        (("gpu",), replace(DEFAULTS, queue="gpu"), True),
        (("default", "cpu"), replace(DEFAULTS, queue="gpu"), False),
        ((), replace(DEFAULTS, queue="gpu"), False),
        (("cpu",), replace(DEFAULTS, queue="gpu", eager=True), True),
        (("gpu",), replace(DEFAULTS, queue="gpu", eager=False), False),
        (("gpu",), DEFAULTS, True),
    ],
    ids=["all", "served", "others", "none", "eager", "not eager", "the default one"],
)
def test_an_activity_of_a_queue_runs_eagerly_where_that_is_served(
    queues: tuple[str, ...] | None, options: Any, here: bool
) -> None:
    async def main() -> bool:
        it = Running()
        it.executor.queues = queues
        return it.executor.place("quick", options, 0)

    assert asyncio.run(main()) is here


def test_a_worker_on_kafka_tells_its_queues_to_its_executor() -> None:
    from processor.kafka.queues.queues import Queues

    async def main() -> None:
        it = Running()
        nothing: Any = None
        Queues(nothing, it.executor, ("default", "cpu"), None)
        assert not it.executor.place("quick", replace(DEFAULTS, queue="gpu"), 1)
        assert it.executor.place("quick", replace(DEFAULTS, queue="cpu"), 1)

    asyncio.run(main())
