"""Child workflows: a parent for each order, a child for each parcel; some fail, the others go on.

processor run fulfil '"A-1"' '["book", "piano"]' -s embedded:./state -m examples.children

A child has an id, a history and a shard of its own. Thousands of them run at once.
"""

import asyncio
from datetime import timedelta

from processor import ApplicationError, ChildFailed, RetryPolicy, activity, workflow


@activity.define
async def weigh(item: str) -> float:
    return 300.0 if item == "piano" else 1.5


@activity.define
async def hand_over(item: str, carrier: str) -> str:
    return f"{item} by {carrier}"


@workflow.define(retry=RetryPolicy(timedelta(seconds=1), maximum_attempts=2))
async def parcel(item: str) -> str:
    """One parcel: a workflow of its own, with its own retries."""
    if await weigh(item) > 30:
        raise ApplicationError(f"{item} is too heavy", type="TooHeavy", retryable=False)
    return await hand_over(item, "bicycle")


@workflow.define
async def fulfil(order: str, items: list[str]) -> dict[str, list[str]]:
    """All parcels of an order at once; what cannot be sent is told, and stops nobody."""
    called = [workflow.call_child(parcel, item, id=f"{order}/{item}") for item in items]
    sent: list[str] = []
    refused: list[str] = []
    for outcome in await asyncio.gather(*called, return_exceptions=True):
        if isinstance(outcome, ChildFailed):
            refused.append(str(outcome.__cause__ or outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            sent.append(outcome)
    return {"sent": sent, "refused": refused}
