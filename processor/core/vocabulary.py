"""All that can stand in the history of a run."""

from __future__ import annotations

from typing import Final

from processor.core.event import Event
from processor.core.nouns.activity import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
)
from processor.core.nouns.call import CallAnswered, CallSent, MessageSent
from processor.core.nouns.external import EventReceived, EventRejected
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    RunParked,
    RunUnparked,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.nouns.timer import TimerCancelled, TimerFired, TimerStarted
from processor.core.nouns.value import SideEffectRecorded, StatusSet

__all__ = ("EVENTS",)

EVENTS: Final[tuple[type[Event], ...]] = (
    ActivityCompleted,
    ActivityScheduled,
    TimerStarted,
    TimerFired,
    WorkflowStarted,
    WorkflowCompleted,
    EventReceived,
    ActivityFailed,
    SideEffectRecorded,
    StatusSet,
    MessageSent,
    RecordPublished,
    TimerCancelled,
    ActivityCancelled,
    EventRejected,
    WorkflowCancelRequested,
    WorkflowFailed,
    WorkflowCancelled,
    WorkflowTerminated,
    WorkflowTimedOut,
    RunParked,
    RunUnparked,
    CallSent,
    CallAnswered,
)
"""Append-only: the place of an event is the number of its branch in the log."""
