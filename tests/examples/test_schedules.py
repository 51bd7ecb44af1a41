"""The schedules of ``examples/schedules.py``, as their module declares them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from examples import schedules
from examples.schedules import clean_up, remove_old_files, send_report, weekday_report
from processor import ApplicationError
from processor.client.schedules.declared import applied
from processor.testing import Environment
from processor.workflow._schedule import declared_by

FRIDAY = datetime(2030, 3, 29, tzinfo=UTC)
"""The clocks of Berlin change on Sunday."""


def test_a_cron_job_is_paused_when_it_fails() -> None:
    full: list[bool] = []

    def remove(days: int) -> int:
        if full:
            raise ApplicationError("the disk is full", retryable=False)
        return days

    async def main() -> None:
        async with Environment([clean_up], mocks={remove_old_files: remove}, start=FRIDAY) as env:
            declared = declared_by(clean_up)
            await applied(env.schedules, schedules.__name__, declared, dry_run=False)
            job = env.schedules.handle("clean_up")
            await env.sleep(timedelta(days=2))
            full.append(True)
            await env.sleep(timedelta(days=2))
            told = await job.describe()
            assert [each.status for each in told.recent] == ["failed", "completed", "completed"]
            assert told.paused and "the disk is full" in told.note
            again = await applied(env.schedules, schedules.__name__, declared, dry_run=False)
            assert [(each.kind, each.paused) for each in again] == [("same", True)]
            full.clear()
            assert await job.resume("there is room again")
            await env.sleep(timedelta(days=1))
            assert (await job.describe()).last_result == 14

    asyncio.run(main())


def test_a_report_every_weekday_at_nine_in_berlin_with_backfill() -> None:
    async def main() -> None:
        async with Environment([weekday_report], [send_report], start=FRIDAY) as env:
            declared = declared_by(weekday_report)
            await applied(env.schedules, schedules.__name__, declared, dry_run=False)
            report = env.schedules.handle("weekday_report")
            await env.sleep(timedelta(days=4))
            berlin = [each.nominal for each in reversed((await report.describe()).recent)]
            assert berlin == [
                datetime(2030, 3, 29, 8, tzinfo=UTC),
                datetime(2030, 4, 1, 7, tzinfo=UTC),
            ]
            assert await report.backfill(FRIDAY - timedelta(days=7), FRIDAY) == 5
            await env.sleep(60)
            told = await report.describe()
            assert (told.actions, told.last_result) == (7, 7)
            last = env.handle("weekday_report-2030-03-28T08:00:00Z")
            assert (await last.describe()).custom_status == "report 7 of Berlin is sent"

    asyncio.run(main())
