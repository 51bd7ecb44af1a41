"""What a client can do to runs, and what it is told when it cannot."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ActivityFailed,
    ActivityTimedOut,
    ApplicationError,
    Client,
    CommandRejected,
    Handle,
    PayloadTooLarge,
    RetryPolicy,
    SchemaMismatch,
    Settings,
    ShardUnavailable,
    Status,
    Worker,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowNotFound,
    WorkflowNotRegistered,
    WorkflowTerminated,
    WorkflowTimedOut,
    activity,
    workflow,
)
from processor.core.inputs import ClientCommand
from processor.embedded.ports import MemoryInbox
from processor.store import open_tables
from processor.store.tables import StateTables

ONCE = RetryPolicy(maximum_attempts=1)
QUICK = RetryPolicy(initial_interval=timedelta(milliseconds=5), maximum_attempts=3)


@activity.define(retry=QUICK)
async def echo(value: str) -> str:
    return value


@activity.define(retry=ONCE)
async def breaks() -> None:
    raise KeyError("colour")


@activity.define(retry=ONCE, start_to_close=0.05)
async def hangs() -> None:
    await asyncio.sleep(60)


@activity.define(retry=QUICK, heartbeat=0.1)
async def stops_beating() -> int:
    seen: int | None = activity.heartbeat_details(int)
    if seen is not None:
        return seen
    activity.heartbeat(7)
    await asyncio.sleep(60)
    return 0


@activity.define
async def huge() -> str:
    return "x" * 1_100_000


@activity.define
async def slow() -> str:
    await asyncio.sleep(60)
    return "late"


@workflow.define
async def waits() -> str:
    try:
        return await workflow.wait_for_event("go", str)
    except asyncio.CancelledError:
        await echo("cleaned up")
        raise


@workflow.define
async def adds(numbers: list[int]) -> int:
    return sum(numbers)


@workflow.define
async def fails_by(how: str) -> str:
    if how == "breaks":
        await breaks()
    if how == "hangs":
        await hangs()
    if how == "huge":
        await huge()
    if how == "argument":
        await echo("x" * 1_100_000)
    if how == "beats":
        return str(await stops_beating())
    if how == "given up":
        try:
            await asyncio.wait_for(slow(), 0.05)
        except TimeoutError:
            return "gave up"
    raise ApplicationError("on purpose", type="Purpose", details={"a": 1})


@workflow.define
async def has_a_bug() -> str:
    await echo("before")
    if os.environ.get("TEST_CODE") != "fixed":
        raise RuntimeError("a bug")
    return await echo("after the fix")


@workflow.define
async def changes() -> str:
    if os.environ.get("TEST_CODE") == "changed":
        await slow()
    await echo("one")
    return await workflow.wait_for_event("go", str)


WORKFLOWS = [waits, adds, fails_by, has_a_bug, changes]
ACTIVITIES = [echo, breaks, hangs, huge, slow, stops_beating]
Talk = Callable[[Client], Awaitable[Any]]


def run(path: Path, talk: Talk, **how: Any) -> Any:
    async def main() -> Any:
        server = f"embedded:{path}"
        worker = Worker(server, **{"workflows": WORKFLOWS, "activities": ACTIVITIES, **how})
        async with worker, Client(server) as client, asyncio.timeout(30):
            return await talk(client)

    return asyncio.run(main())


async def status(handle: Handle[Any], wanted: Status) -> Any:
    while (found := await handle.describe()).status is not wanted:
        await asyncio.sleep(0.01)
    return found


def test_ids(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        first = await client.start(waits, id="a")
        with pytest.raises(WorkflowAlreadyStarted, match="'a' is taken by run"):
            await client.start(waits, id="a")
        same = await client.start(waits, id="a", conflict="use-existing")
        assert same.run_id == first.run_id
        other = await client.start(waits, id="a", conflict="terminate")
        assert other.run_id != first.run_id
        with pytest.raises(WorkflowTerminated):
            await first.result()
        await other.raise_event("go", "on")
        assert await other.result() == "on"
        with pytest.raises(WorkflowAlreadyStarted, match="reuse policy is 'reject'"):
            await client.start(waits, id="a", reuse="reject")
        with pytest.raises(WorkflowAlreadyStarted, match="'allow-failed'"):
            await client.start(waits, id="a", reuse="allow-failed")
        again = await client.start(waits, id="a")
        assert (await client.handle("a").describe()).run_id == again.run_id
        assert (await client.handle("a", first.run_id).describe()).status is Status.TERMINATED

    run(tmp_path, talk)


def test_refusals(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(WorkflowNotRegistered, match="it has: adds, changes"):
            await client.start("nothing")
        with pytest.raises(SchemaMismatch, match="adds"):
            await client.start("adds", ["one"])
        with pytest.raises(SchemaMismatch, match="adds"):
            await client.start("adds")
        with pytest.raises(PayloadTooLarge, match="limit is 1,000,000"):
            await client.start("adds", list(range(400_000)))
        with pytest.raises(WorkflowNotFound, match="'nobody'"):
            await client.handle("nobody").raise_event("go")
        with pytest.raises(WorkflowNotFound):
            await client.handle("nobody").result(5)
        assert await client.run(adds, [1, 2], id="done") == 3
        with pytest.raises(CommandRejected, match="is completed"):
            await client.handle("done").raise_event("go", "late")
        with pytest.raises(PayloadTooLarge, match="event 'go'"):
            await client.handle("done").raise_event("go", "x" * 1_000_001)

    run(tmp_path, talk)


def test_run_is_for_the_run_that_it_starts(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        for numbers in ([1], [2, 3], [4]):
            assert await client.run(adds, numbers, id="same") == sum(numbers)
        with pytest.raises(WorkflowAlreadyStarted):
            await client.run(adds, [5], id="same", reuse="reject")
        with pytest.raises(WorkflowNotRegistered):
            await client.run("nothing", id="new")
        with pytest.raises(TimeoutError):
            await client.run(waits, id="waits", timeout=0.1)
        joined = asyncio.ensure_future(client.run(waits, id="waits", conflict="use-existing"))
        await asyncio.sleep(0.05)  # its commands are on their way before the event's
        await client.handle("waits").raise_event("go", "on")
        assert await joined == "on"

    run(tmp_path, talk)


def test_only_clients_that_wait_now_count_against_the_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(client: Client) -> None:
        for number in range(10):
            assert await client.run(adds, [number]) == number
        waiting = [asyncio.ensure_future(client.run(waits, id=f"w{n}")) for n in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            await client.handle("w0").result(0.3)
        for number in range(3):
            await client.handle(f"w{number}").raise_event("go", "on")
        assert await asyncio.gather(*waiting) == ["on"] * 3
        assert 1 <= caplog.text.count("has 3 waiting clients") <= 3  # asked again, not at once

    run(tmp_path, talk, settings=Settings(waiters_max=3))


def test_a_run_that_nobody_more_may_wait_for_has_started_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(client: Client) -> None:
        running = asyncio.create_task(client.run(waits, id="w"))
        while "has 0 waiting clients" not in caplog.text:
            await asyncio.sleep(0.01)
        assert not running.done()
        await client.handle("w").raise_event("go", "on")
        assert await running == "on"

    run(tmp_path, talk, settings=Settings(waiters_max=0))


def test_a_command_that_comes_while_the_worker_starts_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(path: Path, identity: str) -> StateTables:
        time.sleep(0.3)
        return open_tables(path, identity)

    monkeypatch.setattr("processor.embedded.runtime.open_tables", slowly)

    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Client(server) as client:
            asked = asyncio.create_task(client.run(adds, [1, 2]))
            await asyncio.sleep(0.02)
            async with Worker(server, workflows=WORKFLOWS, activities=ACTIVITIES):
                assert await asyncio.wait_for(asked, 4) == 3

    asyncio.run(main())


def test_a_short_run_is_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[ClientCommand] = []
    submit = MemoryInbox.submit

    def counted(inbox: MemoryInbox, command: ClientCommand) -> None:
        submitted.append(command)
        submit(inbox, command)

    monkeypatch.setattr(MemoryInbox, "submit", counted)

    async def talk(client: Client) -> None:
        assert await client.run(adds, [1, 2], id="short", timeout=5) == 3
        assert [command.workflow_id for command in submitted] == ["short"]
        assert await client.handle("short").result() == 3

    run(tmp_path, talk)


def test_a_long_run_is_waited_for_though_its_start_is_not_answered(tmp_path: Path) -> None:
    async def talk(impatient: Client, client: Client) -> None:
        running = asyncio.create_task(impatient.run(waits, id="long"))
        await asyncio.sleep(0.5)
        await client.handle("long").raise_event("go", "on")
        assert await running == "on"

    async def main() -> None:
        server, settings = f"embedded:{tmp_path}", Settings(request_timeout_s=0.2)
        worker = Worker(server, workflows=WORKFLOWS, activities=ACTIVITIES)
        async with (
            worker,
            Client(server, settings=settings) as impatient,
            Client(server) as client,
            asyncio.timeout(30),
        ):
            await talk(impatient, client)

    asyncio.run(main())


def test_the_time_out_of_run_is_for_all_of_it(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match=r"no result of 'slow' within 0\.3 s"):
            await client.run(waits, id="slow", timeout=0.3)
        assert time.monotonic() < begun + 8, "a request has 10 s by default"
        assert (await client.handle("slow").describe()).status is Status.RUNNING

    run(tmp_path, talk)


def test_nobody_answers(tmp_path: Path) -> None:
    async def main() -> None:
        async with Client(
            f"embedded:{tmp_path}", settings=Settings(request_timeout_s=0.2)
        ) as client:
            with pytest.raises(ShardUnavailable, match="Start a Worker"):
                await client.start(waits)
            with pytest.raises(ShardUnavailable, match="Start a Worker"):
                await client.run(waits)
            with pytest.raises(TimeoutError, match=r"within 0\.1 s: no worker .* Start a Worker"):
                await client.run(waits, timeout=0.1)

    asyncio.run(main())


def test_a_start_without_an_answer_says_which_id_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client made the id, and the run may be there."""

    async def main() -> None:
        server, impatient = f"embedded:{tmp_path}", Settings(request_timeout_s=0.2)
        worker = Worker(server, workflows=WORKFLOWS, activities=ACTIVITIES)
        sent: list[ClientCommand] = []
        async with worker, Client(server, settings=impatient) as client, asyncio.timeout(30):
            with monkeypatch.context() as patched:
                patched.setattr(MemoryInbox, "submit", lambda self, command: sent.append(command))
                with pytest.raises(ShardUnavailable) as raised:
                    await client.start(waits)
                with pytest.raises(ShardUnavailable) as asked:
                    await client.handle("x").describe()
        assert f"for workflow id {sent[0].workflow_id!r} may be carried out" in str(raised.value)
        assert "carried out" not in str(asked.value)

    asyncio.run(main())


