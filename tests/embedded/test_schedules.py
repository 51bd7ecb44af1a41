"""Schedules where time is real: on disk, after restarts, for callers that block."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from processor import Client, Worker, sync, workflow
from processor.client import ScheduleDescription


@workflow.define
async def numbered() -> int:
    return (workflow.info().last_result(int) or 0) + 1


def test_a_schedule_goes_on_in_another_process_and_makes_up_for_what_it_missed(
    tmp_path: Path,
) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=[numbered]), Client(server) as client:
            every = await client.schedules.create(numbered, id="s", every=1, overlap="buffer-all")
            before = await seen(every, 2)
        await asyncio.sleep(2.5)
        async with Worker(server, workflows=[numbered]), Client(server) as client:
            every = client.schedules.handle("s")
            told = await seen(every, before.actions + 3)
            assert (told.missed, told.skipped, told.dropped) == (0, 0, 0)
            times = [each.nominal for each in reversed(told.recent)]
            apart = {b - a for a, b in pairwise(times)}
            assert apart == {timedelta(seconds=1)}, "no time is left out, and none is there twice"
            assert told.last_result in (told.actions, told.actions - 1)
            assert await every.delete()

    asyncio.run(main())


async def seen(handle: object, actions: int) -> ScheduleDescription:
    for _ in range(200):
        told: ScheduleDescription = await handle.describe()  # type: ignore[attr-defined]
        if told.actions >= actions:
            return told
        await asyncio.sleep(0.1)
    raise AssertionError(f"no {actions} actions in 20 s")


def test_callers_that_block_have_schedules(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    with sync.Worker(server, workflows=[numbered]), sync.Client(server) as client:
        yearly = client.schedules.create(numbered, id="yearly", cron="@yearly")
        assert [each.id for each in client.schedules.list()] == ["yearly"]
        assert yearly.trigger().result(20) == 1
        span = datetime(2020, 1, 1, tzinfo=UTC), datetime(2022, 1, 1, tzinfo=UTC)
        assert yearly.backfill(*span) == 2
        assert yearly.pause("why") and yearly.resume()
        yearly.update(cron="@monthly")
        assert client.schedules.handle("yearly").describe().when == "cron '@monthly' in UTC"
        assert len(client.schedules.preview(cron="@daily")) == 10
        assert yearly.delete() and not yearly.delete()
