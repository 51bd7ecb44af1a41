"""What has to leave a shard because of what stands in its log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.core.data.address import Address, Caller, ReplyTo
from processor.core.data.options import ActivityOptions
from processor.core.event import Event
from processor.core.nouns.activity import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    AttemptState,
    attempted,
    effects_of_attempt,
)
from processor.core.nouns.call import CallAnswered, CallSent, MessageRejected, MessageSent
from processor.core.nouns.external import EventReceived, EventRejected, RaiseEvent
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    RunUnparked,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.nouns.timer import TimerCancelled, TimerFired, TimerStarted
from processor.core.nouns.value import SideEffectRecorded, StatusSet
from processor.core.records import effects
from processor.core.records.answers import Accepted, Refused
from processor.core.records.marks import Answered
from processor.core.records.turn import Positions
from processor.core.state import RunState

from .scripted import DOWN, ID, NOW, RUN, STARTED, attempt, scheduled, state


def effects_of(run: RunState, event: Event, now_ms: int) -> list[effects.Effect]:
    return [*event.effects(run, now_ms)]


LATER = NOW + 700
OTHER = Address(None, "other")
HEADERS = (("h", b"1"),)
LIMITS = {
    "schedule_to_start_ms": 40,
    "start_to_close_ms": 50,
    "heartbeat_ms": 60,
    "schedule_to_close_ms": 900,
}
BEGAN = attempt(started_ms=NOW + 3, worker="w", starts=1)
WAITS = attempt(retry_at_ms=NOW + 300, failures=1, last_failure=DOWN)


def set_(kind: Any, id: int, number: int, due_ms: int) -> effects.SetTimer:
    return effects.SetTimer(ID, RUN, kind, id, number, due_ms)


def clear(kind: Any, id: int, number: int, due_ms: int) -> effects.ClearTimer:
    return effects.ClearTimer(RUN, kind, id, number, due_ms)


def task(number: int = 1, **how: Any) -> effects.ActivityTask:
    """Return the task of an attempt of activity 1, which has ``LIMITS``."""
    usual: dict[str, Any] = {
        "queue": "default",
        "eager": False,
        "scheduled_ms": NOW,
        "start_to_close_ms": 50,
        "heartbeat_ms": 60,
        "deadline_ms": NOW + 900,
    }
    place = (ID, RUN, "order", 1, number, "pay", b"[]")
    return effects.ActivityTask(*place, **{**usual, **how})


# --- events -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (TimerStarted(9, NOW + 5), [set_("timer", 9, 0, NOW + 5)]),
        (TimerFired(2), [clear("timer", 2, 0, NOW + 99)]),
        (TimerCancelled(2), [clear("timer", 2, 0, NOW + 99)]),
        (
            RecordPublished("t", None, b"v", HEADERS),
            [effects.Publish("t", None, b"v", HEADERS)],
        ),
        (
            MessageSent(OTHER, "event", "go", "", None, HEADERS),
            [effects.Message("other", RaiseEvent("go", None, headers=HEADERS))],
        ),
        (
            MessageSent(OTHER, "cancel", "", "enough", None),
            [effects.Message("other", CancelRun("enough"))],
        ),
        (
            MessageSent(OTHER, "terminate", "", "enough", None),
            [effects.Message("other", TerminateRun("enough"))],
        ),
        (
            CallSent(3, OTHER, RaiseEvent("go", b"1")),
            [effects.Message("other", RaiseEvent("go", b"1"), Caller(Address(None, ID), RUN, 3))],
        ),
        (
            MessageRejected(3, OTHER, "go", b"x", "nobody"),
            [
                effects.DeadLetter(
                    "commands",
                    -1,
                    -1,
                    b"other",
                    b"x",
                    f"event 'go' of run {RUN} of {ID!r} to 'other': nobody",
                )
            ],
        ),
        (
            EventRejected("go", b"x", "no int"),
            [
                effects.DeadLetter(
                    "commands", -1, -1, ID.encode(), b"x", f"event 'go' of {ID}: no int"
                )
            ],
        ),
        (
            scheduled(9, schedule_to_start_ms=40, schedule_to_close_ms=900),
            [
                replace(
                    task(),
                    id=9,
                    start_to_close_ms=None,
                    heartbeat_ms=None,
                    scheduled_ms=LATER,
                    deadline_ms=LATER + 900,
                ),
                set_("schedule_to_close", 9, 0, LATER + 900),
                set_("schedule_to_start", 9, 1, LATER + 40),
            ],
        ),
        (
            ActivityScheduled(9, "pay", None, True, None, HEADERS),
            [
                replace(
                    task(),
                    id=9,
                    arguments=None,
                    eager=True,
                    scheduled_ms=LATER,
                    start_to_close_ms=None,
                    heartbeat_ms=None,
                    deadline_ms=None,
                    headers=HEADERS,
                ),
            ],
        ),
        (EventReceived("go", b"1"), []),
        (SideEffectRecorded(9, b"1"), []),
        (StatusSet(b"1"), []),
        (WorkflowCancelRequested("enough"), []),
        (RunUnparked(), []),
        (CallAnswered(3, Accepted("run-9")), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_event(event: Event, found: list[effects.Effect]) -> None:
    run = state(TimerStarted(2, NOW + 99), scheduled(**LIMITS))
    assert effects_of(run, event, LATER) == found


ENDS = [ActivityCompleted(1, 1, b"5"), ActivityFailed(1, 1, DOWN)]
CANCELLED = ActivityCancelled(1)


@pytest.mark.parametrize(
    ("stood", "cleared"),
    [
        (
            None,
            [
                clear("schedule_to_close", 1, 0, NOW + 900),
                clear("schedule_to_start", 1, 1, NOW + 40),
            ],
        ),
        (
            BEGAN,
            [
                clear("schedule_to_close", 1, 0, NOW + 900),
                clear("start_to_close", 1, 1, NOW + 53),
                clear("heartbeat", 1, 1, NOW + 63),
                effects.Forget(b"key"),
            ],
        ),
        (
            replace(WAITS, attempt=7),
            [
                clear("schedule_to_close", 1, 0, NOW + 900),
                clear("retry", 1, 7, NOW + 300),
                effects.Forget(b"key"),
            ],
        ),
    ],
    ids=["queued", "running", "waiting"],
)
def test_the_end_of_an_activity_takes_its_timers_and_the_record_of_its_attempt(
    stood: AttemptState | None, cleared: list[effects.Effect]
) -> None:
    run = state(scheduled(**LIMITS), *([] if stood is None else [stood]))
    for end in ENDS:
        assert effects_of(run, end, LATER) == cleared
    assert effects_of(run, CANCELLED, LATER) == [*cleared, effects.CancelAttempt(RUN, 1)]
    over = effects_of(run, WorkflowTerminated("enough"), LATER)
    assert over[: len(cleared) + 1] == [*cleared, effects.CancelAttempt(RUN, 1)]


@pytest.mark.parametrize(
    ("end", "status", "how"),
    [
        (
            WorkflowCompleted(b"5", HEADERS),
            "completed",
            {"result": b"5", "headers": HEADERS},
        ),
        (WorkflowCompleted(None), "completed", {}),
        (WorkflowFailed(DOWN, HEADERS), "failed", {"failure": DOWN, "headers": HEADERS}),
        (WorkflowCancelled("enough"), "cancelled", {"reason": "enough"}),
        (WorkflowTerminated("stuck"), "terminated", {"reason": "stuck"}),
        (WorkflowTimedOut(5), "timed_out", {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_end_of_a_run_is_published(end: Event, status: str, how: dict[str, Any]) -> None:
    usual = {"result": None, "failure": None, "reason": None, "closed_ms": LATER}
    result = effects.RunResult(ID, RUN, RUN, "order", status, **{**usual, **how})
    assert effects_of(state(), end, LATER) == [result]


# --- attempts ---------------------------------------------------------------------------------

FIRST = attempt()
BEATEN = replace(BEGAN, heartbeat_ms=NOW + 9, details=b"3")
SECOND = attempt(2, dispatched_ms=NOW + 300, details=b"3", failures=1, last_failure=DOWN)
TO_START = ("schedule_to_start", 1, 1, NOW + 40)
TO_CLOSE = ("start_to_close", 1, 1, NOW + 53)
TO_BEAT = ("heartbeat", 1, 1, NOW + 63)
AGAIN = ("retry", 1, 1, NOW + 300)
CANCEL = effects.CancelAttempt(RUN, 1)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (FIRST, BEGAN, [clear(*TO_START), set_(*TO_CLOSE), set_(*TO_BEAT)]),
        (BEGAN, BEATEN, [clear(*TO_BEAT), set_("heartbeat", 1, 1, NOW + 69)]),
        (BEGAN, replace(BEGAN, details=b"3"), []),
        (
            BEGAN,
            replace(BEGAN, started_ms=NOW + 4, worker="v", starts=2),
            [
                clear(*TO_CLOSE),
                clear(*TO_BEAT),
                set_("start_to_close", 1, 1, NOW + 54),
                set_("heartbeat", 1, 1, NOW + 64),
            ],
        ),
        (BEGAN, WAITS, [clear(*TO_CLOSE), clear(*TO_BEAT), CANCEL, set_(*AGAIN)]),
        (FIRST, WAITS, [clear(*TO_START), CANCEL, set_(*AGAIN)]),
        (
            WAITS,
            SECOND,
            [
                clear(*AGAIN),
                task(2, scheduled_ms=NOW + 300, heartbeat_details=b"3"),
                set_("schedule_to_start", 1, 2, NOW + 340),
            ],
        ),
        (
            WAITS,
            replace(SECOND, eager=True),
            [clear(*AGAIN), task(2, scheduled_ms=NOW + 300, heartbeat_details=b"3", eager=True)],
        ),
        (replace(FIRST, eager=True), replace(WAITS, eager=True), [CANCEL, set_(*AGAIN)]),
    ],
    ids=["began", "beat", "same", "began again", "failed", "not begun", "retried", "eager", "lost"],
)
@pytest.mark.parametrize("key", [b"", b"key"])
def test_where_an_activity_stands_from_now_on(
    before: AttemptState, after: AttemptState, found: list[effects.Effect], key: bytes
) -> None:
    run = state(scheduled(**LIMITS))
    attempted(run, before, key)
    forgotten = [effects.Forget(key)] if key else []
    assert effects_of_attempt(run, run.activities[1], after) == [*found, *forgotten]


# --- what is no turn --------------------------------------------------------------------------

TO = ReplyTo(3, "client", 7)
TOLD = Refused("WorkflowNotFound", "there is none")
LETTER = effects.DeadLetter("commands", 0, 5, b"k", b"v", "why")


@pytest.mark.parametrize(
    ("reply_to", "letter", "found"),
    [
        (TO, None, [effects.Reply(TO, TOLD)]),
        (None, LETTER, [LETTER]),
        (None, None, []),
    ],
)
def test_what_a_command_without_a_turn_was_told(reply_to: Any, letter: Any, found: Any) -> None:
    where = (0, NOW, "commands", Positions(), 0)
    answered = Answered(ID, *where, None, reply_to, TOLD, letter)
    assert [*answered.effects] == found


def test_a_run_of_which_only_a_snapshot_is_left_gets_its_timers_and_tasks() -> None:
    run = state(
        TimerStarted(2, NOW + 99),
        scheduled(**LIMITS),
        BEGAN,
        ActivityScheduled(5, "pay", b"[]", True),
        started=replace(STARTED, execution_timeout_ms=500),
    )
    assert [*run.armed()] == [
        set_("execution", 0, 0, NOW + 500),
        set_("timer", 2, 0, NOW + 99),
        task(),
        set_("schedule_to_close", 1, 0, NOW + 900),
        set_(*TO_CLOSE),
        set_(*TO_BEAT),
        replace(
            task(), id=5, eager=True, start_to_close_ms=None, heartbeat_ms=None, deadline_ms=None
        ),
    ]


def test_options_that_are_the_defaults_are_as_none_at_all() -> None:
    explicit = ActivityScheduled(1, "pay", b"[]", False, ActivityOptions())
    found = effects_of(state(), explicit, NOW)
    assert found == effects_of(state(), replace(explicit, options=None), NOW)
    assert [type(each) for each in found] == [effects.ActivityTask]
