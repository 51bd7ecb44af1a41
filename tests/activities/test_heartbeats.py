"""Heartbeats: who beats in time lives, and each beat that matters leaves in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import activity
from tests.own_time import OwnTime

from .test_executor import outcome_of


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "async"])
def test_an_activity_that_beats_outlives_its_heartbeat_time_out(plain: bool) -> None:
    loop = OwnTime(jumps=not plain)

    def beats() -> str:
        for _ in range(12):
            activity.heartbeat()
            loop.pass_s(0.05)
        return "done"

    async def beats_async() -> str:
        for _ in range(12):
            activity.heartbeat()
            await asyncio.sleep(0.05)
        return "done"

    reports = outcome_of(beats if plain else beats_async, loop, heartbeat_ms=300)
    assert reports[-1].payload == b'"done"', reports[-1].failure


def test_an_activity_that_falls_silent_later_times_out() -> None:
    async def beats() -> None:
        for _ in range(8):
            activity.heartbeat("alive")
            await asyncio.sleep(0.05)
        await asyncio.sleep(9)

    failure = outcome_of(beats, OwnTime(), heartbeat_ms=200)[-1].failure
    assert failure is not None
    assert (failure.timeout_kind, failure.details) == ("heartbeat", b'"alive"')


def test_beats_leave_often_enough_for_the_time_out_and_not_more_often() -> None:
    """The shard of a queued attempt has a time-out of its own, which they have to reach."""

    async def beats() -> None:
        for number in range(50):
            activity.heartbeat(number)
            await asyncio.sleep(0.02)

    def sent(**changes: Any) -> int:
        reports = outcome_of(beats, OwnTime(), **changes)
        return sum(report.kind == "heartbeat" for report in reports)

    assert 4 <= sent(heartbeat_ms=400) <= 7
    assert sent() == 1, "nothing is as short as the throttle"