def test_cancel_lets_the_code_clean_up(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(waits)
        await handle.cancel("no longer wanted")
        with pytest.raises(WorkflowCancelled):
            await handle.result()
        described = await handle.describe()
        assert (described.status, described.cancel_reason) == (Status.CANCELLED, "no longer wanted")
        assert "ActivityCompleted" in [event.type for event in await handle.history()]

    run(tmp_path, talk)


def test_terminate_and_time_out(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(waits)
        await handle.terminate("enough")
        with pytest.raises(WorkflowTerminated):
            await handle.result()
        late = await client.start(waits, execution_timeout=0.1)
        with pytest.raises(WorkflowTimedOut):
            await late.result()
        with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
            await (await client.start(waits)).result(0.05)
        by_status = [run async for run in client.list(status="timed_out")]
        assert [run.workflow_id for run in by_status] == [late.id]

    run(tmp_path, talk)


@pytest.mark.parametrize(
    ("how", "cause", "text"),
    [
        ("on purpose", ApplicationError, "on purpose"),
        ("breaks", ActivityFailed, "colour"),
        ("hangs", ActivityTimedOut, "start-to-close"),
        ("huge", PayloadTooLarge, "result of activity 'huge'"),
        ("argument", PayloadTooLarge, "1,000,000"),
    ],
)
def test_failures_arrive_as_they_were(
    tmp_path: Path, how: str, cause: type[Exception], text: str
) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(WorkflowFailed, match=text) as failed:
            await client.run(fails_by, how)
        assert type(failed.value.__cause__) is cause

    run(tmp_path, talk)


@pytest.mark.parametrize(("how", "result"), [("beats", "7"), ("given up", "gave up")])
def test_heartbeats_and_giving_up(tmp_path: Path, how: str, result: str) -> None:
    async def talk(client: Client) -> None:
        assert await client.run(fails_by, how) == result

    run(tmp_path, talk)


@pytest.mark.parametrize("cached", [None, 0], ids=["live", "replayed"])
def test_a_bug_parks_the_run_until_code_is_fixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: int | None
) -> None:
    async def parked(client: Client) -> None:
        handle = await client.start(has_a_bug, id="buggy")
        found = await status(handle, Status.PARKED)
        assert found.parked["error"] == "RuntimeError: a bug"
        assert "test_client.py" in found.parked["where"]
        assert "has_a_bug" in found.parked["traceback"]

    async def resumed(client: Client) -> None:
        assert await client.handle("buggy").result() == "after the fix"

    async def still_parked(client: Client) -> None:
        assert (await client.handle("buggy").describe()).status is Status.PARKED

    run(tmp_path, parked, max_cached_runs=cached)
    run(tmp_path, still_parked)
    monkeypatch.setenv("TEST_CODE", "fixed")
    run(tmp_path, resumed)


def test_code_that_contradicts_the_history_parks_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begin(client: Client) -> None:
        handle = await client.start(changes, id="x")
        while "ActivityCompleted" not in [event.type for event in await handle.history()]:
            await asyncio.sleep(0.01)

    async def mismatch(client: Client) -> None:
        handle = client.handle("x")
        await handle.raise_event("go", "kept")
        found = await status(handle, Status.PARKED)
        assert found.parked["kind"] == "nondeterminism"
        for part in ("at event 1", "name='echo'", "name='slow'", "test_client.py"):
            assert part in found.parked["error"]

    async def goes_on(client: Client) -> None:
        assert await client.handle("x").result() == "kept"

    run(tmp_path, begin)
    monkeypatch.setenv("TEST_CODE", "changed")
    run(tmp_path, mismatch)
    monkeypatch.delenv("TEST_CODE")
    run(tmp_path, goes_on)


def test_a_queued_activity_in_one_process(tmp_path: Path) -> None:
    @workflow.define
    async def queued() -> str:
        return await echo.options(eager=False)("through the queue")

    async def talk(client: Client) -> None:
        handle = await client.start(queued)
        assert await handle.result() == "through the queue"
        types = [event.type for event in await handle.history()]
        assert types == [
            "WorkflowStarted",
            "ActivityScheduled",
            "ActivityCompleted",
            "WorkflowCompleted",
        ]
        [scheduled] = [e for e in await handle.history() if e.type == "ActivityScheduled"]
        assert scheduled.fields["eager"] is False

    run(tmp_path, talk, workflows=[queued])
