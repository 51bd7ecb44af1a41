"""A run's history through its code: the same state, the same decisions, or a clear word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.core.data.address import Address
from processor.core.data.options import ActivityOptions
from processor.core.event import Decision, Event
from processor.core.nouns.activity import ActivityCompleted, ActivityScheduled
from processor.core.nouns.call import MessageSent
from processor.core.nouns.external import EventReceived, EventRejected
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    RunParked,
    RunUnparked,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from processor.core.nouns.timer import TimerCancelled, TimerStarted
from processor.core.nouns.value import SideEffectRecorded, StatusSet
from processor.core.replay import Instance, describe, matches, replay
from processor.core.runner import CodeError
from processor.policy import Status

from .scripted import (
    DOWN,
    ID,
    LINE,
    NOW,
    RUN,
    SEED,
    STARTED,
    Answer,
    Runners,
    Scripted,
    attempt,
    scheduled,
    state,
    turn,
)

OTHER = Address(None, "other")
PAY = ActivityScheduled(1, "pay", b"[]", False, ActivityOptions())
PAID = ActivityCompleted(1, 1, b"1")
DONE = WorkflowCompleted(b"1")
HISTORY = (
    turn(0, STARTED, scheduled(1)),
    turn(2, PAID, WorkflowCompleted(b"1"), now_ms=NOW + 5),
)


def played(*answers: Answer) -> Runners:
    return Runners(list(answers))


def test_replay_gives_the_state_back_and_shows_the_code_its_facts_only() -> None:
    run = replay(played([PAY], [DONE]), HISTORY)
    assert run.state.status is Status.COMPLETED
    assert run.state.events == state(scheduled(1)).events + 2
    assert run.state.updated_ms == NOW + 5
    assert isinstance(run.runner, Scripted)
    assert run.runner.seen == [STARTED, PAID]
    assert run.runner.turns == [(NOW, 0), (NOW + 5, 2)], "times and numbers of the turns"
    assert (run.pending, run.difference) == ([], "")


def test_where_attempts_stand_comes_from_their_records() -> None:
    stands = attempt(3, failures=2, last_failure=DOWN)
    over = attempt(2, id=9)
    run = replay(played([PAY]), HISTORY[:1], [(stands, b"key-1"), (over, b"key-9")])
    (activity,) = run.state.activities.values()
    assert (activity.state, activity.key) == (stands, b"key-1")
    assert isinstance(run.runner, Scripted) and run.runner.seen == [STARTED]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            [],
            "at event 1 the history has ActivityScheduled(id=1, name='pay'), but the code now "
            "asks for nothing.",
        ),
        (
            [TimerStarted(1, NOW)],
            "but the code now asks for TimerStarted(id=1) at orders.py:9.",
        ),
        (
            [PAY, StatusSet(b"1")],
            "at event 2 the history has nothing, but the code now asks for StatusSet() at "
            "orders.py:9.",
        ),
        (
            [ActivityScheduled(1, "refund", b"[]", False, ActivityOptions())],
            "asks for ActivityScheduled(id=1, name='refund') at orders.py:9.",
        ),
    ],
)
def test_a_mismatch_names_the_event_both_decisions_and_the_line(asked: Answer, said: str) -> None:
    event = turn(2, EventReceived("go"))
    run = replay(played(asked, [DONE]), (HISTORY[0], event))
    assert isinstance(run.runner, CodeError)
    assert run.runner.kind == "nondeterminism"
    assert said in str(run.runner)
    assert run.state.events == 3, "the state is folded on"


def test_facts_that_come_while_the_code_is_broken_are_kept() -> None:
    run = replay(played([]), (*HISTORY[:1], turn(2, PAID)))
    assert isinstance(run.runner, CodeError)
    assert run.pending == [STARTED, PAID], "none of it counts for other code"


def test_a_parked_run_gets_its_facts_when_it_was_taken_up_again() -> None:
    parked = RunParked("bug", "e", "", "")
    turns = (
        turn(0, STARTED, scheduled(1)),
        turn(2, PAID, parked),
        turn(4, EventReceived("go", b"1")),
        turn(5, RunUnparked(), WorkflowCompleted(b"1")),
    )
    waiting = replay(played([PAY]), turns[:3])
    assert isinstance(waiting.runner, Scripted)
    assert waiting.state.status is Status.PARKED
    assert waiting.pending == [PAID, EventReceived("go", b"1")]
    gone_on = replay(played([PAY], [DONE]), turns)
    assert isinstance(gone_on.runner, Scripted)
    assert gone_on.runner.seen == [STARTED, PAID, EventReceived("go", b"1")]
    assert gone_on.runner.turns[-1] == (NOW, 5), "the number that it had live"
    assert gone_on.pending == []


def test_code_that_is_not_there_is_said_so() -> None:
    other = turn(0, WorkflowStarted("other", b"[]", SEED))
    run = replay(played(), (other,))
    assert isinstance(run.runner, CodeError)
    assert run.runner.kind == "not_registered"


def test_a_runner_that_fails_is_closed() -> None:
    runners = played(CodeError("bug", "no"))
    replay(runners, HISTORY[:1])
    assert runners.made[0].closed


# --- what identifies a decision ---------------------------------------------------------------

MESSAGE = MessageSent(OTHER, "event", "go", "", b"1")


@pytest.mark.parametrize(
    ("decision", "recorded", "same"),
    [
        (PAY, scheduled(1), True),
        (PAY, scheduled(2), False),
        (PAY, scheduled(1, maximum_attempts=3), True),
        (PAY, replace(scheduled(1), name="refund"), False),
        (TimerStarted(1, NOW + 99), TimerStarted(1, NOW), True),
        (TimerStarted(1, NOW), TimerStarted(2, NOW), False),
        (TimerCancelled(1), TimerStarted(1, NOW), False),
        (SideEffectRecorded(1, b"1"), SideEffectRecorded(1, b"2"), True),
        (DONE, WorkflowFailed(DOWN), False),
        (WorkflowFailed(DOWN), WorkflowFailed(replace(DOWN, message="")), True),
        (WorkflowCancelled("a"), WorkflowCancelled("b"), True),
        (MESSAGE, MessageSent(OTHER, "event", "go", "", b"2"), True),
        (MESSAGE, MessageSent(OTHER, "event", "stop", "", b"1"), False),
        (MESSAGE, MessageSent(OTHER, "cancel", "go", "", b"1"), False),
        (MESSAGE, MessageSent(Address(None, "b"), "event", "go", "", b"1"), False),
        (MESSAGE, MessageSent(Address("n", "other"), "event", "go", "", b"1"), False),
        (RecordPublished("t", b"k", b"1"), RecordPublished("t", b"l", b"2"), True),
        (RecordPublished("t", b"k", b"1"), RecordPublished("u", b"k", b"1"), False),
        (EventRejected("a", b"", "x"), EventRejected("a", b"", "y"), True),
        (EventRejected("a", b"", "x"), EventRejected("b", b"", "x"), False),
    ],
)
def test_what_identifies_a_decision(decision: Decision, recorded: Decision, same: bool) -> None:
    assert matches(decision, recorded) is same


def test_a_decision_is_described_by_what_identifies_it() -> None:
    assert describe(MESSAGE) == (
        "MessageSent(name='go', kind='event', to=Address(namespace=None, workflow_id='other'))"
    )


# --- payloads ---------------------------------------------------------------------------------


def replayed(decision: Any, event: Event, **how: Any) -> tuple[Runners, Instance]:
    runners = Runners([[decision]], **how)
    return runners, replay(runners, (turn(0, STARTED, event),))


@pytest.mark.parametrize(
    ("decision", "event", "said"),
    [
        (
            replace(PAY, arguments=b"[2]"),
            scheduled(1),
            f"ActivityScheduled(id=1, name='pay') has other arguments at replay at {LINE}: "
            "b'[]' became b'[2]'",
        ),
        (
            StatusSet(None),
            StatusSet(b"1"),
            f"StatusSet() has other value at replay at {LINE}: b'1' became None",
        ),
        (
            EventRejected("go", b"2", "why"),
            EventRejected("go", b"1", "why"),
            "EventRejected(name='go') has other payload",
        ),
        (
            RecordPublished("t", b"l", b"2"),
            RecordPublished("t", b"k", b"1"),
            "RecordPublished(topic='t') has other key",
        ),
        (
            RecordPublished("t", b"k", b"2"),
            RecordPublished("t", b"k", b"1"),
            "RecordPublished(topic='t') has other value",
        ),
        (MESSAGE, MessageSent(OTHER, "event", "go", "", b"2"), "has other payload"),
        (DONE, WorkflowCompleted(b"2"), "WorkflowCompleted() has other result"),
    ],
)
def test_a_payload_that_is_made_otherwise_is_told_or_parks(
    decision: Any, event: Event, said: str
) -> None:
    _, run = replayed(decision, event)
    assert isinstance(run.runner, Scripted) and not run.runner.closed
    assert run.difference.startswith(f"run {RUN} of {ID}: ") and said in run.difference
    runners, parked = replayed(decision, event, strict=True)
    assert isinstance(parked.runner, CodeError)
    assert (parked.runner.kind, parked.runner.where) == ("nondeterminism", LINE)
    assert parked.runner.error == run.difference
    assert runners.made[0].closed


@pytest.mark.parametrize(
    ("decision", "event"),
    [
        (SideEffectRecorded(1, b"2"), SideEffectRecorded(1, b"1")),
        (TimerStarted(1, NOW + 9), TimerStarted(1, NOW)),
        (EventRejected("go", b"1", "what"), EventRejected("go", b"1", "why")),
        (
            MessageSent(OTHER, "cancel", "", "what", None),
            MessageSent(OTHER, "cancel", "", "why", None),
        ),
        (WorkflowCancelled("what"), WorkflowCancelled("why")),
        (WorkflowFailed(DOWN), WorkflowFailed(replace(DOWN, traceback="t"))),
        (replace(PAY, options=ActivityOptions(queue="far")), scheduled(1)),
    ],
)
def test_delays_reasons_failures_and_options_may_change_with_the_code(
    decision: Any, event: Event
) -> None:
    for strict in (False, True):
        _, run = replayed(decision, event, strict=strict)
        assert isinstance(run.runner, Scripted)
        assert run.difference == ""


def test_payloads_of_the_same_value_are_no_difference_whatever_their_bytes() -> None:
    alike = {b'{"a":1,"b":2}', b'{"b": 2, "a": 1}'}
    one, other = sorted(alike)
    for strict in (False, True):
        event = StatusSet(one)
        _, run = replayed(StatusSet(other), event, strict=strict, alike=alike)
        assert isinstance(run.runner, Scripted) and run.difference == ""


def test_the_first_difference_is_told() -> None:
    asked = [StatusSet(b"2"), StatusSet(b"3"), DONE]
    recorded = (StatusSet(b"2"), StatusSet(b"1"), WorkflowCompleted(b"2"))
    run = replay(Runners([asked]), (turn(0, STARTED, *recorded),))
    assert "b'1' became b'3'" in run.difference


def test_what_code_that_cannot_go_on_asked_for_is_not_compared() -> None:
    run = replay(
        Runners([[replace(PAY, arguments=b"[2]")]], strict=True),
        (turn(0, STARTED, RunParked("bug", "e", "", "")),),
    )
    assert isinstance(run.runner, Scripted) and run.pending == [STARTED]
