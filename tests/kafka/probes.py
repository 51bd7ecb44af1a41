"""Small workflows for the broker tests."""

from __future__ import annotations

from datetime import timedelta

from processor import RetryPolicy, activity, workflow


@activity.define(retry=RetryPolicy(initial_interval=timedelta(milliseconds=50)))
async def double(value: int) -> int:
    return 2 * value


@workflow.define
async def queued_double(value: int) -> int:
    """The activity goes through its queue's topic, whoever owns the shard."""
    return await double.options(eager=False, start_to_close=10.0)(value)


@workflow.define
async def publishes(topic: str, count: int) -> int:
    for number in range(count):
        workflow.publish(topic, workflow.info().workflow_id, str(number).encode())
        await double(number)
    return count


@workflow.define
async def passes_on(to: str, value: int) -> None:
    workflow.signal(to, "passed", value)


@workflow.define
async def collects(count: int) -> list[int]:
    got = [await workflow.wait_for_event("passed", int) for _ in range(count)]
    return sorted(got)


PROBES = [queued_double, publishes, passes_on, collects]
PROBE_ACTIVITIES = [double]
