"""What clients say of one activity of a run, and what that comes to."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from processor.core.activity_requests import AdjustActivity, ReportAttempt
from processor.core.data.address import ReplyTo
from processor.core.data.failure import Failure
from processor.core.data.options import ActivityOptions
from processor.core.decide import decide
from processor.core.draft import Outcome
from processor.core.evolve import evolve
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.nouns.activity import (
    ActivityAdjusted,
    ActivityCompleted,
    ActivityFailed,
    ActivityStopRequested,
)
from processor.core.records import effects
from processor.core.records.answers import Accepted, HeartbeatSeen, Refused, StopWanted
from processor.core.replay import Instance
from processor.errors import SchemaMismatch

from .scripted import DOWN, ID, NOW, RUN, attempt, context, instance, scheduled

LATER = NOW + 700
OPEN = attempt(started_ms=NOW, heartbeat_ms=NOW)
WAITS = attempt(retry_at_ms=NOW + 1_000, failures=1, first_failure=DOWN, last_failure=DOWN)


def said(run: Instance, **how: Any) -> Outcome:
    body = ReportAttempt(1, **how)
    body.check()
    command = ClientCommand(ID, body)
    return decide(command, run, run.state.summary(), "", context(now_ms=LATER))


def test_a_function_that_leaves_its_attempt_open_hands_its_time_outs_to_the_shard() -> None:
    options: dict[str, Any] = {"start_to_close_ms": 60_000, "heartbeat_ms": 5_000}
    run = instance(replace(scheduled(**options), eager=True))
    (draft,) = decide(
        ActivityReport(ID, RUN, 1, 1, "started"), run, None, "", context(now_ms=LATER)
    ).drafts
    state = draft.attempt
    assert state is not None and state.is_left_open and not state.is_dispatch
    assert (state.eager, state.started_ms, state.heartbeat_ms) == (False, NOW, LATER)
    armed = {
        (each.kind, each.due_ms) for each in draft.effects if isinstance(each, effects.SetTimer)
    }
    assert armed == {("start_to_close", NOW + 60_000), ("heartbeat", LATER + 5_000)}


@pytest.mark.parametrize("worker", ["", "w"])
def test_an_attempt_that_is_left_open_is_begun_by_nobody(worker: str) -> None:
    asked = ActivityReport(ID, RUN, 1, 1, "started", worker=worker, reply_to=ReplyTo(3, "worker"))
    outcome = decide(asked, instance(scheduled(), OPEN), None, "", context(now_ms=LATER))
    assert outcome.drafts == []
    (reply,) = outcome.replies
    assert isinstance(reply.body, HeartbeatSeen) and reply.body.cancelled


@pytest.mark.parametrize(
    ("how", "event"),
    [
        ({"kind": "completed", "payload": b"5"}, ActivityCompleted(1, 1, b"5")),
        ({"kind": "completed", "attempt": 1}, ActivityCompleted(1, 1, None)),
        (
            {"kind": "failed", "failure": replace(DOWN, retryable=False)},
            ActivityFailed(1, 1, replace(DOWN, retryable=False)),
        ),
    ],
)
def test_an_end_is_a_turn(how: dict[str, Any], event: Any) -> None:
    (draft,) = said(instance(scheduled(), OPEN), **how).drafts
    assert draft.events == [event]
    assert not [each for each in draft.effects if isinstance(each, effects.CancelAttempt)]


def test_a_failure_waits_for_the_next_attempt() -> None:
    outcome = said(instance(scheduled(), OPEN), kind="failed", failure=DOWN, attempt=1)
    (draft,) = outcome.drafts
    assert draft.attempt is not None and draft.attempt.retry_at_ms == LATER + 1_000
    assert isinstance(outcome.answer, Accepted)


def test_a_heartbeat_is_answered() -> None:
    outcome = said(instance(scheduled(), OPEN), kind="heartbeat", payload=b"7", attempt=1)
    (draft,) = outcome.drafts
    assert draft.attempt == replace(OPEN, heartbeat_ms=LATER, details=b"7")
    assert outcome.answer == HeartbeatSeen(RUN, 1, 1, cancelled=False)


def test_by_hand_a_running_attempt_is_stopped_and_a_waiting_one_ends() -> None:
    running = attempt(started_ms=NOW, worker="w", starts=1)
    (draft,) = said(instance(scheduled(), running), kind="completed", payload=b"5").drafts
    assert effects.CancelAttempt(RUN, 1) in draft.effects
    (draft,) = said(instance(scheduled(), running), kind="completed", attempt=1).drafts
    assert effects.CancelAttempt(RUN, 1) not in draft.effects, "the function may have said so"
    (draft,) = said(instance(scheduled(), WAITS), kind="completed", payload=b"5").drafts
    assert draft.events == [ActivityCompleted(1, 1, b"5")]
    (draft,) = said(instance(scheduled(), WAITS), kind="failed", failure=DOWN).drafts
    assert draft.events == [ActivityFailed(1, 1, DOWN)], "no attempt is out that could be retried"


@pytest.mark.parametrize(
    ("history", "how", "why"),
    [
        ([], {"attempt": 1}, "over .*or there never was one"),
        ([scheduled(), ActivityCompleted(1, 1, None)], {}, "over .*or there never was one"),
        ([scheduled(), attempt(2)], {"attempt": 1}, "attempt 1 is over, and attempt 2 is out"),
        ([scheduled(), WAITS], {"attempt": 1}, "attempt 1 is over, and attempt 2 will follow"),
        ([scheduled(), WAITS], {"kind": "heartbeat"}, "waits for its next attempt"),
    ],
)
def test_what_comes_late_is_refused(history: Any, how: dict[str, Any], why: str) -> None:
    outcome = said(instance(*history), **{"kind": "completed", **how})
    assert outcome.drafts == []
    assert isinstance(outcome.answer, Refused) and outcome.answer.error == "ActivityNotOpen"
    assert re.search(why, outcome.answer.message)


def test_what_nobody_asked_to_stop_has_not_stopped() -> None:
    outcome = said(instance(scheduled(), OPEN), kind="cancelled", attempt=1)
    assert outcome.drafts == []
    assert isinstance(outcome.answer, Refused) and outcome.answer.error == "CommandRejected"
    late = said(instance(), kind="cancelled", attempt=1)
    assert isinstance(late.answer, Accepted) and not late.answer.created


@pytest.mark.parametrize(
    "how",
    [
        {"kind": "nonsense"},
        {"kind": "failed"},
        {"kind": "failed", "failure": Failure("x", "X", "x", next_delay_ms=-1)},
    ],
)
def test_a_report_that_says_nothing_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(SchemaMismatch):
        ReportAttempt(1, **how).check()


# --- activities that are asked to stop ----------------------------------------------------------

ASKED = ActivityStopRequested(1)


def stopped_by(run: Instance, given: Any) -> Outcome:
    return decide(given, run, None, "", context(now_ms=LATER))


def test_a_request_to_stop_reaches_the_attempt_that_runs() -> None:
    run = instance(scheduled(), OPEN).state
    assert ASKED.effects(run, LATER) == [effects.CancelAttempt(RUN, 1, waits=True)]


def test_what_waits_for_its_next_attempt_ends_at_once() -> None:
    run = instance(scheduled(), WAITS)
    set_, cleared = [], []
    for each in ASKED.effects(run.state, LATER):
        set_ += [each] if isinstance(each, effects.SetTimer) else []
        cleared += [each] if isinstance(each, effects.ClearTimer) else []
    assert [each.due_ms for each in cleared] == [NOW + 1_000]
    assert [each.due_ms for each in set_] == [LATER]
    evolve(run.state, ASKED, LATER)
    (draft,) = stopped_by(run, TimerDue(ID, RUN, "retry", 1, 1, LATER)).drafts
    (event,) = draft.events
    assert isinstance(event, ActivityFailed) and event.failure.kind == "activity_cancelled"
    assert effects.ClearTimer(RUN, "retry", 1, 1, LATER) in draft.effects


@pytest.mark.parametrize(
    "given",
    [
        ActivityReport(ID, RUN, 1, 1, "failed", failure=DOWN),
        TimerDue(ID, RUN, "heartbeat", 1, 1, NOW + 5_000),
        ClientCommand(ID, ReportAttempt(1, "failed", failure=DOWN)),
        ClientCommand(ID, ReportAttempt(1, "cancelled", attempt=1)),
    ],
    ids=["failed", "timed out", "failed by a client", "stopped"],
)
def test_what_was_asked_to_stop_is_not_tried_again(given: Any) -> None:
    run = instance(scheduled(heartbeat_ms=5_000), OPEN, ASKED)
    outcome = decide(given, run, run.state.summary(), "", context(now_ms=LATER))
    (draft,) = outcome.drafts
    assert isinstance(draft.events[0], ActivityFailed)


@pytest.mark.parametrize(
    ("kind", "stood", "answer", "ends"),
    [
        ("heartbeat", attempt(started_ms=NOW, worker="w"), StopWanted(RUN, 1, 1), False),
        ("started", attempt(), HeartbeatSeen(RUN, 1, 1, cancelled=True), True),
    ],
)
def test_a_worker_of_a_queue_hears_of_it(kind: Any, stood: Any, answer: Any, ends: bool) -> None:
    run = instance(scheduled(), stood, ASKED)
    asks = ActivityReport(ID, RUN, 1, 1, kind, worker="w", reply_to=ReplyTo(3, "worker"))
    outcome = stopped_by(run, asks)
    assert [each.body for each in outcome.replies] == [answer]
    assert (not run.state.activities) is ends


def test_whoever_ends_an_open_attempt_hears_of_it() -> None:
    outcome = said(instance(scheduled(), OPEN, ASKED), kind="heartbeat", attempt=1)
    assert outcome.answer == HeartbeatSeen(RUN, 1, 1, cancelled=True)


# --- operators ----------------------------------------------------------------------------------


def adjusted(run: Instance, how: str, **what: Any) -> Outcome:
    body = AdjustActivity(1, how, **what)
    body.check()
    return decide(ClientCommand(ID, body), run, run.state.summary(), "", context(now_ms=LATER))


def armed_by(outcome: Outcome) -> list[tuple[str, str, int]]:
    (draft,) = outcome.drafts
    return [
        (type(each).__name__, each.kind, each.due_ms)
        for each in draft.effects
        if isinstance(each, effects.SetTimer | effects.ClearTimer)
    ]


def test_a_paused_activity_begins_no_other_attempt() -> None:
    run = instance(scheduled(), WAITS)
    assert armed_by(adjusted(run, "pause")) == [("ClearTimer", "retry", NOW + 1_000)]
    due = TimerDue(ID, RUN, "retry", 1, 1, NOW + 1_000)
    assert decide(due, run, None, "", context(now_ms=NOW + 1_000)).drafts == []
    assert adjusted(run, "pause").drafts == [], "it is paused already"
    assert armed_by(adjusted(run, "resume")) == [("SetTimer", "retry", NOW + 1_000)]
    (draft,) = decide(due, run, None, "", context(now_ms=NOW + 1_000)).drafts
    assert draft.attempt is not None and draft.attempt.attempt == 2


def test_a_running_attempt_that_is_paused_ends_and_starts_no_other() -> None:
    run = instance(scheduled(), attempt(started_ms=NOW, worker="w", starts=1))
    (draft,) = adjusted(run, "pause", reason="a bad day").drafts
    assert draft.events == [ActivityAdjusted(1, True, 1, None, "a bad day")]
    assert draft.effects == [], "it is left alone"
    failed = ActivityReport(ID, RUN, 1, 1, "failed", failure=DOWN)
    outcome = decide(failed, run, None, "", context(now_ms=LATER))
    assert armed_by(outcome) == []
    assert run.state.activities[1].state.retry_at_ms == LATER + 1_000
    (draft,) = adjusted(run, "retry-now").drafts
    assert draft.attempt is not None and (draft.attempt.attempt, draft.attempt.dispatched_ms) == (
        2,
        LATER,
    )
    assert run.state.activities[1].paused, "the one after it does not begin either"


def test_the_attempts_are_counted_again() -> None:
    last = {"maximum_attempts": 3}
    third = replace(WAITS, attempt=2, retry_at_ms=NOW + 2_000, failures=2)
    run = instance(scheduled(**last), third)
    (draft,) = adjusted(run, "reset").drafts
    (event,) = draft.events
    assert isinstance(event, ActivityAdjusted) and event.counted_from == 3
    (draft,) = adjusted(run, "retry-now").drafts
    for number, delay_ms in ((3, 1_000), (4, 2_000)):
        failed = ActivityReport(ID, RUN, 1, number, "failed", failure=DOWN)
        (draft,) = decide(failed, run, None, "", context(now_ms=LATER)).drafts
        assert draft.attempt is not None and draft.attempt.retry_at_ms == LATER + delay_ms
        adjusted(run, "retry-now")
    failed = ActivityReport(ID, RUN, 1, 5, "failed", failure=DOWN)
    (draft,) = decide(failed, run, None, "", context(now_ms=LATER)).drafts
    assert isinstance(draft.events[0], ActivityFailed), "three attempts, once more"


def test_what_was_asked_to_stop_is_not_begun_by_hand() -> None:
    run = instance(scheduled(), WAITS, ASKED)
    outcome = adjusted(run, "retry-now")
    assert outcome.drafts == []
    assert isinstance(outcome.answer, Accepted) and not outcome.answer.created


def test_other_options_hold_from_the_next_attempt_on() -> None:
    run = instance(scheduled(), WAITS)
    new = ActivityOptions(queue="other", schedule_to_close_ms=60_000)
    outcome = adjusted(run, "set", options=new, changes=("queue", "schedule_to_close_ms"))
    assert armed_by(outcome) == [("SetTimer", "schedule_to_close", NOW + 60_000)]
    (draft,) = adjusted(run, "retry-now").drafts
    (task,) = (each for each in draft.effects if isinstance(each, effects.ActivityTask))
    assert (task.queue, task.deadline_ms) == ("other", NOW + 60_000)
    assert adjusted(run, "set", options=new, changes=("queue",)).drafts == []


def test_what_is_over_is_adjusted_no_more() -> None:
    outcome = adjusted(instance(), "pause")
    assert isinstance(outcome.answer, Refused) and outcome.answer.error == "ActivityNotOpen"


@pytest.mark.parametrize(
    "what",
    [
        {"how": "nonsense"},
        {"how": "set", "changes": ("nonsense",)},
        {"how": "set", "changes": ("queue",), "options": ActivityOptions(queue="a b")},
        {"how": "set", "changes": ("heartbeat_ms",), "options": ActivityOptions(heartbeat_ms=0)},
        {"how": "set", "changes": ("coefficient",), "options": ActivityOptions(coefficient=0.5)},
        {
            "how": "set",
            "changes": ("coefficient",),
            "options": ActivityOptions(coefficient=float("nan")),
        },
    ],
)
def test_an_adjustment_that_cannot_be_is_refused(what: dict[str, Any]) -> None:
    with pytest.raises(SchemaMismatch):
        AdjustActivity(1, **what).check()
