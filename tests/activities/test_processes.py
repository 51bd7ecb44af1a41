"""Activities in processes: what they give back, and what becomes of a process that ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ActivityTimedOut,
    Client,
    Handle,
    Interceptor,
    InvalidArgument,
    PayloadCodec,
    RetryPolicy,
    Settings,
    Worker,
    WorkflowCancelled,
    WorkflowFailed,
    activity,
    workflow,
)
from processor.activities import child
from processor.activities.traveling import received_error, sent_error
from processor.failures import bases_of
from processor.testing import ActivityEnvironment, Environment

from .in_processes import (
    Exits,
    Local,
    Point,
    Scale,
    calls,
    computes,
    decorated,
    decorated_elsewhere,
    forks,
    moved,
    sleeps,
)

pytestmark = pytest.mark.slow

ONCE = RetryPolicy(maximum_attempts=1)


@workflow.define
async def flow(what: str, attempts: int = 1) -> Any:
    return await calls.options(retry=RetryPolicy(maximum_attempts=attempts))(what)


@workflow.define
async def others(number: int) -> list[int]:
    point = await moved(Point(number))
    return [point.x, (await moved(point, 5)).x, await Scale.scaled(number)]


@workflow.define
async def sleeping(folder: str, limit: float) -> None:
    await sleeps.options(retry=ONCE, start_to_close=limit)(folder)


@workflow.define
async def timed(folder: str, how: str, limit: float) -> str:
    return await computes.options(retry=ONCE, start_to_close=limit)(folder, how)


@workflow.define
async def again(folder: str, how: str, limit: float) -> str:
    return await computes.options(start_to_close=limit)(folder, how)


@workflow.define
async def waiting(folder: str, how: str) -> str:
    return await computes.options(cancellation="wait")(folder, how)


def serving(
    folder: Path, work: Callable[[Client], Awaitable[None]], most: int = 1, **limits: Any
) -> None:
    """Run a test with a client of an embedded worker, whose processes end with it."""

    async def main() -> None:
        server = f"embedded:{folder}/state"
        code = [flow, others, sleeping, timed, again, waiting]
        activities = [calls, moved, computes, sleeps, forks, Scale(3).scaled]
        settings = Settings(activity_processes_max=most, **limits)
        worker = Worker(server, workflows=code, activities=activities, settings=settings)
        async with worker, Client(server) as client:
            await work(client)
        await gone(multiprocessing.active_children())

    asyncio.run(main())


async def gone(processes: list[Any]) -> None:
    assert await until(lambda: not any(each.is_alive() for each in processes))


async def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        await asyncio.sleep(0.02)
    return bool(condition())


def alive(pid: int) -> bool:
    """Return whether a process runs; one that ended and that nobody has reaped does not."""
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


async def left_open(handle: Handle[Any]) -> str:
    """Return the token of the activity that its function has left open, "" until it has."""
    open = (await handle.describe()).pending.get("activities", ())
    return "".join(each["details"] for each in open if each["left_open"])


async def cause_of(client: Client, what: str) -> Any:
    with pytest.raises(WorkflowFailed) as failed:
        await client.run(flow, what)
    return failed.value.__cause__


def test_values_and_errors_come_back_as_they_are(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        pid = await client.run(flow, "pid")
        assert pid != os.getpid() and pid == await client.run(flow, "pid")
        assert await client.run(others, 4) == [5, 10, 12]
        assert await client.run(flow, "info") == ["flow", 1, "default", True]
        assert await client.run(flow, "details") is None
        error = await cause_of(client, "error")
        assert (error.type, str(error)) == ("ValueError", "ValueError: outer")
        assert 'raise ValueError("outer")' in error.__notes__[-1]
        assert str(error.__cause__) == "'inner'"
        odd = await cause_of(client, "odd")
        assert (odd.type, odd.message, odd.details, odd.retryable) == (
            "Odd", "1 and 2", [1, 2], False,
        )  # fmt: skip
        assert "in_processes.py" in odd.__notes__[-1]
        assert await client.run(flow, "signals") == -signal.SIGTERM, "only the worker ends it"
        handle = await client.start(flow, "left open", id="open")
        while not (token := await left_open(handle)):
            await asyncio.sleep(0.02)
        await client.complete(token, "by hand")
        assert await handle.result() == "by hand"
        assert (await cause_of(client, "local")).type == "Local"
        assert (await cause_of(client, "system exit")).type == "SystemExit"
        said = str(await cause_of(client, "function"))
        assert "activity 'calls' runs in a process: the result cannot be pickled" in said
        assert "type object cannot become JSON" in str(await cause_of(client, "bad details"))
        assert await client.run(flow, "pid") == pid, "none of it ended the process"

    serving(tmp_path, work)


def test_nothing_of_an_attempt_reaches_the_next_one_in_its_process(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        pids = {await client.run(flow, "pid") for _ in range(2)}
        assert len(pids) == 1
        assert [await client.run(flow, "context") for _ in range(2)] == ["none of others"] * 2
        await client.run(flow, "later")
        told = await client.run(flow, "heard")
        assert told == ["activity.heartbeat: the function of 'calls' has ended"]

    serving(tmp_path, work)


def test_an_error_that_cannot_be_pickled_has_its_classes_for_the_retry_policy() -> None:
    again = received_error(sent_error(Local("a", "b")))
    assert (type(again).__name__, str(again)) == ("Local", "a: b")
    assert bases_of(again) == bases_of(Local("a", "b"))
    again = received_error(sent_error(Exits("no")))
    assert (type(again).__name__, str(again)) == ("Exits", "no"), "its pickle ends nothing"


@pytest.mark.parametrize(
    ("what", "said"),
    [("exit", "attempt 2 ended with exit code 3"), ("kill", "attempt 2 was killed by signal 9")],
)
def test_a_process_that_ends_is_replaced_and_its_attempt_is_lost(
    what: str, said: str, tmp_path: Path
) -> None:
    async def work(client: Client) -> None:
        pid = await client.run(flow, "pid")
        with pytest.raises(WorkflowFailed, match=said) as failed:
            await client.run(flow, what, 2)
        cause = failed.value.__cause__
        assert isinstance(cause, ActivityTimedOut)
        assert (cause.kind, cause.attempts) == ("lost", 2)
        fresh = await client.run(flow, "pid")
        assert fresh != pid and not alive(pid)
        os.kill(fresh, signal.SIGKILL)  # while nothing runs in it
        assert await until(lambda: not alive(fresh))
        assert await client.run(flow, "pid") != fresh, "nobody's attempt is lost with it"

    serving(tmp_path, work)


def test_what_a_function_has_forked_hides_no_end_of_its_process(tmp_path: Path) -> None:
    """The forked one has the pipe open, too: the only process would be waited for in vain."""

    async def work(client: Client) -> None:
        how: dict[str, Any] = {"retry": ONCE, "start_to_close": 40}
        with pytest.raises(WorkflowFailed, match="ended with exit code 3"):
            await client.run_activity(forks, str(tmp_path), "exit", **how, timeout=20)
        os.kill(int(tmp_path.joinpath("pid-1").read_text()), signal.SIGKILL)
        with pytest.raises(WorkflowFailed, match="start-to-close time-out"):
            how["start_to_close"] = 1.5
            await client.run_activity(forks, str(tmp_path), "sleep", **how, timeout=20)
        assert await client.run_activity(calls, "pid", timeout=20)
        forked = int(tmp_path.joinpath("pid-1").read_text())
        assert await until(lambda: not alive(forked)), "it is killed with the function"

    serving(tmp_path, work)


def test_a_function_is_refused_in_whose_place_a_process_would_run_another_one() -> None:
    async def main() -> None:
        async with Environment(activities=[decorated]) as env:
            assert await env.run_activity(decorated, 4) == 8
        with pytest.raises(InvalidArgument, match="a decorator of yours would be left out"):
            async with Environment(activities=[decorated_elsewhere]):
                """It does not begin."""

    asyncio.run(main())


def test_a_time_out_ends_what_computes_and_what_waits_in_c_code(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        for number, how in enumerate(("spins", "beats", "stubborn", "sleeps")):
            folder = tmp_path / how
            folder.mkdir()
            run = timed if how != "sleeps" else sleeping
            limit_s = 1.5  # longer than a machine stands still: the function has to begin
            args = (str(folder), how, limit_s) if how != "sleeps" else (str(folder), limit_s)
            with pytest.raises(WorkflowFailed, match="start-to-close time-out") as failed:
                await client.run(run, *args)  # type: ignore[arg-type]
            pid = int(folder.joinpath("pid-1").read_text())
            cause: Any = failed.value.__cause__
            assert cause.details == (pid if how == "beats" else None)
            assert folder.joinpath("cancelled").exists() == (how != "sleeps")
            if how in ("stubborn", "sleeps"):
                assert await until(lambda pid=pid: not alive(pid)), f"{how} ({number}) goes on"
        assert await client.run(flow, "pid")

    serving(tmp_path, work)


def test_what_is_asked_to_stop_may_clean_up_ask_or_shield_itself(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        for how in ("asks", "shielded", "spins"):
            folder = tmp_path / how
            folder.mkdir()
            handle = await client.start(waiting, str(folder), how, id=how)
            assert await until(folder.joinpath("pid-1").exists)
            await handle.cancel()
            if how == "asks":
                assert await handle.result() == "asked"
                continue
            if how == "shielded":
                await asyncio.sleep(0.1)
                assert not folder.joinpath("cancelled").exists()
                folder.joinpath("go").write_text("")
            with pytest.raises(WorkflowCancelled):
                await handle.result()
            assert folder.joinpath("cancelled").exists()

    serving(tmp_path, work)


@pytest.mark.parametrize("how", ["spins", "stubborn", "sleeps"])
def test_a_worker_that_stops_ends_its_processes_and_the_next_one_tries_again(
    how: str, tmp_path: Path
) -> None:
    async def begin(client: Client) -> None:
        args: Any = (str(tmp_path), 60.0) if how == "sleeps" else (str(tmp_path), how, 60.0)
        await client.start(sleeping if how == "sleeps" else again, *args, id="a")
        assert await until(tmp_path.joinpath("pid-1").exists)

    async def look(client: Client) -> None:
        handle = client.handle("a")
        if how == "sleeps":  # its policy allows one attempt
            with pytest.raises(WorkflowFailed, match="attempt 1"):
                await handle.result(20)
            return
        assert await until(tmp_path.joinpath("pid-2").exists)
        await handle.terminate()

    serving(tmp_path, begin, shutdown_s=0.5)
    serving(tmp_path, look, shutdown_s=0.5)


def test_they_take_turns_where_there_are_more_than_processes(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        pids = await asyncio.gather(*(client.run(flow, "pid") for _ in range(12)))
        assert len(set(pids)) <= 2

    serving(tmp_path, work, most=2)


@pytest.mark.parametrize("how", ["spins", "sleeps"])
def test_kill_9_of_a_worker_ends_its_processes(how: str, tmp_path: Path) -> None:
    module = "tests.activities.in_processes"
    worker = subprocess.Popen([sys.executable, "-m", module, str(tmp_path), how])
    try:
        assert asyncio.run(until(tmp_path.joinpath("pid-1").exists, 60))
        pid = int(tmp_path.joinpath("pid-1").read_text())
        assert alive(pid)
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        assert asyncio.run(until(lambda: not alive(pid))), "it outlives its worker"
    finally:
        worker.kill()
        worker.wait(10)


def test_the_environment_runs_them_and_mocks_stand_in_for_them() -> None:
    async def main() -> None:
        async with Environment([flow, others], [calls, moved, Scale(2).scaled]) as env:
            assert await env.run(flow, "pid") != os.getpid()
            assert await env.run(others, 4) == [5, 10, 8]
            processes = multiprocessing.active_children()
        assert processes
        await gone(processes)
        async with Environment([flow], mocks={calls: lambda what: what}) as env:
            assert await env.run(flow, "mocked") == "mocked"
        assert await ActivityEnvironment().run(calls, "pid") == os.getpid()

    asyncio.run(main())


def test_interceptors_and_codecs_see_what_they_would_of_a_thread(tmp_path: Path) -> None:
    seen: list[str] = []

    class Watching(Interceptor):
        async def run_activity(self, run: Any, next: Any) -> Any:
            try:
                return await next(run)
            except BaseException as error:
                seen.append(f"{type(error).__name__}: {error}")
                raise

    class Reversed(PayloadCodec):
        name = "reversed"
        errors = True

        def encode(self, payload: bytes) -> bytes:
            return payload[::-1]

        def decode(self, payload: bytes) -> bytes:
            return payload[::-1]

    async def main() -> None:
        how: Any = {"interceptors": [Watching()], "payloads": [Reversed()]}
        async with Environment([flow], [calls], **how) as env:
            for what in ("error", "odd", "exit"):
                with pytest.raises(WorkflowFailed):
                    await env.run(flow, what, id=what)
        assert seen[:2] == ["ValueError: outer", "ApplicationError: 1 and 2"]
        assert seen[2].startswith("ActivityTimedOut: activity 'calls': the process of attempt 1")

    asyncio.run(main())


def test_what_a_process_cannot_import_is_refused_where_it_is_defined() -> None:
    def inner() -> None: ...

    async def waits() -> None: ...

    for given, said in (
        (inner, "is made inside of a function: a process imports what it runs"),
        (lambda: None, "is made inside of a function"),
        (waits, "is async, which runs on the loop"),
        (functools.wraps(waits)(lambda: None), "is async, which runs on the loop"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            activity.define(name="x", pool="processes")(given)  # type: ignore[operator]
    with pytest.raises(InvalidArgument, match='pool: give "threads" or "processes", not 4'):
        activity.define(pool=4)(inner)  # type: ignore[call-overload]


def test_a_function_that_no_module_has_says_so(tmp_path: Path) -> None:
    program = (
        "import asyncio\n"
        "from processor import RetryPolicy, activity\n"
        "from processor.testing import Environment\n"
        "@activity.define(pool='processes', retry=RetryPolicy(maximum_attempts=1))\n"
        "def one(): return 1\n"
        "async def main():\n"
        "    async with Environment([], [one]) as env:\n"
        "        await env.run_activity(one)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "activity 'one' runs in a process, which finds no one in module __main__" in found.stderr


def test_a_main_module_without_its_guard_says_so(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import asyncio\n"
        "from processor import RetryPolicy, activity, workflow\n"
        "from processor.testing import Environment\n"
        "@activity.define(pool='processes', retry=RetryPolicy(maximum_attempts=1))\n"
        "def one(): return 1\n"
        "@workflow.define\n"
        "async def flow(): return await one()\n"
        "async def main():\n"
        "    async with Environment([flow], [one]) as env:\n"
        "        await env.run(flow)\n"
        "asyncio.run(main())\n"
    )
    found = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode != 0
    assert "that module starts a worker when it is imported. Put what starts it" in found.stderr
    assert "ended with exit code 1 before the function began" in found.stderr


def test_a_child_ends_with_its_pipe() -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=child.serve, args=(theirs,))
    process.start()
    theirs.close()
    ours.close()
    process.join(30)
    assert process.exitcode == 0
