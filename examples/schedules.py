"""Schedules: a cron job, and a report every weekday at nine in Berlin.

``processor schedules apply schedules`` (with ``examples`` on Python's path) makes them so, and
``processor schedule backfill weekday_report 2026-01-01 2026-02-01`` makes up for January.
"""

from datetime import timedelta

from processor import activity, workflow


@activity.define(start_to_close=timedelta(minutes=10))
async def remove_old_files(days: int) -> int:
    """Return how many files are gone."""
    return 3


@activity.define(start_to_close=timedelta(minutes=1))
async def send_report(city: str, number: int) -> str:
    return f"report {number} of {city} is sent"


@workflow.schedule("30 3 * * *", args=[14], pause_on_failure=True, overlap="skip")
@workflow.define
async def clean_up(days: int) -> int:
    """The cron job: it is paused when it fails, so that somebody looks."""
    return await remove_old_files(days)


@workflow.schedule("0 9 * * MON-FRI", tz="Europe/Berlin", args=["Berlin"], overlap="buffer-all")
@workflow.define
async def weekday_report(city: str) -> int:
    """Reports have numbers without gaps: each run knows what the one before came to."""
    number = (workflow.info().last_result(int) or 0) + 1
    workflow.set_status(await send_report(city, number))
    return number
