"""How the demo shows a history: one line an event, in words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from processor.cli.output import on_terminal, say, shown_value, write_json

if TYPE_CHECKING:
    from processor.client import HistoryEvent

__all__ = ("Feed", "awaits_review", "is_closed")

PACE_S = 0.06
"""Between two lines on a terminal: what takes a millisecond can be followed then."""
CLOSING = frozenset(
    (
        "WorkflowCompleted",
        "WorkflowFailed",
        "WorkflowCancelled",
        "WorkflowTerminated",
        "WorkflowTimedOut",
    )
)
STYLES = {
    "ActivityAttemptFailed": "yellow",
    "ActivityCompleted": "green",
    "ActivityFailed": "red",
    "ActivityRetried": "cyan",
    "ActivityScheduled": "cyan",
    "EventReceived": "magenta",
    "TimerFired": "blue",
    "TimerStarted": "blue",
    "WorkflowCompleted": "bold green",
    "WorkflowFailed": "bold red",
    "WorkflowStarted": "bold",
}
REVIEW_ACTIVITY = "notify_fraud_team"


class Feed:
    """Prints the events that it has not printed yet; the first ``before`` ones are old, and dim."""

    def __init__(self, as_json: bool, before: int) -> None:
        self._as_json = as_json
        self._before = before
        self._shown = 0

    async def show(self, events: Sequence[HistoryEvent]) -> None:
        """Print what is new, at a pace on a terminal."""
        names = activity_names(events)
        for event in events[self._shown :]:
            if self._as_json:
                write_json(event)
                continue
            time = event.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
            words = in_words(event, names)
            say(f"{time} {event.number:>3}  {event.type:<22} {words}".rstrip(), self._style(event))
            if on_terminal() and event.number >= self._before:
                await asyncio.sleep(PACE_S)
        self._shown = len(events)

    def _style(self, event: HistoryEvent) -> str:
        return "dim" if event.number < self._before else STYLES.get(event.type, "")


def activity_names(events: Sequence[HistoryEvent]) -> dict[int, str]:
    """Return the name of each activity by its id."""
    return {e.fields["id"]: e.fields["name"] for e in events if e.type == "ActivityScheduled"}


def is_closed(events: Sequence[HistoryEvent]) -> bool:
    """Tell whether the run has ended."""
    return bool(events) and events[-1].type in CLOSING


def awaits_review(events: Sequence[HistoryEvent]) -> bool:
    """Tell whether the order waits for the answer of the fraud team."""
    names = activity_names(events)
    types = {event.type for event in events}
    notified = any(
        event.type == "ActivityCompleted" and names[event.fields["id"]] == REVIEW_ACTIVITY
        for event in events
    )
    return notified and not types & {"EventReceived", "TimerFired"}


def in_words(event: HistoryEvent, names: dict[int, str]) -> str:
    """Return what an event says."""
    fields = event.fields
    name = names.get(fields.get("id", -1), "")
    match event.type:
        case "ActivityScheduled":
            return name
        case "ActivityCompleted":
            result = fields["result"]
            return name if result is None else f"{name}: {shown_value(result)}"
        case "ActivityAttemptFailed":
            delay_s = fields["retry_at_ms"] / 1000 - event.time.timestamp()
            reason = fields["failure"]["message"]
            return f"{name}, attempt {fields['attempt']}: {reason}; again in {delay_s:.1f} s"
        case "ActivityRetried":
            return f"{name}, attempt {fields['attempt']}"
        case "ActivityFailed" | "WorkflowFailed":
            return f"{name} {fields['failure']['message']}".strip()
        case "TimerStarted":
            return f"for {duration(fields['due_ms'] / 1000 - event.time.timestamp())}, durable"
        case "EventReceived":
            return f"{fields['name']} {shown_value(fields['payload'])}"
        case "WorkflowStarted":
            return str(fields["workflow"])
        case "WorkflowCompleted":
            return shown_value(fields["result"])
        case _:
            return other_words(fields)


def other_words(fields: dict[str, Any]) -> str:
    """Return the text of an event that the demo does not expect."""
    return str(fields.get("reason") or fields.get("error") or "")


def duration(seconds: float) -> str:
    """Return a time span for people."""
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} hours"
    return f"{seconds:.3g} s"
