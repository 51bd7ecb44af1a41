"""Plain functions are interrupted when their attempts are over, unless they ask or are shielded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from processor import (
    ActivityTimedOut,
    ApplicationError,
    Client,
    RetryPolicy,
    Settings,
    Worker,
    WorkflowFailed,
    activity,
    workflow,
)
from processor.activities.threads import ActivityThreads, ThreadCall

ONCE = RetryPolicy(maximum_attempts=1)
SAID: list[str] = []


INTERRUPTED = threading.Event()


def _spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


def _until_interrupted() -> None:
    """Spin until an interruption is aimed at the function; a shield holds it back."""
    end = time.monotonic() + 20
    while not INTERRUPTED.is_set() and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(0.05)


@activity.define(retry=ONCE)
def works() -> str:
    try:
        SAID.append("began")
        _spin(20)
    except asyncio.CancelledError:
        SAID.append("interrupted")
        raise
    return "done"


@activity.define(retry=ONCE)
def is_shielded() -> str:
    try:
        with activity.shield():
            with activity.shield():
                SAID.append("began")
                _until_interrupted()
            SAID.append("shielded")
    except asyncio.CancelledError:
        SAID.append("interrupted")
        raise
    return "done"


@activity.define(retry=ONCE)
def asks() -> str:
    assert not activity.is_cancelled()  # who has asked once is not interrupted
    SAID.append("began")
    while not activity.is_cancelled():
        time.sleep(0.005)
    _spin(0.2)
    SAID.append("tidied")
    return "asked"


@activity.define(retry=ONCE, start_to_close=0.2)
def too_slow() -> str:
    try:
        _spin(20)
    finally:
        SAID.append("interrupted")
    return "done"


@activity.define(retry=RetryPolicy(initial_interval=0.01, coefficient=1))
def polls() -> str:
    if activity.info().attempt < 4:
        raise ApplicationError("not there yet", benign=True)
    return f"attempt {activity.info().attempt}"


@activity.define(queue="reports", start_to_close=60, heartbeat=5)
def tells() -> list[str]:
    info = activity.info()
    assert info.scheduled is not None and info.started is not None
    assert info.scheduled <= info.started
    limits = f"{info.start_to_close} {info.heartbeat}"
    return [info.workflow, info.queue, info.namespace, limits, str(info.deadline is not None)]


BY_NAME: dict[str, Any] = {each.name: each for each in (works, is_shielded, asks, too_slow)}


@workflow.define
async def order(name: str) -> str:
    try:
        return f"result: {await BY_NAME[name].options(cancellation='wait')()}"
    except asyncio.CancelledError:
        return "cancelled"
    except ActivityTimedOut as error:
        return error.kind


@workflow.define
async def asks_around() -> list[str]:
    return [await polls(), *await tells()]


Talk = Callable[[Client], Awaitable[Any]]


def run(path: Path, talk: Talk) -> Any:
    SAID.clear()

    async def main() -> Any:
        server = f"embedded:{path}"
        worker = Worker(
            server,
            namespace="shop",
            workflows=[order, asks_around],
            activities=[*BY_NAME.values(), polls, tells],
            settings=Settings(),
        )
        async with worker, Client(server, namespace="shop") as client, asyncio.timeout(30):
            return await talk(client)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "told", "said"),
    [
        ("works", "cancelled", ["began", "interrupted"]),
        ("is_shielded", "cancelled", ["began", "shielded", "interrupted"]),
        ("asks", "result: asked", ["began", "tidied"]),
    ],
)
def test_a_cancellation_reaches_a_thread(
    tmp_path: Path, name: str, told: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aimed = ThreadCall.interrupt

    def interrupt(call: ThreadCall) -> None:
        aimed(call)
        INTERRUPTED.set()

    INTERRUPTED.clear()
    monkeypatch.setattr(ThreadCall, "interrupt", interrupt)

    async def talk(client: Client) -> None:
        handle = await client.start(order, name)
        while not SAID:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await handle.cancel()
        assert await handle.result() == told
        assert said == SAID

    run(tmp_path, talk)


def test_a_time_out_reaches_a_thread(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        begun = time.monotonic()
        assert await client.run(order, "too_slow") == "start_to_close"
        while not SAID:
            assert time.monotonic() - begun < 18, "it ends by itself after 20 s"
            await asyncio.sleep(0.01)

    run(tmp_path, talk)


def test_what_is_benign_is_no_failure_to_people(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(client: Client) -> None:
        told = await client.run(asks_around)
        limits = "0:01:00 0:00:05"
        assert told == ["attempt 4", "asks_around", "reports", "shop", limits, "True"]

    run(tmp_path, talk)
    assert not [each for each in caplog.records if "failed" in each.getMessage()]


def test_no_interruption_outlives_its_function() -> None:
    """It is aimed at a function that is ending; whoever runs in that thread next is spared."""
    threads = ActivityThreads(1)
    hit = [0, 0]

    def job() -> None:
        call = threads.begun("job")
        aimed = threading.Thread(target=call.interrupt)
        try:
            try:
                aimed.start()
                for _ in range(300):
                    pass
            except asyncio.CancelledError:
                hit[0] += 1
            threads.ended(call)
        except asyncio.CancelledError:
            hit[1] += 1
            threads.ended(call)
        aimed.join()
        for _ in range(300):
            pass

    for _ in range(2_000):
        threads.submit(job).result()
    assert hit[0] > 0
    threads.shutdown()


def test_what_is_interrupted_at_once_has_ended_also_under_a_debugger(tmp_path: Path) -> None:
    """Else it counts for ever as a function that goes on, and such are not called any more."""
    seen: list[ThreadCall] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_name != "_in_thread":
            return None
        call = frame.f_locals["attempt"].call
        if event == "line" and call is not None and not seen:
            seen.append(call)
            call.interrupt()
        return trace

    async def talk(client: Client) -> None:
        handle = await client.start(order, "too_slow")
        with pytest.raises(WorkflowFailed):
            await handle.result()
        assert [call.running for call in seen] == [False]

    threading.settrace(trace)
    try:
        run(tmp_path, talk)
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
