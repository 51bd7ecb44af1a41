"""Attempts that their functions leave open, and who says how they end: by token, or by ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ActivityNotOpen,
    ActivityTimedOut,
    ApplicationError,
    Client,
    InvalidArgument,
    RetryPolicy,
    SchemaMismatch,
    Settings,
    Worker,
    WorkflowFailed,
    WorkflowNotFound,
    activity,
    workflow,
)
from processor.testing import Environment

SOON = RetryPolicy(initial_interval=timedelta(seconds=0.01), coefficient=1)
TOKENS: list[str] = []
EARLY: list[Client] = []


@activity.define(retry=SOON)
async def asks(what: str) -> str:
    TOKENS.append(activity.info().task_token)
    raise activity.CompleteAsync


@activity.define(retry=SOON, eager=False)
async def asks_far(what: str) -> str:
    TOKENS.append(activity.info().task_token)
    raise activity.CompleteAsync


@activity.define(retry=SOON)
def asks_in_thread(what: str) -> str:
    TOKENS.append(activity.info().task_token)
    raise activity.CompleteAsync()


@activity.define(start_to_close=0.3, retry=RetryPolicy(maximum_attempts=1))
async def hurried(what: str) -> str:
    activity.heartbeat("half")
    raise activity.CompleteAsync


@activity.define(heartbeat=2, retry=RetryPolicy(maximum_attempts=1))
async def watched(what: str) -> str:
    TOKENS.append(activity.info().task_token)
    raise activity.CompleteAsync


@activity.define
async def answered_early(what: str) -> str:
    """Its answer comes before the function has returned."""
    (client,) = EARLY
    await client.complete(activity.info().task_token, "early")
    raise activity.CompleteAsync


@activity.define(retry=SOON)
async def looks_back(what: str) -> str:
    if (details := activity.heartbeat_details(str)) is not None:
        return details
    TOKENS.append(activity.info().task_token)
    raise activity.CompleteAsync


@workflow.define
async def approval(activity_name: str, what: str = "an order") -> str:
    return await BY_NAME[activity_name](what)


@workflow.define
async def gives_up(activity_name: str) -> str:
    asked = asyncio.ensure_future(BY_NAME[activity_name]("what"))
    await workflow.wait_for_event("give up")
    asked.cancel()
    await asyncio.wait([asked])
    return await workflow.wait_for_event("go", str)


ACTIVITIES = [asks, asks_far, asks_in_thread, hurried, watched, answered_early, looks_back]
BY_NAME = {each.name: each for each in ACTIVITIES}
Talk = Callable[[Client], Awaitable[Any]]


def run(path: Path, talk: Talk) -> Any:
    TOKENS.clear()

    async def main() -> Any:
        server = f"embedded:{path}"
        settings = Settings(heartbeat_throttle_s=0)
        worker = Worker(
            server, workflows=[approval, gives_up], activities=ACTIVITIES, settings=settings
        )
        async with worker, Client(server) as client, asyncio.timeout(30):
            return await talk(client)

    return asyncio.run(main())


async def left_open(client: Client, id: str = "w") -> dict[str, Any]:
    """Return the activity of a run, once its function has left it open."""
    async with asyncio.timeout(30):
        while True:
            for each in (await client.handle(id).describe()).pending.get("activities", ()):
                if each["left_open"]:
                    return dict(each)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["asks", "asks_far", "asks_in_thread"])
def test_an_attempt_that_is_left_open_ends_with_what_a_client_says(
    tmp_path: Path, name: str
) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(approval, name, id="w")
        stands = await left_open(client)
        assert (stands["eager"], stands["worker"], stands["attempt"]) == (False, "", 1)
        (token,) = TOKENS
        assert token.replace("-", "").replace("_", "").isalnum(), "it may stand in a URL"
        assert not await client.heartbeat(token, {"asked": "Ada"})
        assert (await left_open(client))["details"] == {"asked": "Ada"}
        await client.complete(token, "granted")
        assert await handle.result() == "granted"
        assert len(TOKENS) == 1, "it ran once"

    run(tmp_path, talk)


def test_a_failure_is_as_one_of_the_function(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(approval, "asks", id="w")
        await left_open(client)
        await client.fail(TOKENS[0], ApplicationError("not today"))
        while len(TOKENS) < 2:
            await asyncio.sleep(0.01)
        stands = await left_open(client)
        assert (stands["attempt"], stands["failures"]) == (2, 1)
        assert stands["last_failure"]["message"] == "not today"
        with pytest.raises(ActivityNotOpen, match="attempt 1 is over, and attempt 2 is out"):
            await client.complete(TOKENS[0], "late")
        assert await client.heartbeat(TOKENS[0]), "nobody waits for it"
        await client.fail(TOKENS[1], ApplicationError("never", type="No", retryable=False))
        with pytest.raises(WorkflowFailed, match="never") as failed:
            await handle.result()
        cause = failed.value.__cause__
        assert isinstance(cause, ApplicationError) and cause.type == "No"

    run(tmp_path, talk)


def test_an_activity_is_named_by_its_ids_too(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(approval, "asks", id="w")
        id = (await left_open(client))["id"]
        assert not await client.heartbeat(("w", id))
        run_id = handle.run_id
        assert run_id is not None
        await client.complete(("w", id, run_id), "granted")
        assert await handle.result() == "granted"

    run(tmp_path, talk)


def test_what_comes_late_twice_or_to_nobody_is_refused_and_says_why(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(gives_up, "asks", id="w")
        await left_open(client)
        (token,) = TOKENS
        await handle.raise_event("give up")
        while (await handle.describe()).pending["activities"]:
            await asyncio.sleep(0.01)
        with pytest.raises(ActivityNotOpen, match=r"it is over \(completed, failed or given up\)"):
            await client.complete(token, "late")
        assert await client.heartbeat(token), "the external system hears that it should stop"
        await client.cancelled(token)
        await handle.raise_event("go", "on")
        assert await handle.result() == "on"
        with pytest.raises(ActivityNotOpen, match="the run is completed"):
            await client.complete(token, "late")
        with pytest.raises(ActivityNotOpen, match="the run is completed"):
            await client.fail(("w", 1), ApplicationError("late"))
        await client.run(approval, "answered_early", id="w")
        with pytest.raises(ActivityNotOpen, match=r"is not the latest run .*ended, or never was"):
            await client.complete(token, "late")
        with pytest.raises(WorkflowNotFound, match="no run of workflow id 'nobody'"):
            await client.complete(("nobody", 1), "late")

    async def with_early(client: Client) -> None:
        EARLY[:] = [client]
        await talk(client)

    run(tmp_path, with_early)


def test_an_answer_may_come_before_the_function_has_returned(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        EARLY[:] = [client]
        assert await client.run(approval, "answered_early") == "early"

    run(tmp_path, talk)


def test_time_outs_apply_until_the_end(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(WorkflowFailed) as failed:
            await client.run(approval, "hurried", timeout=10)
        cause = failed.value.__cause__
        assert isinstance(cause, ActivityTimedOut)
        assert (cause.kind, cause.details) == ("start_to_close", "half")
        handle = await client.start(approval, "watched", id="w")
        await left_open(client)
        for _ in range(25):
            assert not await client.heartbeat(TOKENS[-1], "alive")
            await asyncio.sleep(0.1)
        with pytest.raises(WorkflowFailed) as failed:
            await handle.result(timeout=10)
        cause = failed.value.__cause__
        assert isinstance(cause, ActivityTimedOut)
        assert (cause.kind, cause.details) == ("heartbeat", "alive")

    run(tmp_path, talk)


def test_the_next_attempt_has_the_details_of_the_last_heartbeat(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(approval, "looks_back", id="w")
        await left_open(client)
        await client.heartbeat(TOKENS[0], "page 7")
        await client.fail(TOKENS[0], ApplicationError("again"))
        assert await handle.result() == "page 7"

    run(tmp_path, talk)


@pytest.mark.parametrize("name", ["asks", "asks_far"])
def test_an_open_attempt_outlives_the_worker_that_left_it(tmp_path: Path, name: str) -> None:
    async def first(client: Client) -> None:
        await client.start(approval, name, id="w")
        await left_open(client)

    async def second(client: Client) -> None:
        await asyncio.sleep(0.2)
        stands = await left_open(client)
        assert (stands["attempt"], stands["failures"]) == (1, 0), "it is not counted as lost"
        assert not TOKENS, "the function does not run again"
        await client.complete(tokens[0], "granted")
        assert await client.handle("w").result() == "granted"

    run(tmp_path, first)
    tokens = list(TOKENS)
    run(tmp_path, second)


def test_what_is_no_token_is_refused_at_the_call(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        wrong: Any
        for wrong in ("", "x", "ü", 5, None, ("w",), ("w", "1"), ("w", -1), ("", 1), ("w", 1, "")):
            with pytest.raises(InvalidArgument, match="complete: "):
                await client.complete(wrong, 1)
        no_error: Any = "text"
        with pytest.raises(InvalidArgument, match="fail: error: give an exception"):
            await client.fail(("w", 1), no_error)
        with pytest.raises(SchemaMismatch, match="the result: "):
            await client.complete(("w", 1), object())

    run(tmp_path, talk)


def test_the_test_environment_waits_for_completions() -> None:
    TOKENS.clear()

    async def main() -> None:
        async with Environment([approval], [asks, watched]) as env:
            handle = await env.start(approval, "asks", id="w")
            await env.sleep(timedelta(days=30))
            assert len(TOKENS) == 1
            await env.complete(TOKENS[0], "granted")
            assert await handle.result() == "granted"
            with pytest.raises(WorkflowFailed):
                await env.run(approval, "watched")

    asyncio.run(main())
