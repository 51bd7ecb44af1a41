"""The golden order's scenarios, for every runtime; and histories made comparable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import examples.orders
from examples.orders import Order, order_processing
from processor import Client, Handle, HistoryEvent, ProcessorError
from processor.activity import Activity
from tests.replay.recording import history

ACTIVITIES = [each for each in vars(examples.orders).values() if isinstance(each, Activity)]
Pause = Callable[[float], Awaitable[None]]
DONE = "Order processing completed successfully!"
REFUSED = "Order processing failed: Fraud review rejected or timed out"
_DIFFERS = {"run_id", "due_ms", "retry_at_ms", "request_id", "traceback", "worker"}


@dataclass(frozen=True)
class Scenario:
    """``approve``: the answer to the review, None for none. ``result``: or the error's text."""

    name: str
    order: Order
    approve: bool | None
    result: str


def _order(**how: Any) -> Order:
    quick = {"payment_retry_s": 0.02, "review_timeout_s": 30.0, "follow_up_s": 0.1}
    return Order(**{"id": "A-1", "amount": 5_000.0, **quick, **how})


SCENARIOS = (
    Scenario("approved", _order(), True, DONE),
    Scenario("rejected", _order(), False, REFUSED),
    Scenario("two-hours-pass", _order(review_timeout_s=0.3), None, REFUSED),
    Scenario("payment-fails", _order(payment_failures=5), None, "Payment provider is down"),
    Scenario("payment-retried", _order(payment_failures=2), True, DONE),
    Scenario("no-review", _order(amount=10.0), None, DONE),
)


async def play(
    client: Client, scenario: Scenario, id: str, pause: Pause = asyncio.sleep
) -> list[tuple[str, dict[str, Any]]]:
    """Run a scenario to its end; return its history without what differs between two runs."""
    handle = await client.start(order_processing, replace(scenario.order), id=id)
    if scenario.approve is not None:
        await _waits_for_review(handle, pause)
        await handle.raise_event("fraudReviewApproved", scenario.approve)
    try:
        result = await handle.result(timeout=60)
    except ProcessorError as error:
        result = str(error.__cause__)
    assert result == scenario.result
    return comparable(await handle.history())


async def _waits_for_review(handle: Handle[Any], pause: Pause) -> None:
    """The histories are the same only if the event comes at the same point."""
    async with asyncio.timeout(30):
        while not (await handle.describe()).pending.get("timers"):
            await pause(0.005)


async def outcome(handle: Handle[Any]) -> str:
    try:
        return str(await handle.result(timeout=60))
    except ProcessorError as error:
        return f"{type(error).__name__}: {error.__cause__ or error}"


def golden(scenario: Scenario) -> list[tuple[str, dict[str, Any]]]:
    """Return the scenario's history as it was recorded: ``tests/replay`` has the one copy."""
    return comparable(history(f"order-{scenario.name}"))


def comparable(events: list[HistoryEvent]) -> list[tuple[str, dict[str, Any]]]:
    assert [event.number for event in events] == list(range(len(events)))
    return [(event.type, _same(event.fields)) for event in events]


def _same(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _same(v) for k, v in value.items() if k not in _DIFFERS}
    return value
