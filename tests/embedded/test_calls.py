"""Messages between workflows that are awaited: answered once, whoever dies on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
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
    WorkflowTerminated,
    workflow,
)
from processor.codec.records import decode
from processor.core.inputs import ClientCommand
from processor.testing import Environment


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
async def terminates(to: str) -> list[object]:
    """What comes of it, and of what comes too late or goes to nobody."""
    found: list[object] = [await workflow.handle(to).terminate("enough")]
    found.append(await workflow.handle(to).terminate())
    try:
        await workflow.handle("nobody").terminate()
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
    waits = asyncio.create_task(workflow.signal(to, "e", "hello"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    waits.cancel()
    await workflow.sleep(0.2)
    return "went on"


@workflow.define
async def waits_in_every_way(to: str) -> list[str]:
    """What asyncio takes of its own futures, it takes of messages."""

    def tell(how: str) -> Awaitable[None]:
        return workflow.signal(to, "e", how)

    done, pending = await asyncio.wait([tell("wait"), tell("wait, too")])  # type: ignore[type-var]
    assert (len(done), len(pending)) == (2, 0)
    await asyncio.wait_for(tell("wait_for"), 60)
    await asyncio.gather(tell("gather"), tell("gather, too"))
    await asyncio.shield(tell("shield"))
    await asyncio.ensure_future(tell("ensure_future"))
    for each in asyncio.as_completed([tell("as_completed")]):
        await each
    await asyncio.create_task(tell("create_task"))  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as group:
        group.create_task(tell("TaskGroup"), name="n")  # type: ignore[arg-type]
    sent = workflow.signal(to, "e", "twice")
    return [str(await sent), str(await sent)]


@workflow.define
async def cancels_the_message(to: str) -> list[str]:
    """A message is cancelled as futures are: it has left all the same."""
    sent = workflow.signal(to, "e", "cancelled")
    waits = asyncio.ensure_future(_await(sent))
    await asyncio.sleep(0)
    waits.cancel()
    told = []
    for _ in range(2):
        try:
            await sent
        except asyncio.CancelledError as error:
            told.append(f"{type(error).__name__} {sent.cancelled()}")
    return told


async def _await(sent: Awaitable[None]) -> None:
    await sent


HELD: list[Awaitable[None]] = []
"""What a run leaves in the process, where the code of another one finds it."""


@workflow.define
async def leaves_a_message(to: str) -> list[str]:
    HELD[:] = [workflow.signal(to, "e", "held")]
    await workflow.wait_for_event("go")
    return [workflow.uuid4().hex]


@workflow.define
async def takes_a_message(how: str) -> str:
    try:
        if how == "await":
            await HELD[0]
        else:
            await asyncio.wait(set(HELD))  # type: ignore[type-var]
    except InvalidArgument as error:
        return str(error)
    return "awaited"


@workflow.define
async def does_not_wait(to: str, how: str) -> str:
    """The target refuses, and nobody waits: the code gave up, or is over."""
    waits = asyncio.create_task(workflow.signal(to, "e", how))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    if how == "over":
        return how
    waits.cancel()
    await workflow.wait_for_event("go")
    return how


@workflow.define
async def fails_unless_told(to: str) -> None:
    await workflow.signal(to, "e", "x")


ALL = [takes, deaf, tells, cancels, tells_many, awaits_late, gives_up, fails_unless_told]
ALL += [waits_in_every_way, cancels_the_message, leaves_a_message, takes_a_message, does_not_wait]
ALL += [terminates]
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


@pytest.mark.parametrize("cached", [None, 0])
def test_a_workflow_terminates_another(cached: int | None) -> None:
    async def main() -> None:
        async with Environment(ALL, max_cached_runs=cached) as env:
            deaf = await env.start("deaf", id="deaf")
            first, second, missing = await env.run(terminates, "deaf")
            assert (first, second) == (True, False)
            assert missing == "no run of workflow id 'nobody'"
            run = await deaf.describe()
            assert run.status is Status.TERMINATED
            with pytest.raises(WorkflowTerminated, match="enough"):
                await deaf.result()

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])
def test_a_message_is_waited_for_as_futures_are(cached: int | None) -> None:
    async def main() -> None:
        async with Environment(ALL, max_cached_runs=cached) as env:
            target = await env.start(takes, 11, id="takes")
            assert await env.run(waits_in_every_way, "takes") == ["None", "None"]
            assert len(set(await target.result())) == 11
            told = await env.run(cancels_the_message, "nobody")
            assert told == ["CancelledError True"] * 2

    asyncio.run(main())


@pytest.mark.parametrize("how", ["await", "wait"])
def test_a_message_is_awaited_by_the_run_that_sent_it_alone(how: str) -> None:
    """Another run changes nothing of it: neither its message, nor the numbers it draws."""

    async def main() -> None:
        async with Environment(ALL) as env:
            sender = await env.start(leaves_a_message, "nobody", id="sender")
            told = await env.run(takes_a_message, how)
            assert told == (
                f"the message to 'nobody' was sent by run {sender.run_id} of 'sender', and other "
                "code cannot await it; await it where it is sent: await workflow.signal(...)"
            )
            await sender.raise_event("go")
            await sender.result()
            assert [event.type for event in await sender.history()] == [
                *("WorkflowStarted", "MessageSent", "EventReceived", "WorkflowCompleted"),
            ]
            with pytest.raises(InvalidArgument, match="other code cannot await it"):
                await HELD[0]

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])
@pytest.mark.parametrize("how", ["given up", "over"])
def test_a_message_that_is_refused_while_nobody_waits_is_a_dead_letter(
    how: str, cached: int | None
) -> None:
    async def main() -> None:
        async with Environment(ALL, max_cached_runs=cached) as env:
            handle = await env.start(does_not_wait, "nobody", how, id="sender")
            await env.sleep(1)
            (letter,) = env.dead_letters
            assert (letter.topic, letter.key) == ("commands", b"nobody")
            assert "no run of workflow id 'nobody'" in letter.reason
            assert f"run {handle.run_id} of 'sender'" in letter.reason
            if how == "over":
                lost = decode(letter.value or b"")
                assert isinstance(lost, ClientCommand) and lost.workflow_id == "nobody"
                assert lost.body.payload == b'"over"'  # type: ignore[attr-defined]
            else:
                assert letter.value == f'"{how}"'.encode()
                types = [event.type for event in await handle.history()]
                assert types.count("MessageRejected") == 1
                await handle.raise_event("go")
            assert await handle.result() == how
            assert len(env.dead_letters) == 1

    asyncio.run(main())
