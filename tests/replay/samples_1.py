"""A record of every kind of level 1, with every field that it can have, frozen.

``recorded/1/samples.json`` has their bytes. Nothing here may change: what a later level adds is
recorded beside it.
"""

from __future__ import annotations

import json
from base64 import b64encode

from processor.codec.records import Record, encode
from processor.core import events
from processor.core.address import Address, Caller, ReplyTo, RunRef
from processor.core.answers import Accepted, Closed, HeartbeatSeen, Page, Refused
from processor.core.attempt import AttemptState
from processor.core.cause import ClientRequest, NamedRequest, Origin
from processor.core.effects import ActivityTask, DeadLetter, Reply, RunResult
from processor.core.failure import Failure
from processor.core.inputs import (
    ActivityReport,
    AnswerCall,
    AwaitResult,
    CancelRun,
    ClientCommand,
    DescribeRun,
    ListRuns,
    RaiseEvent,
    ReadHistory,
    ReadShard,
    StartRun,
    TerminateRun,
    TimerDue,
)
from processor.core.marks import (
    Answered,
    ClientWindow,
    KnownAnswer,
    Mark,
    NamedWindow,
    SourceWindow,
)
from processor.core.options import ActivityOptions
from processor.core.snapshot import OpenActivityImage, RunImage, Snapshot, TimerImage
from processor.core.started import (
    Carried,
    Correlation,
    EventReceived,
    Lineage,
    Plan,
    RetryOptions,
    Successor,
    UpdateOutcome,
    WorkflowStarted,
)
from processor.core.turn import AttemptRecord, Claim, Positions, Purged, Turn

__all__ = ("SAMPLES", "dump")

HEADERS = (("traceparent", b"00-1"), ("tenant", b""))
CAUSE = Failure("exception", "KeyError", "'a'", traceback="Traceback")
FAILURE = Failure(
    "activity_timed_out",
    "ActivityTimedOut",
    "too late",
    b"[1]",
    retryable=False,
    next_delay_ms=5,
    timeout_kind="heartbeat",
    activity="pay",
    attempts=3,
    traceback="Traceback",
    cause=CAUSE,
)
OPTIONS = ActivityOptions("far", False, 10, 1.5, 100, 7, ("KeyError",), 1, 2, 3, 4)
ORIGIN = Origin(bytes(range(16)), 2, 1 << 40, 3)
REQUEST = ClientRequest("q83vEiRWeJA", 77)
NAMED = NamedRequest("order 17")
REPLY_TO = ReplyTo(3, "q83vEiRWeJA", 400)
CALLER = Caller(Address("payments", "order-1"), "0123456789ABCDEf", 9)
EVENT = EventReceived("paid", b"true", HEADERS, "webhook-1")
LINEAGE = Lineage(
    "FEDCBA9876543210",
    "FEDCBA9876543211",
    2,
    b"1",
    CAUSE,
    RunRef("parent", "p" * 16),
    RunRef("root", "r" * 16),
    CALLER,
    Carried(
        (EVENT,),
        (
            UpdateOutcome("u1", "limit", b"[5]", over=False),
            UpdateOutcome("u2", "limit", None, over=True, result=b"5", failure=CAUSE),
        ),
        (Correlation("shipment", "S-7"),),
        ("webhook-0",),
    ),
)
PLAN = Plan(2, RetryOptions(1, 2.0, 3, 4, ("ValueError",)), "0 6 * * *", 5, 6, b"{}")
STARTED = WorkflowStarted(
    "order", b"[1]", bytes(16), 60_000, b'"memo"', HEADERS, ("guard=refuse",), LINEAGE, PLAN
)
PLAIN = WorkflowStarted("order", None, bytes(range(16)))
SUCCESSOR = Successor("0123456789abcdef", PLAIN)
HISTORY: tuple[events.Event, ...] = (
    STARTED,
    events.ActivityScheduled(1, "pay", b"[]", True, None, HEADERS),
    events.ActivityScheduled(2, "pay", None, False, OPTIONS),
    events.ActivityCompleted(1, 1, b"", HEADERS),
    events.ActivityCompleted(2, 2, None),
    events.ActivityFailed(3, 4, FAILURE),
    events.ActivityCancelled(4),
    events.TimerStarted(5, 1 << 50),
    events.TimerFired(5),
    events.TimerCancelled(6),
    events.SideEffectRecorded(7, b"7"),
    events.StatusSet(b'"half"'),
    EVENT,
    events.EventRejected("paid", b"no", "not a boolean"),
    events.MessageSent(Address(None, "other"), "event", "go", "", b"1", HEADERS),
    events.MessageSent(Address("far", "other"), "cancel", "", "enough", None),
    events.RecordPublished("topic", b"key", b"value", HEADERS),
    events.RecordPublished("topic", None, None),
    events.WorkflowCancelRequested("a test"),
    events.RunParked("bug", "KeyError", "a.py:1", "Traceback"),
    events.RunUnparked(),
    events.CallSent(8, Address(None, "child"), StartRun("child", b"[]"), 1_000),
    events.CallAnswered(8, Closed("c" * 16, "completed", b"1")),
    events.WorkflowCompleted(b"null", HEADERS, SUCCESSOR),
    events.WorkflowFailed(FAILURE, HEADERS, SUCCESSOR),
    events.WorkflowCancelled("a test", SUCCESSOR),
    events.WorkflowTerminated("replaced", SUCCESSOR),
    events.WorkflowTimedOut(60_000, SUCCESSOR),
)
"""One event of each kind; not what a run could be."""

