"""Runs and their events in the words of Azure's durable tasks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from processor.client import HistoryEvent, RunDescription
from processor.policy import Status

__all__ = (
    "SHOWN_STATUSES",
    "azure_time",
    "event_view",
    "output_of",
    "status_view",
)

_RUNTIME_STATUS: Final[Mapping[Status, str]] = {
    Status.RUNNING: "Running",
    Status.PARKED: "Running",
    Status.COMPLETED: "Completed",
    Status.FAILED: "Failed",
    Status.CANCELLED: "Canceled",
    Status.TERMINATED: "Terminated",
    Status.TIMED_OUT: "Failed",
    Status.CONTINUED: "ContinuedAsNew",
}

SHOWN_STATUSES: Final = frozenset((*_RUNTIME_STATUS.values(), "Pending", "Suspended", "Unknown"))
"""All statuses that an orchestration may have there; no run of ours is suspended or unknown."""

_EVENTS: Final = {
    "WorkflowStarted": "ExecutionStarted",
    "WorkflowCompleted": "ExecutionCompleted",
    "WorkflowFailed": "ExecutionCompleted",
    "WorkflowTimedOut": "ExecutionCompleted",
    "WorkflowCancelled": "ExecutionCompleted",
    "WorkflowTerminated": "ExecutionTerminated",
    "WorkflowContinued": "ContinueAsNew",
    "ActivityScheduled": "TaskScheduled",
    "ActivityCompleted": "TaskCompleted",
    "ActivityFailed": "TaskFailed",
    "TimerStarted": "TimerCreated",
    "TimerFired": "TimerFired",
    "EventReceived": "EventRaised",
    "MessageSent": "EventSent",
    "ChildCalled": "SubOrchestrationInstanceCreated",
}
_NAMES: Final = ("name", "workflow", "activity")
_OF_CODE: Final = frozenset(("WorkflowStarted", "ActivityScheduled", "ChildCalled"))
"""What these name is code. Whoever sends an event, a message or an update may choose its name."""


def azure_time(time: datetime) -> str:
    """Return a time as their JSON has it: to the second, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def output_of(run: RunDescription) -> tuple[str, Any]:
    """Return the status of a run and what came of it."""
    if run.begins is not None and run.status is Status.RUNNING:
        return "Pending", None
    if run.status is Status.FAILED and run.failure is not None:
        return "Failed", f"{run.failure.get('type')}: {run.failure.get('message')}"
    if run.status is Status.TIMED_OUT:
        return "Failed", "the execution time-out passed"
    if run.result is None and run.status in (Status.TERMINATED, Status.CANCELLED):
        return _RUNTIME_STATUS[run.status], run.cancel_reason
    return _RUNTIME_STATUS[run.status], run.result


def status_view(
    run: RunDescription, arguments: list[Any] | None, updated: datetime, *, payloads: bool
) -> dict[str, Any]:
    """Return the status of an orchestration. ``payloads``: whoever asks may see them."""
    status, output = output_of(run)
    given = arguments if arguments is None or len(arguments) > 1 else next(iter(arguments), None)
    return {
        "name": run.workflow,
        "instanceId": run.workflow_id,
        "runtimeStatus": status,
        "input": given,
        "customStatus": run.custom_status if payloads else None,
        "output": output if payloads else None,
        "createdTime": azure_time(run.started),
        "lastUpdatedTime": azure_time(updated),
    }


def event_view(event: HistoryEvent, *, outputs: bool) -> dict[str, Any]:
    """Return an event of a history; what has no word there keeps its own."""
    name = next((event.fields[each] for each in _NAMES if event.fields.get(each)), None)
    view = {
        "EventType": _EVENTS.get(event.type, event.type),
        "Timestamp": azure_time(event.time),
        "Name": name if outputs or event.type in _OF_CODE else None,
    }
    if outputs:
        view["Result"] = event.fields.get("result")
        view["Input"] = event.fields.get("payload")
    return {key: each for key, each in view.items() if each is not None}
