"""Commands of workflow code: what it asks for while it runs, in order.

A runner returns them from ``activate``; ``decide`` turns each into the event that records it.
``id`` is the position of the request among all identified requests of the run (1, 2, 3 ...).
``line`` is where in the user's code it was asked for: ``file:line``, for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from processor.core.address import Address
from processor.core.failure import Failure
from processor.core.options import ActivityOptions

__all__ = (
    "CancelActivity",
    "CancelTimer",
    "CancelWorkflow",
    "Command",
    "CompleteWorkflow",
    "FailWorkflow",
    "PublishRecord",
    "RecordSideEffect",
    "RejectEvent",
    "ScheduleActivity",
    "SendMessage",
    "SetStatus",
    "StartTimer",
)


@dataclass(slots=True)
class ScheduleActivity:
    id: int
    name: str
    arguments: bytes | None
    options: ActivityOptions | None
    line: str = ""


@dataclass(slots=True)
class CancelActivity:
    id: int
    line: str = ""


@dataclass(slots=True)
class StartTimer:
    id: int
    due_ms: int
    line: str = ""


@dataclass(slots=True)
class CancelTimer:
    id: int
    line: str = ""


@dataclass(slots=True)
class RecordSideEffect:
    id: int
    value: bytes | None
    line: str = ""


@dataclass(slots=True)
class SetStatus:
    value: bytes | None
    line: str = ""


@dataclass(slots=True)
class RejectEvent:
    name: str
    payload: bytes | None
    reason: str
    line: str = ""


@dataclass(slots=True)
class PublishRecord:
    topic: str
    key: bytes | None
    value: bytes | None
    line: str = ""


@dataclass(slots=True)
class SendMessage:
    to: Address
    kind: str
    name: str
    reason: str
    payload: bytes | None
    line: str = ""


@dataclass(slots=True)
class CompleteWorkflow:
    result: bytes | None
    line: str = ""


@dataclass(slots=True)
class FailWorkflow:
    failure: Failure
    line: str = ""


@dataclass(slots=True)
class CancelWorkflow:
    """The code let a cancellation through."""

    reason: str
    line: str = ""


Command: TypeAlias = (
    ScheduleActivity
    | CancelActivity
    | StartTimer
    | CancelTimer
    | RecordSideEffect
    | SetStatus
    | RejectEvent
    | PublishRecord
    | SendMessage
    | CompleteWorkflow
    | FailWorkflow
    | CancelWorkflow
)
