"""Who waits for a result looks now and then: at least every two minutes, and says what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, pairwise
from typing import Any

import pytest

from processor.client import vigil
from processor.client.descriptions import RunDescription
from processor.client.vigil import Vigil, Vigils, overdue
from processor.errors import ShardUnavailable, WorkflowNotFound, WorkflowParked
from processor.policy import Status
from tests.own_time import in_own_time

Look = Callable[[int, str | None], Awaitable[RunDescription]]


def a_run(id: str = "order-0", **how: Any) -> RunDescription:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return RunDescription(id, "0-0", "order", Status.RUNNING, moment, None, 1, **how)


def looked(
    describe: Look,
    for_s: float,
    waits: int = 1,
    begin_apart_s: float = 0.0,
    *,
    raises: bool = False,
) -> list[list[float]]:
    """Wait so often and so long, in a moment; return when each was looked at, in seconds.

    ``describe`` answers for a wait, by its number, and for a child, by its id.
    """
    found: list[list[float]] = [[] for _ in range(waits)]

    async def main() -> None:
        loop, vigils = asyncio.get_running_loop(), Vigils()
        begun = loop.time()

        async def wait(number: int) -> None:
            async def look(child: str | None) -> RunDescription:
                if child is None:
                    found[number].append(loop.time() - begun)
                return await describe(number, child)

            await asyncio.sleep(number * begin_apart_s)
            async with Vigil(vigils, f"order-{number}", look, raises=raises):
                await asyncio.sleep(for_s)

        await asyncio.gather(*map(wait, range(waits)))
        await asyncio.sleep(300)  # who waits no more is not looked at

    in_own_time(main())
    return found


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "processor.client"]


async def nobody_answers(_: int, child: str | None) -> RunDescription:
    raise ShardUnavailable("shard 3 did not answer within 10.0 s")


async def not_there(_: int, child: str | None) -> RunDescription:
    raise WorkflowNotFound("no run of 'order-1'")


def test_it_looks_less_and_less_often_and_at_least_every_two_minutes() -> None:
    [times] = looked(not_there, 600)
    pauses = [after - before for before, after in pairwise([0.0, *times])]
    assert pauses == pytest.approx([1, 4, 16, 64, *([120] * 4)], abs=0.5)


@pytest.mark.parametrize("begin_apart_s", [0.0, 0.001])
def test_thousands_who_wait_are_looked_at_a_few_at_a_time(begin_apart_s: float) -> None:
    """All at once would be a flood of questions, a second after a flood of starts."""
    found = looked(not_there, 30, 1_000, begin_apart_s)
    first = sorted(times[0] for times in found)
    assert 1 <= first[0] < 1.5, "whoever waits alone hears soon"
    assert first[-1] == pytest.approx(1 + 1_000 / 20 * 0.5, abs=2), "each is looked at"
    for second in range(1, 30):  # first, second and third looks, of 20 each half second
        assert sum(second <= each < second + 1 for each in chain(*found)) <= 3 * 3 * 20


@pytest.mark.parametrize("begin_apart_s", [0.0, 0.002])
def test_no_look_is_later_than_a_minute_however_many_wait(begin_apart_s: float) -> None:
    """Also where the first ones are never answered, and others come while it looks."""

    async def answered(number: int, _: str | None) -> RunDescription:
        if number < 20:
            await asyncio.Event().wait()
        return a_run()

    found = looked(answered, 150, 5_000, begin_apart_s)
    for number, times in enumerate(found):
        begun = number * begin_apart_s
        assert 1 <= times[0] - begun < 1 + 60 + 1
        if number >= 20:
            assert 4 <= times[1] - times[0] < 4 + 60 + 1


def test_who_waits_for_less_than_a_second_is_not_looked_at() -> None:
    assert looked(not_there, 0.9, waits=10) == [[]] * 10


def test_a_shard_that_does_not_answer_is_told_at_each_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looked(nobody_answers, 30)
    assert len(told(caplog)) == 3
    for part in ("still waiting for the result of 'order-0'", "shard 3 did not answer"):
        assert part in told(caplog)[0]


def test_a_run_that_is_not_there_yet_is_no_reason_to_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looked(not_there, 30)
    assert not caplog.records


def test_a_look_that_fails_is_told_and_is_not_the_last_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An interceptor or a codec may raise anything: it ended the looks, in silence."""

    async def fails(_: int, child: str | None) -> RunDescription:
        if len(times) < 2:
            times.append(0.0)
            raise ValueError("no key")
        return a_run(parked={"kind": "bug", "error": "oh", "where": "", "traceback": ""})

    times: list[float] = []
    [found] = looked(fails, 30)
    assert len(found) == 3
    assert told(caplog)[0].endswith("because looking failed: ValueError('no key')")
    assert "parked (bug): oh" in told(caplog)[-1]


