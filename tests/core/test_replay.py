"""A run's history through its code: the same state, the same decisions, or a clear word."""

from __future__ import annotations

import pytest

from processor.core import commands, events
from processor.core.options import ActivityOptions
from processor.core.replay import describe, matches, replay
from processor.core.runner import CodeError
from processor.policy import Status

from .scripted import NOW, STARTED, Answer, Runners, Scripted, scheduled, state, turn

PAY = commands.ScheduleActivity(1, "pay", b"[]", ActivityOptions(), "orders.py:9")
PAID = events.ActivityCompleted(1, 1, b"1")
DONE = commands.CompleteWorkflow(b"1")
HISTORY = (
    turn(0, STARTED, scheduled(1)),
    turn(2, events.ActivityStarted(1, 1, "w")),
    turn(3, PAID, events.WorkflowCompleted(b"1"), now_ms=NOW + 5),
)


def played(*answers: Answer) -> Runners:
    return Runners(list(answers))


def test_replay_gives_the_state_back_and_shows_the_code_its_facts_only() -> None:
    run = replay(played([PAY], [DONE]), HISTORY)
    expected = state(scheduled(1), events.ActivityStarted(1, 1, "w"))
    assert run.state.status is Status.COMPLETED
    assert run.state.events == expected.events + 2
    assert run.state.updated_ms == NOW + 5
    assert isinstance(run.runner, Scripted)
    assert run.runner.seen == [STARTED, PAID]
    assert run.pending == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            [],
            "at event 1 the history has ActivityScheduled(id=1, name='pay'), but the code now "
            "asks for nothing.",
        ),
        (
            [commands.StartTimer(1, NOW, "orders.py:7")],
            "but the code now asks for TimerStarted(id=1) at orders.py:7.",
        ),
        (
            [PAY, commands.SetStatus(b"1", "orders.py:8")],
            "at event 2 the history has nothing, but the code now asks for StatusSet() at "
            "orders.py:8.",
        ),
        (
            [commands.ScheduleActivity(1, "refund", b"[]", ActivityOptions(), "orders.py:9")],
            "asks for ActivityScheduled(id=1, name='refund') at orders.py:9.",
        ),
    ],
)
def test_a_mismatch_names_the_event_both_decisions_and_the_line(asked: Answer, said: str) -> None:
    run = replay(played(asked, [DONE]), HISTORY[:2])
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
    assert gone_on.pending == []


def test_code_that_is_not_there_is_said_so() -> None:
    other = turn(0, events.WorkflowStarted("other", b"[]"))
    run = replay(played(), (other,))
    assert isinstance(run.runner, CodeError)
    assert run.runner.kind == "not_registered"


def test_a_runner_that_fails_is_closed() -> None:
    class Kept(Runners):
        made: Scripted

        def start(self, workflow_id: str, run_id: str, started: events.WorkflowStarted) -> Scripted:
            Kept.made = Scripted([CodeError("bug", "no")])
            return Kept.made

    replay(Kept(), HISTORY[:1])
    assert Kept.made.closed


def test_payloads_and_times_may_change_with_the_code_but_not_what_was_asked_for() -> None:
    assert matches(PAY, scheduled(1))
    assert not matches(PAY, scheduled(2))
    assert matches(commands.StartTimer(1, NOW + 99), events.TimerStarted(1, NOW))
    assert not matches(DONE, events.WorkflowFailed.__new__(events.WorkflowFailed))
    message = commands.SendMessage("event", "a", "go", b"1")
    assert matches(message, events.MessageSent("event", "a", "go", b"2"))
    assert not matches(message, events.MessageSent("event", "b", "go", b"1"))
    assert describe(message) == "MessageSent(name='go', kind='event', workflow_id='a')"
