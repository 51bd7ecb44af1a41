"""Cadence: cadence-samples, cmd/samples, those with more than one run. Theirs are written in Go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from processor import activity, workflow
from processor.testing import Environment

# --- cron


@activity.define(start_to_close=60, schedule_to_start=10)
async def job(after: datetime, until: datetime) -> None:
    WINDOWS.append((after, until))


WINDOWS: list[tuple[datetime, datetime]] = []
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@workflow.define(execution_timeout=60)
async def each_window() -> datetime:
    until = workflow.now()
    await job(workflow.info().last_result(datetime) or NEVER, until)
    return until


def test_cron() -> None:
    """cron: 20 lines, theirs 94. Each run takes up where the last one that worked left off."""

    async def main() -> None:
        begin = datetime(2030, 1, 1, 16, 30, tzinfo=UTC)
        async with Environment([each_window], [job], start=begin) as env:
            handle = await env.start(each_window, id="cron", cron="0 * * * *")
            await env.sleep(timedelta(hours=3))
            await handle.terminate("it never stops")
            hours = [datetime(2030, 1, 1, hour, tzinfo=UTC) for hour in (17, 18, 19)]
            assert list(zip([NEVER, *hours], hours, strict=False)) == WINDOWS

    asyncio.run(main())


# --- recipes/childworkflow


@workflow.define
async def goes_round(total: int, left: int) -> str:
    total, left = total + 1, left - 1
    if left > 0:
        workflow.continue_as_new(total, left)
    return f"completed after {total} runs"


@workflow.define
async def waits_for_the_last_run() -> str:
    id = f"child_workflow:{workflow.info().run_id}"
    return await workflow.call_child(goes_round, 0, 5, id=id, execution_timeout=60)


def test_childworkflow() -> None:
    """recipes/childworkflow: 15 lines, theirs 92. The parent hears of the last run of its child."""

    async def main() -> None:
        async with Environment([waits_for_the_last_run, goes_round], max_cached_runs=0) as env:
            assert await env.run(waits_for_the_last_run) == "completed after 5 runs"

    asyncio.run(main())