def test_a_child_that_nobody_knows_hides_no_other_one() -> None:
    """One may have no run yet, and its shard may be nobody's."""
    children = [{"workflow_id": f"child-{number}"} for number in range(3)]

    async def family(_: int, child: str | None) -> RunDescription:
        if child is None:
            return a_run(pending={"children": children})
        if child == "child-0":
            raise WorkflowNotFound("no run of 'child-0'")
        if child == "child-1":
            raise ShardUnavailable("shard 1 did not answer within 10.0 s")
        return a_run(child, parked={"kind": "bug", "error": "oh", "where": "", "traceback": ""})

    with pytest.raises(WorkflowParked) as raised:
        looked(family, 30, raises=True)
    assert raised.value.workflow_id == "child-2"


def test_who_does_not_wait_any_more_is_not_looked_at_whoever_takes_a_cancellation() -> None:
    async def goes_on(_: int, child: str | None) -> RunDescription:
        with suppress(asyncio.CancelledError):  # an interceptor that does so, say
            await asyncio.sleep(10)
        return a_run()

    [found] = looked(goes_on, 5)
    assert len(found) == 1


def test_who_waits_for_weeks_keeps_nothing_of_what_was_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """How often an activity has failed is another text each time. What stays is told once."""
    looks = 0

    async def fails(_: int, child: str | None) -> RunDescription:
        nonlocal looks
        looks += 1
        return a_run(parked={"kind": "bug", "error": f"no {looks // 100}", "where": ""})

    async def main() -> None:
        async def look(child: str | None) -> RunDescription:
            return await fails(0, child)

        async with Vigil(Vigils(), "order-0", look, raises=False) as it:
            await asyncio.sleep(14 * 24 * 3600)
            assert looks > 10_000
            assert len(told(caplog)) == looks // 100 + 1
            assert len(it._told) + len(it._told_before) <= 2

    in_own_time(main())


def test_a_queue_without_workers_is_told_also_where_the_clock_is_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard's clock said when the task began to wait. An hour later would be too late."""
    monkeypatch.setattr(vigil, "time_ns", lambda: 1_000_000_000_000_000_000)

    async def waits(_: int, child: str | None) -> RunDescription:
        task = {
            "name": "pay",
            "id": 1,
            "queue": "slow",
            "paused": False,
            "failures": 0,
            "last_failure": None,
            "dispatched_ms": 1_000_003_600_000,
            "started_ms": None,
            "retry_at_ms": None,
            "eager": False,
        }
        return a_run(pending={"activities": [task]})

    looked(waits, 30)
    assert "no worker of queue 'slow' has taken it for 20 s" in told(caplog)[-1]


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("", "no result of 'a' within 1 s; client.handle('a').describe() says how it stands"),
        (
            "no answer",
            "no result of 'a' within 1 s: no answer; it may have begun all the same; "
            "client.handle('a').describe() says how it stands",
        ),
    ],
)
def test_a_time_out_before_the_first_look_says_who_knows_more(why: str, said: str) -> None:
    assert str(overdue("a", 1.0, None, why)) == said
