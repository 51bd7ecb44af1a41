"""Messages between workflows that are awaited: answered once, whoever dies on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from processor import (
    Client,
    CommandRejected,
    InvalidArgument,
    Settings,
    Status,
    Worker,
    WorkflowCancelled,
    WorkflowNotFound,
    workflow,
)


@workflow.define
async def takes(count: int) -> list[str]:
    return [await workflow.wait_for_event("e", str) for _ in range(count)]


@workflow.define
async def deaf() -> None:
    await workflow.wait_for_event("never")


@workflow.define
async def tells(to: str, name: str = "e") -> str:
    """What comes of an awaited message, in a word."""
    try:
        told = await workflow.signal(to, name, "hello")
    except (WorkflowNotFound, CommandRejected) as error:
        return f"{type(error).__name__}: {error}"
    return f"taken: {told}"


@workflow.define
async def cancels(to: str) -> list[object]:
    found: list[object] = [await workflow.cancel(to, "enough"), await workflow.cancel(to)]
    try:
        await workflow.cancel("nobody")
    except WorkflowNotFound as error:
        found.append(str(error))
    return found


@workflow.define
async def tells_many(to: str, count: int) -> int:
    """Messages that are awaited together leave in one turn."""
    await asyncio.gather(*(workflow.signal(to, "e", str(each)) for each in range(count)))
    return count


@workflow.define
async def awaits_late(to: str) -> str:
    sent = workflow.signal(to, "e", "late")
    await workflow.sleep(0.01)
    try:
        await sent
    except InvalidArgument as error:
        return str(error)
    return "answered"


@workflow.define
async def gives_up(to: str) -> str:
    """The answer comes when nobody waits for it any more."""
    waits = asyncio.ensure_future(workflow.signal(to, "e", "hello"))
    await asyncio.sleep(0)
    waits.cancel()
    await workflow.sleep(0.2)
    return "went on"


@workflow.define
async def fails_unless_told(to: str) -> None:
    await workflow.signal(to, "e", "x")


ALL = [takes, deaf, tells, cancels, tells_many, awaits_late, gives_up, fails_unless_told]
SETTINGS = [Settings(cached_runs_max=0), Settings()]


@pytest.mark.parametrize("settings", SETTINGS, ids=["replayed", "live"])
def test_what_comes_of_a_message_that_is_awaited(tmp_path: Path, settings: Settings) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=ALL, settings=settings), Client(server) as client:
            target = await client.start(takes, 1, id="takes")
            assert await client.run(tells, "takes") == "taken: None"
            assert await target.result() == ["hello"]
            told = await client.run(tells, "takes")
            assert told.startswith("WorkflowNotFound: run ") and "is completed" in told
            told = await client.run(tells, "nobody")
            assert told == "WorkflowNotFound: no run of workflow id 'nobody'"
            assert await client.run(awaits_late, "takes") == (
                "the message to 'takes' has left alone, in an earlier turn, so it has no answer; "
                "await it where it is sent: await workflow.signal(...)"
            )
            assert await client.run(gives_up, "nobody") == "went on"

    asyncio.run(main())


@pytest.mark.parametrize("settings", SETTINGS, ids=["replayed", "live"])
def test_a_cancel_says_whether_the_run_had_ended(tmp_path: Path, settings: Settings) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=ALL, settings=settings), Client(server) as client:
            target = await client.start(deaf, id="deaf")
            first, second, missing = await client.run(cancels, "deaf")
            assert (first, missing) == (True, "no run of workflow id 'nobody'")
            assert second in (True, False), "the run may have ended meanwhile"
            with pytest.raises(WorkflowCancelled, match="enough"):
                await target.result()
            assert (await client.run(cancels, "deaf"))[:2] == [False, False]

    asyncio.run(main())


def test_an_awaited_message_that_is_refused_fails_the_run_that_does_not_catch_it(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        settings = Settings(unread_events_max=2)
        async with Worker(server, workflows=ALL, settings=settings), Client(server) as client:
            await client.start(deaf, id="deaf")
            for _ in range(2):
                assert await client.run(tells, "deaf") == "taken: None"
            told = await client.run(tells, "deaf")
            assert told.startswith("CommandRejected: ") and "unread_events_max" in told
            failed = await client.start(fails_unless_told, "nobody")
            with pytest.raises(Exception, match="no run of workflow id 'nobody'"):
                await failed.result()
            assert (await failed.describe()).status is Status.FAILED

    asyncio.run(main())


def test_many_messages_are_answered_each_once(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=ALL), Client(server) as client:
            target = await client.start(takes, 300, id="takes")
            assert await client.run(tells_many, "takes", 300) == 300
            assert sorted(map(int, await target.result())) == list(range(300))

    asyncio.run(main())


def test_a_call_that_waits_is_described(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=ALL), Client(server) as client:
            handle = await client.start(deaf, id="deaf")
            await handle.raise_event("a", 1)
            await handle.raise_event("a", 2)
            await handle.raise_event("b", 1)
            assert (await handle.describe()).pending["unread"] == {"a": 2, "b": 1}

    asyncio.run(main())


def test_what_a_run_is_told_survives_restarts(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def begin() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            await client.start(takes, 2, id="takes")
            assert await client.run(tells, "takes", id="first") == "taken: None"

    async def go_on() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            again = await client.start(tells, "takes", id="first", reuse="use-existing")
            assert await again.result() == "taken: None"
            assert await client.run(tells, "takes", id="second") == "taken: None"
            assert await client.handle("takes").result() == ["hello", "hello"]

    asyncio.run(begin())
    asyncio.run(go_on())
