"""Schedules: when runs begin, what becomes of those that overlap, and what operators do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processor import (
    ApplicationError,
    InvalidArgument,
    RetryPolicy,
    Status,
    WorkflowAlreadyStarted,
    WorkflowNotFound,
    workflow,
)
from processor.schedules import Calendar
from processor.schedules.runs import beginning
from processor.schedules.spec import SCHEDULE, merged, plain_options
from processor.testing import Environment

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@workflow.define
async def count(step: int = 1) -> int:
    """Adds to what the run before came to, and tells which run it is."""
    found = (workflow.info().last_result(int) or 0) + step
    workflow.publish("runs", workflow.info().workflow_id, found)
    return found


@workflow.define
async def slow(hours: float) -> str:
    """Tells when it begins and how it ends."""
    name = workflow.info().workflow_id
    workflow.publish("runs", name, f"begins {workflow.now():%d %H:%M}")
    try:
        await workflow.sleep(3_600 * hours)
    except asyncio.CancelledError:
        workflow.publish("runs", name, f"cancelled {workflow.now():%d %H:%M}")
        raise
    workflow.publish("runs", name, f"ends {workflow.now():%d %H:%M}")
    return name


@workflow.define
async def fails(day: int) -> str:
    if workflow.now().day == day:
        raise ApplicationError("the shop is closed")
    return "open"


CODE = [count, slow, fails]
CACHED = pytest.mark.parametrize("cached", [None, 0], ids=["cached", "replayed"])
Story = Callable[[Environment], Awaitable[None]]


def play(story: Story, cached: int | None = None, **how: Any) -> None:
    async def main() -> None:
        how.setdefault("start", NEW_YEAR)
        async with Environment(CODE, max_cached_runs=cached, **how) as env:
            await story(env)
            assert not env.dead_letters

    asyncio.run(main())


def published(env: Environment) -> list[tuple[str, str]]:
    return [(each.key.decode(), each.value.decode().strip(chr(34))) for each in env.published]


def begun(env: Environment) -> list[str]:
    """Return when runs have begun, of those that tell it."""
    return [text.removeprefix("begins ") for _, text in published(env) if "begins" in text]


# --- time -----------------------------------------------------------------------------------------


@CACHED
def test_a_run_begins_at_each_time_and_has_the_result_of_the_one_before(cached: int | None) -> None:
    async def story(env: Environment) -> None:
        daily = await env.schedules.create(count, 2, id="daily", cron="30 6 * * *")
        await env.sleep(timedelta(days=120))
        days = [NEW_YEAR + timedelta(days=day, hours=6, minutes=30) for day in range(120)]
        assert published(env) == [
            (f"daily-{day:%Y-%m-%dT%H:%M:%S}Z", f"{2 * number}")
            for number, day in enumerate(days, 1)
        ]
        told = await daily.describe()
        assert (told.id, told.workflow, told.args) == ("daily", "count", [2])
        assert told.when == "cron '30 6 * * *' in UTC"
        assert told.next == [days[-1] + timedelta(days=each) for each in range(1, 11)]
        assert [each.nominal for each in told.recent] == days[:-11:-1]
        assert {each.status for each in told.recent} == {"completed"}
        assert (told.actions, told.skipped, told.missed, told.dropped) == (120, 0, 0, 0)
        assert (told.remaining, told.last_result, told.running) == (None, 240, [])
        first = await env.handle(f"daily-{days[0]:%Y-%m-%dT%H:%M:%S}Z").describe()
        assert first.parent is not None and first.parent.workflow_id == "schedule:daily"
        assert len(await env.handle("schedule:daily").history()) < 300

    play(story, cached)


@pytest.mark.parametrize(
    ("how", "times"),
    [
        ({"every": 6 * HOUR, "offset": HOUR}, ["01 01:00", "01 07:00", "01 13:00"]),
        ({"cron": ["0 5 * * *", "0 4 * * *"]}, ["01 04:00", "01 05:00", "02 04:00"]),
        ({"cron": "0 9 * * *", "tz": "Asia/Tokyo"}, ["02 00:00", "03 00:00"]),
        ({"calendars": [Calendar(hour=3, weekday="WED,FRI")]}, ["02 03:00", "04 03:00"]),
        ({"times": [NEW_YEAR + DAY, NEW_YEAR + HOUR]}, ["01 01:00", "02 00:00"]),
        ({"cron": "@daily", "start": NEW_YEAR + 3 * DAY}, ["04 00:00"]),
        ({"cron": "@daily", "end": NEW_YEAR + 3 * DAY}, ["02 00:00", "03 00:00"]),
        ({"cron": "@hourly", "limit": 2}, ["01 01:00", "01 02:00"]),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_when_runs_begin(how: dict[str, Any], times: list[str]) -> None:
    async def story(env: Environment) -> None:
        handle = await env.schedules.create(slow, 0, id="s", **how)
        preview = env.schedules.preview(
            count=9, **{name: each for name, each in how.items() if name != "limit"}
        )
        assert [f"{each.astimezone(UTC):%d %H:%M}" for each in preview][: len(times)] == times
        planned = (await handle.describe()).next[: len(times)]
        assert [f"{each.astimezone(UTC):%d %H:%M}" for each in planned] == times
        await env.sleep(timedelta(days=3, hours=12))
        assert begun(env)[: len(times)] == times
        if "end" in how or "times" in how or "limit" in how:
            assert len(begun(env)) == len(times) and (await handle.describe()).next == []

    play(story)


def test_jitter_lets_runs_begin_later_each_time_by_as_much() -> None:
    async def story(env: Environment) -> None:
        for id in ("a", "b"):
            await env.schedules.create(slow, 0, id=id, cron="@hourly", jitter=1_800)
        await env.sleep(DAY)
        minutes = {id: [int(text[-2:]) for text in begun(env)[at::2]] for at, id in enumerate("ab")}
        assert all(0 <= each <= 30 for each in minutes["a"]) and len({*minutes["a"]}) > 5

    play(story)


@CACHED
def test_what_was_due_while_nobody_worked_is_made_up_for(cached: int | None) -> None:
    """One is behind by more than is reckoned in one turn."""

    async def story(env: Environment) -> None:
        async def behind(id: str, days: int, **how: Any) -> Any:
            options = plain_options("create", {"every": 1_200, "overlap": "allow-all", **how})
            before_ms = round((NEW_YEAR - days * DAY).timestamp() * 1000)
            state = {**beginning(paused=False, note="", limit=None), "after_ms": before_ms}
            config = merged({"workflow": "slow", "args": [1]}, options)
            await env.start(SCHEDULE, config, state, id=f"schedule:{id}")
            await env.sleep(60)
            return await env.schedules.handle(id).describe()

        every = await behind("all", 1)
        assert (every.actions, every.missed) == (72, 0)
        late = await behind("late", 15, catch_up=HOUR)
        assert (late.actions, late.missed) == (3, 15 * 72 - 3)
        one = await behind("one", 15, overlap="skip")
        assert (one.actions, one.skipped, len(one.running)) == (1, 15 * 72 - 1, 1)
        for end in ("cancel", "terminate"):
            last = await behind(end, 1, overlap=f"{end}-other")
            assert (last.actions, last.skipped, len(last.running)) == (2, 70, 1)
            ended = last.recent[-1]
            assert ended.status in ("cancelled", "terminated") and "another run" in ended.why

    play(story, cached)


# --- runs that overlap ----------------------------------------------------------------------------


@CACHED
@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", ["begins 01:00", "ends 03:30", "begins 04:00", "ends 06:30"]),
        (
            "buffer-one",
            ["begins 01:00", "ends 03:30", "begins 03:30", "ends 06:00", "begins 06:00"],
        ),
        (
            "cancel-other",
            ["begins 01:00", "cancelled 02:00", "begins 02:00", "cancelled 03:00", "begins 03:00"],
        ),
        ("terminate-other", ["begins 01:00", "begins 02:00", "begins 03:00", "begins 04:00"]),
        ("allow-all", ["begins 01:00", "begins 02:00", "begins 03:00", "ends 03:30"]),
    ],
)
def test_what_becomes_of_runs_that_overlap(
    overlap: Any, expected: list[str], cached: int | None
) -> None:
    async def story(env: Environment) -> None:
        hourly = await env.schedules.create(slow, 2.5, id="s", cron="@hourly", overlap=overlap)
        await env.sleep(timedelta(hours=6, minutes=45))
        assert [text.replace("01 ", "") for _, text in published(env)][: len(expected)] == expected
        told = await hourly.describe()
        done = {each.status for each in told.recent}
        assert ("cancelled" in done) == (overlap == "cancel-other")
        assert ("terminated" in done) == (overlap == "terminate-other")
        assert told.skipped == {"skip": 4, "buffer-one": 3}.get(overlap, 0)

    play(story, cached)


@CACHED
def test_all_wait_for_their_turn_and_go_on_where_the_schedule_does(cached: int | None) -> None:
    async def story(env: Environment) -> None:
        how: Any = {"cron": "@hourly", "overlap": "buffer-all", "limit": 70}
        hourly = await env.schedules.create(slow, 1.25, id="s", **how)
        await env.sleep(timedelta(hours=40, minutes=5))
        assert (await hourly.describe()).waiting == 8
        await env.sleep(timedelta(hours=60))
        told = await hourly.describe()
        assert (told.actions, told.waiting, told.remaining, told.next) == (70, 0, 0, [])
        ids = [name for name, text in published(env) if "ends" in text]
        assert len(ids) == 70 and ids == sorted(ids)

    play(story, cached)


# --- what operators do ----------------------------------------------------------------------------


@CACHED
def test_a_schedule_is_paused_and_goes_on_with_the_next_time(cached: int | None) -> None:
    async def story(env: Environment) -> None:
        daily = await env.schedules.create(slow, 0, id="s", cron="@daily", paused=True, note="soon")
        await env.sleep(2.5 * DAY)
        assert begun(env) == []
        told = await daily.describe()
        assert (told.paused, told.note, told.next[0]) == (True, "soon", NEW_YEAR + 3 * DAY)
        assert await daily.pause("again") is False
        assert await daily.resume("now") is True and await daily.resume() is False
        await env.sleep(DAY)
        assert begun(env) == ["04 00:00"]
        assert await daily.pause("for Ada") is True
        (shown,) = [each async for each in env.schedules.list()]
        assert (shown.id, shown.paused, shown.note, shown.next) == ("s", True, "for Ada", None)
        run = await daily.trigger()
        assert await run.result() == "s-2030-01-04T12:00:00Z"
        first, second = await daily.trigger(), await daily.trigger()
        assert {first.id, second.id} == {
            "s-2030-01-04T12:00:00.001Z",
            "s-2030-01-04T12:00:00.002Z",
        }
        assert await daily.delete() is True and await daily.delete() is False
        assert [each async for each in env.schedules.list()] == []
        with pytest.raises(WorkflowNotFound, match="no schedule 's', or it was deleted"):
            await daily.trigger()
        with pytest.raises(WorkflowNotFound, match="no schedule 's', or it was deleted"):
            await daily.describe()

    play(story, cached)


def test_a_failure_pauses_a_schedule_that_wants_it() -> None:
    async def story(env: Environment) -> None:
        how: Any = {"cron": "@daily", "retry": RetryPolicy(maximum_attempts=2)}
        stops = await env.schedules.create(fails, 3, id="stops", pause_on_failure=True, **how)
        goes_on = await env.schedules.create(fails, 3, id="goes on", **how)
        await env.sleep(4.5 * DAY)
        told = await stops.describe()
        assert told.paused and [each.status for each in told.recent] == ["failed", "completed"]
        assert told.note.startswith("stops-2030-01-03T00:00:00Z: child workflow 'fails'")
        assert "the shop is closed" in told.note and told.last_result == "open"
        told = await goes_on.describe()
        assert [each.status for each in told.recent] == [
            *("completed", "completed", "failed", "completed"),
        ]
        failed = told.recent[2]
        assert failed.ended is not None and failed.ended - failed.begun == timedelta(seconds=1)

    play(story)


@CACHED
def test_times_of_the_past_have_their_runs_once(cached: int | None) -> None:
    async def story(env: Environment) -> None:
        daily = await env.schedules.create(slow, 1, id="s", cron="0 6 * * *")
        await env.sleep(2 * DAY)
        assert await daily.backfill(NEW_YEAR - 3 * DAY, NEW_YEAR + 2 * DAY) == 5
        await env.sleep(5 * HOUR)
        ids = [name for name, text in published(env) if "ends" in text]
        assert ids == [f"s-{day}T06:00:00Z" for day in (
            *("2030-01-01", "2030-01-02", "2029-12-29", "2029-12-30", "2029-12-31"),
        )]  # fmt: skip
        told = await daily.describe()
        assert told.actions == 5 and [each.status for each in told.recent[:2]] == ["has_run"] * 2
        day = NEW_YEAR, NEW_YEAR + DAY
        assert await daily.backfill(*day, again=True, overlap="allow-all") == 1
        await env.sleep(2 * HOUR)
        assert (await daily.describe()).actions == 6
        with pytest.raises(InvalidArgument, match="more than 1,000 times from start to end"):
            await daily.backfill(NEW_YEAR - 1_001 * DAY, NEW_YEAR)
        with pytest.raises(InvalidArgument, match="end is in the future"):
            await daily.backfill(NEW_YEAR, NEW_YEAR + 9 * DAY)

    play(story, cached)


@CACHED
def test_a_schedule_is_changed(cached: int | None) -> None:
    async def story(env: Environment) -> None:
        handle = await env.schedules.create(slow, 0, id="s", every=HOUR, offset=60, jitter=0)
        await env.sleep(1.5 * HOUR)
        await handle.update(cron="0 6 * * *", tz="Europe/Berlin")
        told = await handle.describe()
        assert told.when == "cron '0 6 * * *' in Europe/Berlin"
        await handle.update(workflow=count, args=[5], limit=1)
        await env.sleep(3 * DAY)
        assert published(env)[-1] == ("s-2030-01-01T05:00:00Z", "5")
        assert len(env.published) == 5 and (await handle.describe()).remaining == 0
        for changes, text in (
            ({"cron": None}, "it has no times"),
            ({"cron": "61 * * * *"}, "update: cron '61 \\* \\* \\* \\*', tz 'Europe/Berlin': Bad"),
            ({"tz": "Mars/Olympus"}, "there is no time zone 'Mars/Olympus'"),
            (
                {"tz": "InvalidArgument: x"},
                "^update: cron .*no time zone 'InvalidArgument: x",
            ),
            ({"end": NEW_YEAR, "start": NEW_YEAR + DAY}, "end is not after start"),
            ({}, "there is nothing to change"),
        ):
            with pytest.raises(InvalidArgument, match=text):
                await handle.update(**changes)  # type: ignore[arg-type]
        assert (await handle.describe()).when == "cron '0 6 * * *' in Europe/Berlin"

    play(story, cached)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({}, "create: it has no times: give cron, every"),
        ({"cron": 5}, "create: cron: give a list"),
        ({"cron": ["@daily", 5]}, "create: cron: give a cron string, as '0 6 \\* \\* \\*', not 5"),
        ({"cron": "0 0 31 2 *"}, "create: cron '0 0 31 2 \\*', tz 'UTC': Bad day-of-month"),
        ({"every": 0.5}, "create: every: give 1 s or more, not 0.5"),
        ({"cron": "@daily", "offset": 5}, "create: offset is where intervals begin: give every"),
        ({"calendars": ["9:00"]}, "create: calendars: give Calendar"),
        ({"times": [datetime(2030, 1, 1)]}, "create: times: give a datetime with a time zone"),
        ({"cron": "@daily", "dst": "never"}, "create: dst: give one of"),
        ({"cron": "@daily", "overlap": "queue"}, "create: overlap: give one of"),
        ({"cron": "@daily", "limit": 0}, "create: limit: give a whole number from 1 on"),
        ({"cron": "@daily", "retry": 3}, "create: retry: give RetryPolicy"),
        ({"cron": "@daily", "memo": "x" * 600_000}, "has 600,.* bytes, and 500,000 are the most"),
        ({"calendars": [Calendar(day=30, month=2)]}, "create: there is no such time"),
    ],
)
def test_what_is_no_schedule_is_refused(how: dict[str, Any], text: str) -> None:
    async def story(env: Environment) -> None:
        with pytest.raises(InvalidArgument, match=text):
            await env.schedules.create(slow, 0, id="s", **how)
        with pytest.raises(TypeError, match="unexpected keyword argument 'crn'"):
            await env.schedules.create(slow, 0, id="s", crn="@daily")  # type: ignore[call-overload]
        assert [each async for each in env.schedules.list()] == []

    play(story)


def test_an_id_has_one_schedule() -> None:
    async def story(env: Environment) -> None:
        await env.schedules.create("slow", 0, id="s", cron="@daily")
        with pytest.raises(WorkflowAlreadyStarted, match=r"there is a schedule 's' already"):
            await env.schedules.create(slow, 0, id="s", cron="@daily")

    play(story)


def test_a_run_that_cannot_be_started_says_so() -> None:
    """Whoever asks for a workflow that nobody has gets a parked run, which can be looked at."""

    async def story(env: Environment) -> None:
        handle = await env.schedules.create("nobody", id="s", cron="@daily")
        await env.sleep(2 * DAY)
        told = await handle.describe()
        assert (len(told.running), told.actions) == (1, 1)
        run = await env.handle(told.running[0].workflow_id).describe()
        assert run.status is Status.PARKED

    play(story)


def test_the_name_of_our_workflow_is_taken() -> None:
    @workflow.define(name=SCHEDULE)
    async def mine() -> None: ...

    with pytest.raises(InvalidArgument, match="has the name of the workflow that schedules are"):
        Environment([mine])
