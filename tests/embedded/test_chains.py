"""Continue-as-new: a run goes on as another one, and nothing that was sent to it is lost."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    PayloadTooLarge,
    RetryPolicy,
    Settings,
    Status,
    Worker,
    WorkflowCancelled,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowParked,
    WorkflowTerminated,
    WorkflowTimedOut,
    workflow,
)
from processor.testing import Environment

SETTINGS = [Settings(cached_runs_max=0), Settings()]
SOON = RetryPolicy(timedelta(milliseconds=1))


@workflow.define
async def counts(to: int, so_far: list[int]) -> list[int]:
    """Take three numbers, and go on without a history."""
    while len(so_far) < to:
        so_far.append(await workflow.wait_for_event("number", int))
        if len(so_far) % 3 == 0 and len(so_far) < to:
            workflow.continue_as_new(to, so_far)
    return so_far


@workflow.define
async def loops(left: int) -> list[object]:
    info = workflow.info()
    if left:
        workflow.continue_as_new(left - 1)
    return [info.first_run_id, info.previous_run_id, info.attempt, info.history_events]


@workflow.define
async def swallows(left: int) -> str:
    tidied = []
    try:
        try:
            if left:
                workflow.continue_as_new(0)
        except Exception:
            return "swallowed"
    finally:
        await asyncio.sleep(0.001)
        tidied.append("tidied")
    return "went on"


@workflow.define
async def in_a_group(left: int) -> int:
    async def works() -> None:
        await asyncio.sleep(3600)

    async with asyncio.TaskGroup() as group:
        group.create_task(works())
        await asyncio.sleep(0)
        if left:
            workflow.continue_as_new(left - 1)
        raise ApplicationError("done")
    return left


@workflow.define
async def sums(a: int, b: int = 0) -> int:
    return a + b


@workflow.define
async def becomes(how: str) -> int:
    if how == "too many":
        workflow.continue_as_new("a", 1, 2, workflow=sums)  # type: ignore[call-overload]
    if how == "wrong":
        workflow.continue_as_new("a", workflow=sums)  # type: ignore[call-overload]
    if how == "by name":
        workflow.continue_as_new(3, 4, workflow="sums")
    if how == "large":
        workflow.continue_as_new("x" * 1_000_001)
    workflow.continue_as_new(1, 2, workflow=sums)


@dataclass
class Told:
    runs: int
    kept: bool


@workflow.define
async def tells(run: int, kept: bool) -> Told:
    """Fail in each third run, so that a retry and a run that goes on mix."""
    if run % 3 == 2 and workflow.info().attempt == 1:
        raise ApplicationError("again")
    if run < 6:
        workflow.continue_as_new(run + 1, kept and workflow.info().attempt <= 2)
    return Told(run, kept)


@workflow.define
async def outlasts() -> None:
    await asyncio.sleep(60)
    workflow.continue_as_new()


@workflow.define
async def gives_itself_time(left: int) -> str:
    await asyncio.sleep(60)
    if left:
        workflow.continue_as_new(left - 1, execution_timeout=timedelta(seconds=90))
    return "in time"


@workflow.define
async def suggested() -> list[int]:
    while not workflow.info().suggests_continue_as_new:
        await asyncio.sleep(0.001)
    return [workflow.info().history_events]


MENDED: list[bool] = []


@workflow.define
async def mended(so_far: list[int]) -> list[int]:
    """Meets a bug at its first event; events of a parked run come all at once."""
    so_far.append(await workflow.wait_for_event("number", int))
    if not MENDED:
        raise ValueError("a bug")
    if len(so_far) < 3:
        workflow.continue_as_new(so_far)
    return so_far


WORKFLOWS = [
    counts,
    loops,
    swallows,
    in_a_group,
    sums,
    becomes,
    tells,
    outlasts,
    gives_itself_time,
    suggested,
    mended,
]


def run(path: Path, talk: Any, settings: Settings | None = None) -> Any:
    server = f"embedded:{path}"

    async def main() -> Any:
        worker = Worker(server, workflows=WORKFLOWS, settings=settings)
        async with worker, Client(server) as client:
            return await asyncio.wait_for(talk(client), 60)

    return asyncio.run(main())


@pytest.mark.parametrize("settings", SETTINGS, ids=["replayed", "live"])
def test_events_that_no_run_has_taken_reach_the_next_one_in_order(
    tmp_path: Path, settings: Settings
) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(counts, 10, [], id="counts")
        for number in range(10):
            await handle.raise_event("number", number)
        assert await handle.result() == list(range(10))
        assert await client.handle("counts").result() == list(range(10))
        first = client.handle("counts", handle.run_id)
        with pytest.raises(WorkflowContinued, match="went on as run") as raised:
            await first.result()
        told = await first.describe()
        assert (told.status, told.successor) == (Status.CONTINUED, raised.value.next_run_id)
        last = (await first.history())[-1]
        assert last.type == "WorkflowContinued"
        assert last.fields["successor"]["started"]["arguments"] == [10, [0, 1, 2]]
        assert last.fields["successor"]["started"]["lineage"]["previous_run_id"] == first.run_id

    run(tmp_path, talk, settings)


@pytest.mark.parametrize("settings", SETTINGS, ids=["replayed", "live"])
def test_a_chain_without_a_pause_goes_on_and_knows_where_it_comes_from(
    tmp_path: Path, settings: Settings
) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(loops, 200)
        first, previous, attempt, events = await handle.result()
        assert first == handle.run_id and previous not in (None, first)
        assert (attempt, events) == (1, 1), "its code begins after its start"
        assert await client.run(loops, 3) != []

    run(tmp_path, talk, settings)


def test_a_chain_without_an_end_leaves_room_for_others_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.shard.turns.telling._AGAIN_MS", 300)
    monkeypatch.setattr("processor.shard.turns.telling._SPINS_MIN", 5)

    async def talk(client: Client) -> None:
        handle = await client.start(loops, 1_000_000, id="endless")
        for number in range(20):
            assert await client.run(sums, number, 1, timeout=5) == number + 1
            await asyncio.sleep(0.05)
        assert await handle.terminate("enough")
        with pytest.raises(WorkflowTerminated):
            await handle.result()

    with caplog.at_level(logging.WARNING):
        run(tmp_path, talk)
    told = [each.getMessage() for each in caplog.records if "continues as new" in each.getMessage()]
    assert told and "'loops' continues as new in the turn in which its code began" in told[0]


def test_no_except_exception_takes_it(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        assert await client.run(swallows, 1) == "went on"
        with pytest.raises(WorkflowFailed) as raised:
            await client.run(in_a_group, 3, id="group")
        assert "done" in str(raised.value.__cause__)
        statuses = [event.type async for event in _chain(client, "group")]
        assert statuses == ["WorkflowFailed"]

    run(tmp_path, talk)


async def _chain(client: Client, id: str) -> Any:
    for event in (await client.handle(id).history())[-1:]:
        yield event


def test_another_workflow_may_go_on_and_arguments_have_to_fit(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        assert await client.run(becomes, "usual") == 3
        assert await client.run(becomes, "by name") == 7
        for how, text in (("too many", "too many positional"), ("wrong", "argument 'a'")):
            with pytest.raises(WorkflowParked, match=text):
                await client.run(becomes, how, parked="raise")
        with pytest.raises(WorkflowFailed) as raised:
            await client.run(becomes, "large")
        assert isinstance(raised.value.__cause__, PayloadTooLarge)

    run(tmp_path, talk)


def test_memo_and_retries_go_on_and_attempts_count_anew(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(tells, 0, True, memo={"who": "Ada"}, retry=SOON)
        assert await handle.result() == Told(6, True)
        assert (await client.handle(handle.id).describe()).memo == {"who": "Ada"}

    run(tmp_path, talk)


def test_the_time_out_is_that_of_the_chain_unless_a_run_says_otherwise() -> None:
    async def main() -> None:
        async with Environment(WORKFLOWS) as env:
            began = env.now()
            with pytest.raises(WorkflowTimedOut):
                await env.run(outlasts, execution_timeout=timedelta(minutes=5, seconds=30))
            passed = env.now() - began
            assert timedelta(minutes=5, seconds=30) <= passed < timedelta(minutes=5, seconds=31)
            limit = timedelta(seconds=90)
            assert await env.run(gives_itself_time, 4, execution_timeout=limit) == "in time"

    asyncio.run(main())


def test_a_chain_can_be_cancelled_terminated_and_replaced(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(counts, 100, [], id="c")
        for number in range(7):
            await handle.raise_event("number", number)
        assert await handle.cancel("enough")
        with pytest.raises(WorkflowCancelled, match="enough"):
            await handle.result()
        handle = await client.start(counts, 100, [], id="c")
        for number in range(7):
            await handle.raise_event("number", number)
        other = await client.start(counts, 1, [], id="c", conflict="terminate")
        with pytest.raises(WorkflowTerminated, match="replaced"):
            await handle.result()
        await other.raise_event("number", 5)
        assert await other.result() == [5]

    run(tmp_path, talk)


def test_events_of_a_parked_run_go_on_in_order(tmp_path: Path) -> None:
    MENDED.clear()

    async def park(client: Client) -> None:
        handle = await client.start(mended, [], id="m")
        for number in range(3):
            await handle.raise_event("number", number)
        assert (await handle.describe()).status is Status.PARKED

    async def go_on(client: Client) -> list[int]:
        found: list[int] = await client.handle("m").result()
        return found

    run(tmp_path, park)
    MENDED.append(True)
    assert run(tmp_path, go_on) == [0, 1, 2]


def test_a_cancellation_that_came_before_the_code_said_so_holds(tmp_path: Path) -> None:
    MENDED.clear()

    async def park(client: Client) -> None:
        handle = await client.start(mended, [], id="m")
        await handle.raise_event("number", 1)
        await handle.cancel("not any more")

    async def cancelled(client: Client) -> None:
        with pytest.raises(WorkflowCancelled, match="not any more"):
            await client.handle("m").result()

    run(tmp_path, park)
    MENDED.append(True)
    run(tmp_path, cancelled)


@pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])
def test_a_run_is_told_when_its_history_is_long(cached: int | None) -> None:
    async def main() -> None:
        settings = Settings(continue_after_events=50)
        async with Environment(WORKFLOWS, settings=settings, max_cached_runs=cached) as env:
            (events,) = await env.run(suggested)
            assert 50 <= events < 60

    asyncio.run(main())


def test_a_run_stays_with_the_suggestion_that_it_began_under(tmp_path: Path) -> None:
    async def begin(client: Client) -> None:
        await client.start(counts, 1, [], id="a")

    async def started(client: Client) -> list[str]:
        flags: list[str] = (await client.handle("a").history())[0].fields["flags"]
        return flags

    run(tmp_path, begin, Settings(continue_after_events=7))
    assert run(tmp_path, started) == ["continue_after_events=7"]


@workflow.define
async def carries(left: int, text: str) -> int:
    await asyncio.sleep(0.001)
    if left:
        workflow.continue_as_new(left - 1, text)
    return left


def test_a_long_chain_takes_no_more_memory_than_a_short_one() -> None:
    async def main() -> None:
        async with Environment([carries]) as env:
            await env.start(carries, 1_000_000, "x" * 10_000)
            await env.sleep(0.2)
            shard = env._world.hosts["host"].ownerships[0].shard
            assert shard is not None and len(shard._cache) == 1
            assert shard._cache.bytes < 50_000, "what ended takes nothing"

    asyncio.run(main())


@workflow.define
async def asks_for_much(count: int, text: str) -> str:
    await workflow.wait_for_event("go")
    for number in range(count):
        workflow.publish("records", str(number), text)
    if count:
        workflow.continue_as_new(0, text)
    return "went on"


def test_the_end_of_a_run_that_goes_on_fits_into_one_record_or_says_what_is_too_large() -> None:
    async def main() -> None:
        async with Environment([asks_for_much]) as env:
            for count, fits in ((10, True), (14, False)):
                handle = await env.start(asks_for_much, count, "x" * 990_000)
                for _ in range(3):
                    await handle.raise_event("other", "y" * 990_000)
                await handle.raise_event("go")
                if fits:
                    await handle.raise_event("go")
                    assert await handle.result() == "went on"
                    continue
                with pytest.raises(WorkflowFailed) as raised:
                    await handle.result()
                text = str(raised.value.__cause__)
                assert text.startswith("the start of the run of 'asks_for_much' that goes on: ")
                assert "are left in the record of the last turn" in text

    asyncio.run(main())


@workflow.define
async def only_reads(how: str) -> None:
    if how == "condition":
        await workflow.wait_until(lambda: workflow.continue_as_new("again"))
    if how == "effect":
        workflow.side_effect(lambda: workflow.continue_as_new("again"))


@pytest.mark.parametrize("how", ["condition", "effect"])
def test_what_only_reads_cannot_let_a_run_go_on(how: str) -> None:
    async def main() -> None:
        async with Environment([only_reads]) as env:
            with pytest.raises(WorkflowParked, match="asked for a run that goes on; it may only"):
                await env.run(only_reads, how)

    asyncio.run(main())
