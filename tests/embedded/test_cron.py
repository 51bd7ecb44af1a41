"""Cron chains: one run after the other, each begins at a time of a cron string."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CommandRejected,
    InvalidArgument,
    RetryPolicy,
    SchemaMismatch,
    Status,
    Worker,
    WorkflowCancelled,
    WorkflowTerminated,
    workflow,
)
from processor.codec.json_commands import decode_json
from processor.core.nouns.start import StartPlanned
from processor.testing import Environment

BEGIN = datetime(2030, 1, 1, 12, tzinfo=UTC)
CACHED = pytest.mark.parametrize("cached", [0, None], ids=["replayed", "live"])
TOLD: list[str] = []
"""What live code has told; replay tells it again, so it holds each thing once."""


def tell(what: str) -> None:
    if what not in TOLD:
        TOLD.append(what)


@workflow.define
async def hourly(fails_at: int | None = None, lasts_s: float = 0.0) -> int:
    info = workflow.info()
    number = (info.last_result(int) or 0) + 1
    tell(f"{info.started:%H:%M} {number} {info.attempt} {info.last_failure}")
    await asyncio.sleep(lasts_s)
    if info.started.hour == fails_at:
        raise ApplicationError(f"no {number}")
    return number


@workflow.define
async def waits() -> str:
    try:
        return await workflow.wait_for_event("go", str)
    except asyncio.CancelledError:
        return "tidied"


@workflow.define
async def takes_one(left: int = 1) -> int:
    """Go on as a new run once, in each firing."""
    number = await workflow.wait_for_event("number", int)
    tell(f"{workflow.info().started:%H:%M} {number} {left}")
    if left:
        workflow.continue_as_new(0)
    return number


@workflow.define
async def ends_itself() -> int:
    number = (workflow.info().last_result(int) or 0) + 1
    if number == 4:
        workflow.cancel(workflow.info().workflow_id)
        await workflow.wait_for_event("never")
    return number


WORKFLOWS = [hourly, waits, takes_one, ends_itself]


def play(talk: Any, cached: int | None = None) -> Any:
    async def main() -> Any:
        TOLD.clear()
        async with Environment(WORKFLOWS, start=BEGIN, max_cached_runs=cached) as env:
            return await talk(env)

    return asyncio.run(main())


@CACHED
def test_runs_begin_at_the_times_and_are_told_what_the_last_ones_came_to(cached: None) -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(hourly, 14, id="a", cron="@hourly")
        found = await handle.describe()
        assert (found.cron, found.begins) == ("@hourly", BEGIN + timedelta(hours=1))
        await env.sleep(timedelta(hours=4, minutes=30))
        assert TOLD == ["13:00 1 1 None", "14:00 2 1 None", "15:00 2 1 no 2", "16:00 3 1 None"]
        latest = await env.handle("a").describe()
        assert latest.begins == BEGIN + timedelta(hours=5)
        first = env.handle("a", handle.run_id)
        assert await first.result() == 1
        assert (await first.describe()).successor is not None
        assert await handle.terminate("enough")
        with pytest.raises(WorkflowTerminated):
            await handle.result()

    play(talk, cached)


@CACHED
def test_no_run_overlaps_and_times_that_passed_are_left_out(cached: None) -> None:
    async def talk(env: Environment) -> None:
        await env.start(hourly, None, 5_400, id="a", cron="0 * * * *")
        await env.sleep(timedelta(hours=1, minutes=10))
        running = await env.handle("a").describe()
        assert running.begins is None
        assert running.next_begins == BEGIN + timedelta(hours=2)
        await env.sleep(timedelta(hours=5))
        assert [text[:5] for text in TOLD] == ["13:00", "15:00", "17:00"]

    play(talk, cached)


def test_retries_belong_to_one_time_and_then_the_next_one_comes() -> None:
    async def talk(env: Environment) -> None:
        retry = RetryPolicy(timedelta(minutes=1), coefficient=1.0, maximum_attempts=3)
        await env.start(hourly, 13, id="a", cron="@hourly", retry=retry)
        await env.sleep(timedelta(hours=2, minutes=30))
        assert TOLD == [
            "13:00 1 1 None",
            "13:01 1 2 no 1",
            "13:02 1 3 no 1",
            "14:00 1 1 no 1",
        ]

    play(talk)


def test_the_time_out_is_for_each_time() -> None:
    async def talk(env: Environment) -> None:
        limit = timedelta(minutes=10)
        how = {"cron": "@hourly", "execution_timeout": limit}
        handle = await env.start(hourly, None, 3_000, id="a", **how)
        await env.sleep(timedelta(hours=3, minutes=5))
        assert [text[:5] for text in TOLD] == ["13:00", "14:00", "15:00"]
        first = await env.handle("a", handle.run_id).describe()
        assert first.status is Status.TIMED_OUT and first.successor is not None
        assert "WorkflowTimedOut" in str((await env.handle("a").history())[0].fields["lineage"])
        assert "passed its execution time-out of 600 s" in TOLD[1]

    play(talk)


def test_a_cancellation_ends_the_chain_also_where_the_code_completes() -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(waits, id="a", cron="@hourly")
        await handle.cancel("before it began")
        with pytest.raises(WorkflowCancelled, match="before it began"):
            await handle.result()
        handle = await env.start(waits, id="b", cron="@hourly")
        await env.sleep(timedelta(hours=1, minutes=1))
        await handle.cancel("while it ran")
        assert await handle.result() == "tidied"
        assert (await env.handle("b").describe()).status is Status.COMPLETED
        own = await env.start(ends_itself, id="c", cron="*/5 * * * *")
        with pytest.raises(WorkflowCancelled):
            await own.result()
        assert env.now() < BEGIN + timedelta(hours=2)

    play(talk)


@CACHED
def test_events_that_nobody_took_wait_for_the_next_time_also_across_runs_that_go_on(
    cached: None,
) -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(takes_one, id="a", cron="@hourly")
        for number in range(5):
            await handle.raise_event("number", number)
        await env.sleep(timedelta(hours=3, minutes=1))
        assert [f"{hour}:00 {n} {left}" for hour, n, left in _TAKEN] == TOLD
        assert (await handle.describe()).cron == "@hourly"

    play(talk, cached)


_TAKEN = [(13, 0, 1), (13, 1, 0), (14, 2, 0), (15, 3, 0)]


def test_a_run_that_waits_for_its_time_can_begin_now_and_the_times_stay() -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(hourly, id="a", cron="@hourly")
        await env.sleep(600)
        await handle.start_now()
        await env.sleep(3600)
        assert [text[:7] for text in TOLD] == ["12:10 1", "13:00 2"]

    play(talk)


def test_times_are_those_of_a_zone() -> None:
    async def talk(env: Environment) -> None:
        handle = await env.start(hourly, cron="CRON_TZ=Asia/Kolkata 0 18 * * *")
        assert (await handle.describe()).begins == datetime(2030, 1, 1, 12, 30, tzinfo=UTC)

    play(talk)


def test_what_is_wrong_is_refused_at_the_call() -> None:
    async def talk(env: Environment) -> None:
        wrong: list[dict[str, Any]] = [
            {"cron": "61 * * * *"},
            {"cron": "@hourly", "delay": 5},
            {"cron": "@hourly", "at": BEGIN},
        ]
        for how in wrong:
            with pytest.raises(InvalidArgument, match="start: "):
                await env.start(hourly, **how)
        running = await env.start(hourly, id="a", cron="@hourly")
        again = await env.start(hourly, id="a", cron="@hourly", reuse="use-existing")
        assert (again.run_id, again.created) == (running.run_id, False)

    play(talk)


def test_a_start_in_json_has_a_cron_string_too() -> None:
    start: dict[str, Any] = {"type": "start", "workflow": "hourly", "cron": "@daily"}
    command = decode_json(b"a", json.dumps(start).encode())
    assert isinstance(command.body, StartPlanned)
    assert command.body.plan is not None and command.body.plan.cron == "@daily"
    command.body.check()
    both = decode_json(b"a", json.dumps({**start, "start_at_ms": 5}).encode())
    with pytest.raises(SchemaMismatch, match="not both"):
        both.body.check()


def test_a_shard_refuses_what_is_no_cron_string(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.client.client.check_cron", lambda cron, what: cron)

    async def talk(env: Environment) -> None:
        with pytest.raises(CommandRejected, match="cron 'never': it has 1 fields"):
            await env.start(hourly, cron="never")

    play(talk)


def test_a_chain_goes_on_in_another_process(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def begin() -> None:
        async with Worker(server, workflows=WORKFLOWS), Client(server) as client:
            await client.start(hourly, id="a", cron="* * * * *")
            await client.handle("a").start_now()
            while (await client.handle("a").describe()).begins is None:
                await asyncio.sleep(0.01)

    async def go_on() -> None:
        async with Worker(server, workflows=WORKFLOWS), Client(server) as client:
            handle = client.handle("a")
            waiting = await handle.describe()
            assert waiting.cron == "* * * * *" and waiting.begins is not None
            assert (await handle.history())[0].fields["lineage"]["previous_result"] == 1
            await handle.terminate("enough")

    asyncio.run(begin())
    asyncio.run(go_on())
