"""All that can stand in the history of a run, and all that can be asked of one."""

from __future__ import annotations

from typing import Final

from processor.core.activity_requests import AdjustActivity, ReportAttempt
from processor.core.event import Event
from processor.core.nouns.activity import (
    ActivityAdjusted,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityStopRequested,
)
from processor.core.nouns.awaited import AnswerAwaited, AnswerNotAwaited, GiveUpCall
from processor.core.nouns.call import (
    AnswerCall,
    CallAnswered,
    CallGivenUp,
    CallSent,
    MessageDelayed,
    MessageRejected,
    MessageSent,
)
from processor.core.nouns.child import (
    ChildCalled,
    ChildCancelRequested,
    ChildEnded,
    ChildrenSpared,
    ChildStarted,
    EndChild,
    TerminateWith,
)
from processor.core.nouns.external import EventReceived, EventRejected, RaiseEvent
from processor.core.nouns.locks.granting import (
    CallUnderLock,
    HolderCalled,
    LockEntity,
    LockFreed,
    LockGranted,
    LockRequested,
    LockWithdrawn,
    UnlockEntity,
)
from processor.core.nouns.locks.holding import LockAnswered, LockCalled, LockReleased
from processor.core.nouns.promise import (
    PromiseMade,
    PromiseSettled,
    RejectPromise,
    ResolvePromise,
)
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    RunParked,
    RunUnparked,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.nouns.start import StartChild, StartPlanned, StartRun, StartWith
from processor.core.nouns.stop import CancelRun, OutputSet, TerminateRun
from processor.core.nouns.timer import (
    EventDelayed,
    StartNow,
    TimerCancelled,
    TimerFired,
    TimerStarted,
)
from processor.core.nouns.update import (
    AwaitUpdate,
    UpdateAccepted,
    UpdateCompleted,
    UpdateRun,
)
from processor.core.nouns.value import (
    AttributesSet,
    AwaitValue,
    MemoSet,
    SideEffectRecorded,
    StatusSet,
    ValueSet,
)
from processor.core.operation import Request
from processor.core.questions import (
    AwaitResult,
    DescribeRun,
    ListRuns,
    QueryRun,
    ReadHistory,
    ReadShard,
)

__all__ = ("EVENTS", "REQUESTS")

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
    MessageRejected,
    UpdateAccepted,
    UpdateCompleted,
    WorkflowContinued,
    ChildCalled,
    ChildStarted,
    ChildEnded,
    ChildCancelRequested,
    ChildrenSpared,
    ActivityStopRequested,
    ActivityAdjusted,
    ValueSet,
    PromiseMade,
    PromiseSettled,
    MemoSet,
    AnswerAwaited,
    AnswerNotAwaited,
    CallGivenUp,
    OutputSet,
    EventDelayed,
    MessageDelayed,
    LockCalled,
    LockAnswered,
    LockReleased,
    LockRequested,
    LockWithdrawn,
    LockGranted,
    LockFreed,
    HolderCalled,
    AttributesSet,
)
"""Append-only: the place of an event is the number of its branch in the log."""

REQUESTS: Final[tuple[type[Request], ...]] = (
    StartRun,
    RaiseEvent,
    CancelRun,
    TerminateRun,
    AwaitResult,
    DescribeRun,
    ReadHistory,
    ListRuns,
    ReadShard,
    AnswerCall,
    StartPlanned,
    QueryRun,
    UpdateRun,
    AwaitUpdate,
    StartWith,
    StartNow,
    StartChild,
    EndChild,
    TerminateWith,
    ReportAttempt,
    AdjustActivity,
    AwaitValue,
    ResolvePromise,
    RejectPromise,
    GiveUpCall,
    LockEntity,
    CallUnderLock,
    UnlockEntity,
)
"""All that can be asked of an instance. Append-only, as events are."""
