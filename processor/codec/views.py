"""Runs and histories as JSON, for people, ``--json`` and replies. Payloads appear as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

from processor.core.state import OpenActivity, RunState, Summary
from processor.core.turn import Turn

__all__ = ("history_view", "pending_view", "summary_view", "to_json")

_PAYLOADS = frozenset(
    {"arguments", "payload", "result", "value", "details", "memo", "custom_status"}
)


def to_json(view: object) -> bytes:
    return msgspec.json.encode(view)


def summary_view(summary: Summary) -> dict[str, Any]:
    """Return a run's summary: the fields of ``Summary``, without those that are None."""
    return {name: value for name, value in _plain(summary).items() if value is not None}


def pending_view(state: RunState, waiting: Sequence[str]) -> dict[str, Any]:
    """Return what an open run waits for: activities, timers, and lines of code."""
    return {
        "activities": [_activity(activity) for activity in state.activities.values()],
        "timers": [{"id": id, "due_ms": due_ms} for id, due_ms in state.timers.items()],
        "waiting": list(waiting),
    }


def history_view(turn: Turn) -> Iterable[dict[str, Any]]:
    """Yield the events of a turn, each with its number, its time and its type."""
    for index, event in enumerate(turn.events):
        yield {
            "number": turn.first + index,
            "time_ms": turn.time_ms,
            "type": type(event).__name__,
            **_plain(event),
        }


def _activity(activity: OpenActivity) -> dict[str, Any]:
    return {
        "id": activity.id,
        "name": activity.name,
        "attempt": activity.attempt,
        "queue": activity.options.queue,
        "eager": activity.eager,
        "worker": activity.worker,
        "scheduled_ms": activity.scheduled_ms,
        "retry_at_ms": activity.retry_at_ms,
        "last_failure": None if activity.last_failure is None else _plain(activity.last_failure),
    }


def _plain(record: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, bytes):
            value = msgspec.Raw(value) if field.name in _PAYLOADS and _is_json(value) else value
        elif is_dataclass(value):
            value = _plain(value)
        out[field.name] = value
    return out


def _is_json(value: bytes) -> bool:
    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError:
        return False
    return True
