"""Tables over the probes' runs, for a process of their own."""

from __future__ import annotations

from processor import views

__all__ = ("by_workflow", "stops")


def of_workflow(event: views.RunEvent) -> str:
    return event.workflow


@views.table("by_workflow", key=of_workflow)
def by_workflow(row: dict[str, int] | None, event: views.RunEvent) -> dict[str, int]:
    """Count runs by workflow, and add up the results of those that have a number."""
    row = row or {"begun": 0, "ended": 0, "sum": 0}
    match event:
        case views.RunBegan():
            row["begun"] += 1
        case views.RunEnded():
            row["ended"] += 1
            result = event.result()
            row["sum"] += result if isinstance(result, int) else 0
        case _:
            pass
    return row


@views.table("stops", key=of_workflow)
def stops(row: int | None, event: views.RunEvent) -> int:
    raise ValueError("it cannot count")
