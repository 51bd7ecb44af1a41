"""How many orders begin in each hour, what became of them, and what they have earned.

A table of your own, folded from what happens to runs:

    processor worker examples.orders_per_hour
    processor views run --module examples.orders_per_hour
    processor views show orders_per_hour
"""

from __future__ import annotations

from dataclasses import dataclass

from processor import ApplicationError, views, workflow


@workflow.define
async def sale(item: str, price: int) -> int:
    if not price:
        raise ApplicationError(f"{item} has no price")
    return price


@dataclass
class Hour:
    """The orders that began in one hour."""

    begun: int = 0
    completed: int = 0
    failed: int = 0
    earned: int = 0
    longest_s: float = 0.0


def hour(event: views.RunEvent) -> str | None:
    return f"{event.started:%Y-%m-%dT%H}" if event.workflow == "sale" else None


@views.table("orders_per_hour", key=hour, merge={"longest_s": "max"})
def orders_per_hour(row: Hour | None, event: views.RunEvent) -> Hour:
    row = row or Hour()
    match event:
        case views.RunBegan():
            row.begun += 1
        case views.RunEnded(status="completed"):
            row.completed += 1
            row.earned += event.result(int)
        case views.RunEnded():
            row.failed += 1
        case _:  # what it does meanwhile
            pass
    row.longest_s = max(row.longest_s, (event.time - event.started).total_seconds())
    return row
