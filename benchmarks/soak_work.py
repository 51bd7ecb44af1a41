"""What the soak runs: workflows that use a little of everything, and their worker."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from datetime import timedelta

from processor import RetryPolicy, Worker, activity, workflow

__all__ = ("PUBLISHED", "WORKFLOWS", "bring", "fan", "meet", "serve", "visit")

PUBLISHED = "soak-published"
"""The topic of ``visit``: one record for each run, with its workflow id as the key."""

_QUICK = RetryPolicy(initial_interval=timedelta(milliseconds=100))


@activity.define(retry=_QUICK)
async def double(value: int) -> int:
    return 2 * value


@activity.define(retry=_QUICK)
def fails_once(value: int) -> int:
    """Run in a thread."""
    if activity.info().attempt == 1:
        raise RuntimeError("the first attempt fails")
    return value + 1


@workflow.define
async def visit(value: int) -> int:
    """Eager, in a thread with a retry, asleep, through the queue; and a record of its own."""
    value = await double(value)
    value = await fails_once(value)
    await asyncio.sleep(0.2)
    value = await double.options(eager=False, start_to_close=5.0)(value)
    workflow.publish(PUBLISHED, workflow.info().workflow_id, str(value).encode())
    return value


@workflow.define
async def fan(width: int) -> int:
    return sum(await asyncio.gather(*(double(number) for number in range(width))))


@workflow.define
async def meet(count: int) -> list[int]:
    """Wait for events of other instances, or for a client's."""
    return sorted([await workflow.wait_for_event("brought", int) for _ in range(count)])


@workflow.define
async def bring(to: str, value: int) -> int:
    workflow.signal(to, "brought", value)
    return await double(value)


WORKFLOWS = (visit, fan, meet, bring)


async def serve(servers: str, namespace: str, state_dir: str, instance_id: str) -> None:
    worker = Worker(
        servers,
        namespace=namespace,
        workflows=WORKFLOWS,
        activities=(double, fails_once),
        state_dir=state_dir,
        instance_id=instance_id,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(serve(*sys.argv[1:]))
