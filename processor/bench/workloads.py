"""The workflows and activities that are measured; `docs/performance.md` says what each is for.

Every activity counts its executions, so that a figure can be checked against the work that was
really done. ``queued`` sends the activities through the queue topics instead of running them in
the process that owns the shard.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from processor import ApplicationError, RetryPolicy, activity, workflow

__all__ = (
    "ACTIVITIES",
    "CHAIN_STEPS",
    "EXECUTIONS",
    "ORDER_ACTIVITIES",
    "ORDER_ATTEMPTS",
    "ORDER_DONE",
    "ORDER_FLOOR_MS",
    "WORKFLOWS",
    "chain",
    "child",
    "fanout",
    "order",
    "parent",
    "signal",
    "sleeper",
    "timers",
)

CHAIN_STEPS = 5
ORDER_DONE = "Order processing completed successfully!"
ORDER_ACTIVITIES = 6
ORDER_ATTEMPTS = 8
ORDER_FLOOR_MS = 130
"""Two retry delays (10 and 20 ms) and a sleep of 100 ms."""

PAYMENT_FAILURES = 2
REVIEW_LIMIT = timedelta(hours=2)

EXECUTIONS: Counter[str] = Counter()


@activity.define
async def noop(value: int) -> int:
    EXECUTIONS["noop"] += 1
    return value


@activity.define
async def echo(value: str) -> str:
    EXECUTIONS["echo"] += 1
    return value


@activity.define
async def reserve_inventory(order: str) -> str:
    EXECUTIONS["reserve"] += 1
    return "RESERVED"


@activity.define(retry=RetryPolicy(timedelta(milliseconds=10), maximum_attempts=10))
async def process_payment(order: str) -> str:
    EXECUTIONS["payment"] += 1
    if activity.info().attempt <= PAYMENT_FAILURES:
        raise ApplicationError("the payment provider is down")
    return "REQUIRES_REVIEW"


@activity.define
async def notify_fraud_team(order: str) -> str:
    EXECUTIONS["notify"] += 1
    return "NOTIFIED"


@activity.define
async def deduct_inventory(order: str) -> str:
    EXECUTIONS["deduct"] += 1
    return "DEDUCTED"


@activity.define
async def send_confirmation(order: str) -> str:
    EXECUTIONS["confirm"] += 1
    return "SENT"


@activity.define
async def send_follow_up(order: str) -> str:
    EXECUTIONS["followup"] += 1
    return "SENT"


ACTIVITIES = (
    noop,
    echo,
    reserve_inventory,
    process_payment,
    notify_fraud_team,
    deduct_inventory,
    send_confirmation,
    send_follow_up,
)
QUEUED: dict[str, Any] = {each.name: each.options(eager=False) for each in ACTIVITIES}

P = ParamSpec("P")
R = TypeVar("R")


def placed(step: activity.Activity[P, R], queued: bool) -> activity.Activity[P, R]:
    """Return the activity as it is called: through the queue, or eager where a slot is free."""
    if not queued:
        return step
    through_queue: activity.Activity[P, R] = QUEUED[step.name]
    return through_queue


@workflow.define
async def chain(value: str, queued: bool) -> str:
    """Five activities, one after another."""
    step = placed(echo, queued)
    for _ in range(CHAIN_STEPS):
        value = await step(value)
    return f"done:{value}"


@workflow.define
async def order(id: str, queued: bool) -> str:
    """Six activities, one of which fails twice; an event against two hours; a sleep."""
    await placed(reserve_inventory, queued)(id)
    if await placed(process_payment, queued)(id) == "REQUIRES_REVIEW":
        await placed(notify_fraud_team, queued)(id)
        try:
            await workflow.wait_for_event("fraudReviewApproved", int, timeout=REVIEW_LIMIT)
        except TimeoutError:
            return "Fraud review timed out"
    await placed(deduct_inventory, queued)(id)
    await placed(send_confirmation, queued)(id)
    await asyncio.sleep(0.1)
    await placed(send_follow_up, queued)(id)
    return ORDER_DONE


@workflow.define
async def fanout(width: int, queued: bool) -> int:
    """Many activities at once."""
    step = placed(noop, queued)
    return sum(await asyncio.gather(*(step(number) for number in range(width))))


@workflow.define
async def child(number: int, queued: bool) -> int:
    """One activity."""
    return await placed(noop, queued)(number)


@workflow.define
async def parent(width: int, queued: bool) -> int:
    """Many children at once."""
    called = (workflow.call_child(child, number, queued) for number in range(width))
    return sum(await asyncio.gather(*called))


@workflow.define
async def signal(count: int) -> int:
    """Many external events, one after another."""
    for _ in range(count):
        await workflow.wait_for_event("event", int)
    return count


@workflow.define
async def timers(seconds: float) -> list[float]:
    """One durable sleep; returns when it began and when the code ran again (s since the epoch)."""
    before = workflow.now().timestamp()
    await asyncio.sleep(seconds)
    return [before, workflow.now().timestamp()]


@workflow.define
async def sleeper(due_s: float) -> None:
    """Sleep until a time (s since the epoch); counted when it wakes up, not at replay."""
    await workflow.timer(datetime.fromtimestamp(due_s, UTC))
    workflow.side_effect(wake)


def wake() -> None:
    EXECUTIONS["woken"] += 1


WORKFLOWS = (chain, order, fanout, child, parent, signal, timers, sleeper)