UNDER_CLAIM = (1_000, 1_767_225_600_000, "results", Positions(1, 200, 30_000), 999)
RUN = ("order-1", "0123456789ABCDEf")
ATTEMPT = AttemptState(2, 7, False, 1, 2, 3, None, "host-0/1", 2, b"[4]", 6, CAUSE, FAILURE)
WAITING = AttemptState(2, 7, True, 1, retry_at_ms=9, failures=7, first_failure=CAUSE)
IMAGE = RunImage(
    STARTED,
    1,
    2,
    9,
    (OpenActivityImage(events.ActivityScheduled(2, "pay", b"[]", False, OPTIONS), 3, ATTEMPT),),
    (TimerImage(5, 6),),
    (events.CallSent(8, Address(None, "child"), CancelRun("enough")),),
    b"1",
    "a test",
    events.RunParked("bug", "KeyError", "a.py:1", "Traceback"),
)
BODIES = (
    StartRun("order", b"[1]", "reject", "terminate", 5, b"memo", HEADERS, 6),
    StartRun("order"),
    RaiseEvent("paid", b"true", "r" * 16, "f" * 16, HEADERS),
    CancelRun("why", "r" * 16, "f" * 16),
    TerminateRun("why", None, "f" * 16),
    AwaitResult("r" * 16, None, 7),
    DescribeRun(None, "f" * 16),
    ReadHistory("r" * 16, None, 8),
    ListRuns("running", "order", "a", 9),
    ReadShard(),
    AnswerCall("r" * 16, 8, Refused("WorkflowNotFound", "no")),
)
ANSWERS = (
    Accepted("r" * 16, False, "f" * 16),
    Refused("CommandRejected", "no"),
    Closed("r" * 16, "failed", b"", FAILURE, "why", HEADERS),
    Page(b"[]", "9"),
    HeartbeatSeen("r" * 16, 2, 7, True),
)
LETTER = DeadLetter("commands", 1, 2, b"key", b"value", "not JSON")

SAMPLES: tuple[Record, ...] = (
    Claim("host-0", "nonce-1", 1, 1_767_225_600_000),
    Turn(*RUN, 1_000, 0, 1_767_225_600_000, "commands", Positions(), 0, REQUEST, HISTORY),
    *(
        Turn(*RUN, 1_000, 5, 1_767_225_600_000, source, Positions(1, 2, 3), 9, cause, ())
        for source, cause in (("timers", None), ("takeover", ORIGIN), ("successor", NAMED))
    ),
    AttemptRecord(*RUN, *UNDER_CLAIM, None, "pay", ATTEMPT),
    AttemptRecord(*RUN, *UNDER_CLAIM, REQUEST, "pay", WAITING),
    Mark(
        *UNDER_CLAIM,
        998,
        (SourceWindow(ORIGIN, 4),),
        (ClientWindow("q83vEiRWeJA", 90, 20, (30, 40), 5, 4),),
        (NamedWindow("order 17", 6, 7),),
        (KnownAnswer(REQUEST, ANSWERS[1], 7), KnownAnswer(NAMED, ANSWERS[0], 8)),
        9,
    ),
    Answered("order-1", *UNDER_CLAIM, NAMED, None, ANSWERS[1], LETTER),
    Answered("order-1", *UNDER_CLAIM, ORIGIN, REPLY_TO, ANSWERS[0]),
    Snapshot(
        *RUN, 1_000, 8, 1, "eager", Positions(), 9, ORIGIN, (events.TimerFired(5),), IMAGE, b"{}"
    ),
    Purged(*RUN, *UNDER_CLAIM, None, "f" * 16, "order", "completed", 1, 2, 30, True),
    *(ClientCommand("order-1", body, REQUEST, False, REPLY_TO) for body in BODIES),
    ClientCommand("order-1", BODIES[1], ORIGIN, True, None, CALLER),
    *(Reply(REPLY_TO, body) for body in ANSWERS),
    ActivityTask(*RUN, "order", 2, 7, "pay", b"[]", "far", False, 1, 2, 3, 4, b"[4]", HEADERS),
    *(
        ActivityReport(*RUN, 2, 7, kind, b"1", FAILURE, "host-0/1", REPLY_TO, HEADERS)
        for kind in ("started", "completed", "failed", "heartbeat")
    ),
    *(
        TimerDue(*RUN, kind, 5, 0, 1)
        for kind in (
            *("timer", "retry", "execution", "schedule_to_start", "start_to_close"),
            *("schedule_to_close", "heartbeat"),
        )
    ),
    RunResult(*RUN, "f" * 16, "order", "failed", b"", FAILURE, "why", 1, "s" * 16, HEADERS),
    LETTER,
)


def dump() -> str:
    """Return the bytes of the samples, a line for each."""
    lines = (
        json.dumps({"is": type(each).__name__, "bytes": b64encode(encode(each)).decode()})
        for each in SAMPLES
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"
