"""A run's history through its code: the same state, the same decisions, or a clear word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.core import events
from processor.core.address import Address
from processor.core.events import Decision, Event
from processor.core.options import ActivityOptions
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
PAY = events.ActivityScheduled(1, "pay", b"[]", False, ActivityOptions())
PAID = events.ActivityCompleted(1, 1, b"1")
DONE = events.WorkflowCompleted(b"1")
HISTORY = (
    turn(0, STARTED, scheduled(1)),
    turn(2, PAID, events.WorkflowCompleted(b"1"), now_ms=NOW + 5),
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
            [events.TimerStarted(1, NOW)],
            "but the code now asks for TimerStarted(id=1) at orders.py:9.",
        ),
        (
            [PAY, events.StatusSet(b"1")],
            "at event 2 the history has nothing, but the code now asks for StatusSet() at "
            "orders.py:9.",
        ),
        (
            [events.ActivityScheduled(1, "refund", b"[]", False, ActivityOptions())],
            "asks for ActivityScheduled(id=1, name='refund') at orders.py:9.",
        ),
    ],
)
def test_a_mismatch_names_the_event_both_decisions_and_the_line(asked: Answer, said: str) -> None:
    event = turn(2, events.EventReceived("go"))
    run = replay(played(asked, [DONE]), (HISTORY[0], event))
    assert isinstance(run.runner, CodeError)
    assert run.runner.kind == "nondeterminism"
    assert said in str(run.runner)
    assert run.state.events == 3, "the state is folded on"


def test_facts_that_come_while_the_code_is_broken_are_kept() -> None:
    run = replay(played([]), (*HISTORY[:1], turn(2, PAID)))
    assert isinstance(run.runner, CodeError)
    assert run.pending == [PAID]


def test_a_parked_run_gets_its_facts_when_it_was_taken_up_again() -> None:
    parked = events.RunParked("bug", "e", "", "")
    turns = (
        turn(0, STARTED, scheduled(1)),
        turn(2, PAID, parked),
        turn(4, events.EventReceived("go", b"1")),
        turn(5, events.RunUnparked(), events.WorkflowCompleted(b"1")),
    )
    waiting = replay(played([PAY]), turns[:3])
    assert isinstance(waiting.runner, Scripted)
    assert waiting.state.status is Status.PARKED
    assert waiting.pending == [PAID, events.EventReceived("go", b"1")]
    gone_on = replay(played([PAY], [DONE]), turns)
    assert isinstance(gone_on.runner, Scripted)
    assert gone_on.runner.seen == [STARTED, PAID, events.EventReceived("go", b"1")]
    assert gone_on.runner.turns[-1] == (NOW, 5), "the number that it had live"
    assert gone_on.pending == []


def test_code_that_is_not_there_is_said_so() -> None:
    other = turn(0, events.WorkflowStarted("other", b"[]", SEED))
    run = replay(played(), (other,))
    assert isinstance(run.runner, CodeError)
    assert run.runner.kind == "not_registered"


def test_a_runner_that_fails_is_closed() -> None:
    runners = played(CodeError("bug", "no"))
    replay(runners, HISTORY[:1])
    assert runners.made[0].closed


# --- what identifies a decision ---------------------------------------------------------------

MESSAGE = events.MessageSent(OTHER, "event", "go", "", b"1")


@pytest.mark.parametrize(
    ("decision", "recorded", "same"),
    [
        (PAY, scheduled(1), True),
        (PAY, scheduled(2), False),
        (PAY, scheduled(1, maximum_attempts=3), True),
        (PAY, replace(scheduled(1), name="refund"), False),
        (events.TimerStarted(1, NOW + 99), events.TimerStarted(1, NOW), True),
        (events.TimerStarted(1, NOW), events.TimerStarted(2, NOW), False),
        (events.TimerCancelled(1), events.TimerStarted(1, NOW), False),
        (events.SideEffectRecorded(1, b"1"), events.SideEffectRecorded(1, b"2"), True),
        (DONE, events.WorkflowFailed(DOWN), False),
        (events.WorkflowFailed(DOWN), events.WorkflowFailed(replace(DOWN, message="")), True),
        (events.WorkflowCancelled("a"), events.WorkflowCancelled("b"), True),
        (MESSAGE, events.MessageSent(OTHER, "event", "go", "", b"2"), True),
        (MESSAGE, events.MessageSent(OTHER, "event", "stop", "", b"1"), False),
        (MESSAGE, events.MessageSent(OTHER, "cancel", "go", "", b"1"), False),
        (MESSAGE, events.MessageSent(Address(None, "b"), "event", "go", "", b"1"), False),
        (MESSAGE, events.MessageSent(Address("n", "other"), "event", "go", "", b"1"), False),
        (events.RecordPublished("t", b"k", b"1"), events.RecordPublished("t", b"l", b"2"), True),
        (events.RecordPublished("t", b"k", b"1"), events.RecordPublished("u", b"k", b"1"), False),
        (events.EventRejected("a", b"", "x"), events.EventRejected("a", b"", "y"), True),
        (events.EventRejected("a", b"", "x"), events.EventRejected("b", b"", "x"), False),
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
            events.StatusSet(None),
            events.StatusSet(b"1"),
            f"StatusSet() has other value at replay at {LINE}: b'1' became None",
        ),
        (
            events.EventRejected("go", b"2", "why"),
            events.EventRejected("go", b"1", "why"),
            "EventRejected(name='go') has other payload",
        ),
        (
            events.RecordPublished("t", b"l", b"2"),
            events.RecordPublished("t", b"k", b"1"),
            "RecordPublished(topic='t') has other key",
        ),
        (
            events.RecordPublished("t", b"k", b"2"),
            events.RecordPublished("t", b"k", b"1"),
            "RecordPublished(topic='t') has other value",
        ),
        (MESSAGE, events.MessageSent(OTHER, "event", "go", "", b"2"), "has other payload"),
        (DONE, events.WorkflowCompleted(b"2"), "WorkflowCompleted() has other result"),
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
        (events.SideEffectRecorded(1, b"2"), events.SideEffectRecorded(1, b"1")),
        (events.TimerStarted(1, NOW + 9), events.TimerStarted(1, NOW)),
        (events.EventRejected("go", b"1", "what"), events.EventRejected("go", b"1", "why")),
        (
            events.MessageSent(OTHER, "cancel", "", "what", None),
            events.MessageSent(OTHER, "cancel", "", "why", None),
        ),
        (events.WorkflowCancelled("what"), events.WorkflowCancelled("why")),
        (events.WorkflowFailed(DOWN), events.WorkflowFailed(replace(DOWN, traceback="t"))),
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
        event = events.StatusSet(one)
        _, run = replayed(events.StatusSet(other), event, strict=strict, alike=alike)
        assert isinstance(run.runner, Scripted) and run.difference == ""


def test_the_first_difference_is_told() -> None:
    asked = [events.StatusSet(b"2"), events.StatusSet(b"3"), DONE]
    recorded = (events.StatusSet(b"2"), events.StatusSet(b"1"), events.WorkflowCompleted(b"2"))
    run = replay(Runners([asked]), (turn(0, STARTED, *recorded),))
    assert "b'1' became b'3'" in run.difference


def test_what_code_that_cannot_go_on_asked_for_is_not_compared() -> None:
    run = replay(
        Runners([[replace(PAY, arguments=b"[2]")]], strict=True),
        (turn(0, STARTED, events.RunParked("bug", "e", "", "")),),
    )
    assert isinstance(run.runner, Scripted) and run.pending == [STARTED]
