"""Monitor: poll with growing pauses until a condition holds or a deadline passes.

The pauses are durable timers: a monitor that waits for a week needs no process meanwhile.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from processor import ApplicationError, activity, workflow


@dataclass
class Job:
    id: str
    ready_after_polls: int = 3
    first_pause_s: float = 1.0
    pause_max_s: float = 3600.0
    deadline_s: float = 7 * 24 * 3600.0


@activity.define(start_to_close=timedelta(seconds=10))
async def is_ready(job: Job, poll: int) -> bool:
    return poll >= job.ready_after_polls


@workflow.define
async def monitor(job: Job) -> str:
    pause_s = job.first_pause_s
    poll = 1
    try:
        async with asyncio.timeout(job.deadline_s):
            while not await is_ready(job, poll):
                workflow.set_status(f"poll {poll}: not ready, next in {pause_s:g} s")
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, job.pause_max_s)
                poll += 1
    except TimeoutError:
        raise ApplicationError(f"job {job.id} was not ready in time", type="Overdue") from None
    return f"job {job.id} was ready at poll {poll}"
