"""What becomes of an activity whose await is cancelled: it tries, it waits, or it lets it be."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    InvalidArgument,
    RetryPolicy,
    Settings,
    Worker,
    activity,
    workflow,
)
from processor.activity import Activity
from processor.testing import Environment

NEVER_S = 1_000_000
SAID: list[str] = []
BEGAN: list[str] = []
GOES = threading.Event()
TOKENS: list[str] = []


@activity.define
async def tidies() -> str:
    try:
        BEGAN.append("tidies")
        await asyncio.sleep(NEVER_S)
    except asyncio.CancelledError:
        await asyncio.sleep(1.5)  # longer than an attempt that is given up may take
        SAID.append("tidied")
        raise
    return "never"


@activity.define
async def finishes() -> str:
    try:
        BEGAN.append("finishes")
        await asyncio.sleep(NEVER_S)
    except asyncio.CancelledError:
        SAID.append("finished")
        return "a half"
    return "never"


@activity.define
async def breaks() -> str:
    try:
        BEGAN.append("breaks")
        await asyncio.sleep(NEVER_S)
    finally:
        raise ApplicationError("it broke while it tidied")


@activity.define(eager=False, heartbeat=20)
async def tidies_far() -> str:
    try:
        BEGAN.append("tidies_far")
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        SAID.append("tidied")
        raise


@activity.define
def in_thread() -> str:
    BEGAN.append("in_thread")
    while not activity.is_cancelled():
        time.sleep(0.01)
    time.sleep(0.2)
    SAID.append("tidied")
    return "a half"


@activity.define(retry=RetryPolicy(initial_interval=timedelta(days=9)))
async def fails() -> str:
    BEGAN.append("fails")
    raise ApplicationError("not yet")


@activity.define
async def left_open() -> str:
    TOKENS.append(activity.info().task_token)
    raise activity.CompleteAsync


@activity.define
async def goes_on() -> str:
    BEGAN.append("goes_on")
    while not GOES.is_set():
        await asyncio.sleep(0.01)
    SAID.append("went on")
    return "done"


ACTIVITIES = [tidies, finishes, breaks, tidies_far, in_thread, fails, left_open, goes_on]
BY_NAME: dict[str, Activity[[], str]] = {each.name: each for each in ACTIVITIES}


@workflow.define
async def calls(name: str, how: Any) -> str:
    """Return what the await came to, and in which order things happened."""
    try:
        result = await BY_NAME[name].options(cancellation=how)()
    except asyncio.CancelledError as error:
        told = f"cancelled: {type(error.__cause__).__name__}"
    else:
        told = f"result: {result}"
    said = workflow.side_effect(lambda: list(SAID), list[str])
    if said and how == "abandon":
        told += " too early"
    workflow.set_status(told)
    if how == "abandon":
        await asyncio.sleep(2)
    return f"{told} {said}"


@workflow.define
async def in_time(name: str) -> str:
    try:
        async with asyncio.timeout(1):  # longer than a machine stands still: it has to begin
            return await BY_NAME[name].options(cancellation="wait")()
    except TimeoutError:
        return "too late"


@workflow.define
async def at_once(how: Any) -> str:
    task = asyncio.create_task(BY_NAME["tidies"].options(cancellation=how)())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return f"{task.cancelled()}"


@workflow.define
async def twice() -> str:
    task = asyncio.create_task(BY_NAME["tidies"].options(cancellation="wait")())
    await asyncio.sleep(0.1)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.1)
    await asyncio.wait([task])
    return f"{task.cancelled()} {workflow.side_effect(lambda: list(SAID), list[str])}"


WORKFLOWS = [calls, in_time, at_once, twice]
Talk = Callable[[Client], Awaitable[Any]]


def run(path: Path, talk: Talk, **settings: Any) -> Any:
    for each in (SAID, BEGAN, TOKENS):
        each.clear()
    GOES.clear()

    async def main() -> Any:
        server = f"embedded:{path}"
        given = Settings(heartbeat_throttle_s=0, **settings)
        worker = Worker(server, workflows=WORKFLOWS, activities=ACTIVITIES, settings=given)
        async with worker, Client(server) as client, asyncio.timeout(30):
            return await talk(client)

    return asyncio.run(main())


@pytest.mark.parametrize("cached", [1_000, 0], ids=["live", "replayed at each step"])
@pytest.mark.parametrize(
    ("name", "how", "told"),
    [
        ("tidies", "try", "cancelled: NoneType []"),
        ("tidies", "wait", "cancelled: ActivityCancelled ['tidied']"),
        ("finishes", "wait", "result: a half ['finished']"),
        ("breaks", "wait", "cancelled: ApplicationError []"),
        ("tidies_far", "wait", "cancelled: ActivityCancelled ['tidied']"),
        ("in_thread", "wait", "result: a half ['tidied']"),
        ("fails", "wait", "cancelled: ActivityCancelled []"),
        ("goes_on", "abandon", "cancelled: NoneType []"),
    ],
)
def test_what_the_await_comes_to(
    tmp_path: Path, name: str, how: str, told: str, cached: int
) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(calls, name, how, id="w")
        while not BEGAN:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await handle.cancel()
        if how == "abandon":
            while (await handle.describe()).custom_status is None:
                await asyncio.sleep(0.01)
            GOES.set()
        assert await handle.result() == told
        if how == "abandon":
            assert SAID == ["went on"], "the activity was left alone"
            ended = [e.type for e in await handle.history() if e.type.startswith("ActivityC")]
            assert ended == ["ActivityCompleted"]

    run(tmp_path, talk, cached_runs_max=cached)


def test_a_time_out_waits_too(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        assert await client.run(in_time, "tidies") == "too late"
        assert SAID == ["tidied"]
        assert await client.run(in_time, "finishes") == "a half"

    run(tmp_path, talk)


@pytest.mark.parametrize("how", ["try", "wait", "abandon"])
def test_what_was_not_sent_yet_leaves_nothing(tmp_path: Path, how: str) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(at_once, how)
        assert await handle.result() == "True"
        assert not [e.type for e in await handle.history() if e.type.startswith("Activity")]

    run(tmp_path, talk)


def test_more_cancellations_end_no_wait(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(twice)
        assert await handle.result() == "True ['tidied']"
        types = [event.type for event in await handle.history()]
        assert types.count("ActivityStopRequested") == 1

    run(tmp_path, talk)


def test_whoever_ends_an_open_attempt_says_that_it_has_stopped(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(calls, "left_open", "wait", id="w")
        while not TOKENS or await client.heartbeat(TOKENS[0]):
            await asyncio.sleep(0.01)
        await handle.cancel()
        while not await client.heartbeat(TOKENS[0]):
            await asyncio.sleep(0.01)
        assert (await handle.describe()).pending["activities"][0]["asked_to_stop"]
        await client.cancelled(TOKENS[0])
        assert (await handle.result()).startswith("cancelled: ActivityCancelled")
        await client.cancelled(TOKENS[0])

    run(tmp_path, talk)


def test_a_worker_that_dies_with_the_attempt_ends_the_wait(tmp_path: Path) -> None:
    async def first(client: Client) -> None:
        handle = await client.start(calls, "in_thread", "wait", id="w")
        await asyncio.sleep(0.2)
        await handle.cancel()

    async def second(client: Client) -> None:
        assert (await client.handle("w").result()).startswith("cancelled: ")

    run(tmp_path, first, shutdown_s=0.1)
    run(tmp_path, second)


def test_in_virtual_time() -> None:
    async def main() -> None:
        async with Environment(WORKFLOWS, ACTIVITIES) as env:
            handle = await env.start(calls, "fails", "wait")
            await env.sleep(60)
            await handle.cancel()
            before = env.now()
            assert (await handle.result()).startswith("cancelled: ActivityCancelled")
            assert env.now() - before < timedelta(seconds=5), "it waits for no next attempt"
            handle = await env.start(calls, "tidies", "try", id="try")
            await env.sleep(60)
            await handle.cancel()
            assert (await handle.result()).startswith("cancelled: NoneType")

    SAID.clear()
    asyncio.run(main())


def test_another_word_is_refused() -> None:
    wrong: Any = "perhaps"
    with pytest.raises(InvalidArgument, match="cancellation: give one of 'try', 'wait', 'abandon'"):
        tidies.options(cancellation=wrong)
    with pytest.raises(InvalidArgument, match="cancellation: give one of"):
        activity.define(cancellation=wrong)
