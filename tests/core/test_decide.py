"""What one input does: history in, exact turn out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.core import commands, effects, events
from processor.core.decide import STARTS_MAX, decide, unpark
from processor.core.effects import Accepted, Refused
from processor.core.events import Event
from processor.core.inputs import (
    ActivityReport,
    AwaitResult,
    CancelRun,
    ClientCommand,
    CommandBody,
    RaiseEvent,
    ReplyTo,
    StartRun,
    TerminateRun,
    TimerDue,
)
from processor.core.options import ActivityOptions
from processor.core.replay import Instance
from processor.core.runner import CodeError
from processor.core.state import RunState, Summary
from processor.policy import Status

from .scripted import DOWN, ID, NOW, RUN, STARTED, Scripted, context, instance, scheduled, state

CLIENT = ReplyTo(3, "client")
OPTIONS = ActivityOptions()
BUG = CodeError("bug", "ValueError: no", "orders.py:3: x", "Traceback")
PARKED = events.RunParked("bug", "ValueError: no", "orders.py:3: x", "Traceback")
SCHEDULE = commands.ScheduleActivity(1, "pay", b"[]", OPTIONS)
DONE = commands.CompleteWorkflow(b'"done"')
COMPLETED = events.WorkflowCompleted(b'"done"')


def command(body: CommandBody, request_id: str = "r9") -> ClientCommand:
    return ClientCommand(ID, body, request_id, CLIENT)


def report(kind: Any, id: int = 1, attempt: int = 1, **how: Any) -> ActivityReport:
    return ActivityReport(ID, RUN, id, attempt, kind, **how)


def due(kind: Any, id: int = 1, attempt: int = 0, due_ms: int = NOW) -> TimerDue:
    return TimerDue(ID, RUN, kind, id, attempt, due_ms)


def decided(input: Any, run: Instance | None, *answers: Any) -> list[list[Event]]:
    """Return the events of each turn; the run's state must be their fold."""
    latest = None if run is None else run.state.summary()
    outcome = decide(input, run, latest, "0-9", context(*answers))
    return [draft.events for draft in outcome.turns]


# --- starts -----------------------------------------------------------------------------------


def test_a_start_records_what_the_code_asks_for_and_what_has_to_leave() -> None:
    body = StartRun("order", b"[1]", execution_timeout_ms=500)
    outcome = decide(command(body), None, None, "0-9", context([SCHEDULE]))
    (draft,) = outcome.turns
    assert draft.first == 0
    assert draft.events == [
        events.WorkflowStarted("order", b"[1]", 500, None, "r9"),
        events.ActivityScheduled(1, "pay", b"[]", True, OPTIONS),
    ]
    timer, task = draft.effects
    assert timer == effects.SetTimer(ID, "0-9", "execution", 0, 0, NOW + 500)
    assert isinstance(task, effects.ActivityTask)
    assert (task.id, task.attempt, task.eager, task.scheduled_ms) == (1, 1, True, NOW)
    assert outcome.replies == [effects.Reply(CLIENT, "r9", Accepted("0-9"))]


def closed(status: Status, request_id: str = "r1") -> Summary:
    ends: dict[Status, Event] = {
        Status.COMPLETED: COMPLETED,
        Status.FAILED: events.WorkflowFailed(DOWN),
    }
    return replace(state(ends[status]).summary(), request_id=request_id)


@pytest.mark.parametrize(
    ("latest", "how", "answer"),
    [
        (None, {}, Accepted("0-9")),
        (None, {"workflow": "other"}, "WorkflowNotRegistered"),
        (None, {"reuse": "maybe"}, "CommandRejected"),
        (None, {"conflict": "maybe"}, "CommandRejected"),
        (closed(Status.COMPLETED), {}, Accepted("0-9")),
        (closed(Status.COMPLETED), {"reuse": "allow-failed"}, "WorkflowAlreadyStarted"),
        (closed(Status.COMPLETED), {"reuse": "reject"}, "WorkflowAlreadyStarted"),
        (closed(Status.FAILED), {"reuse": "allow-failed"}, Accepted("0-9")),
        (closed(Status.FAILED), {"reuse": "reject"}, "WorkflowAlreadyStarted"),
        (closed(Status.COMPLETED, "r9"), {"reuse": "reject"}, Accepted(RUN)),
    ],
)
def test_a_start_where_no_run_is_open(latest: Summary | None, how: Any, answer: Any) -> None:
    body = StartRun(**{"workflow": "order", **how})
    outcome = decide(command(body), None, latest, "0-9", context())
    given = outcome.replies[0].body
    assert (given.error if isinstance(given, Refused) else given) == answer
    assert len(outcome.turns) == (answer == Accepted("0-9"))
    assert (outcome.refused is not None) == isinstance(given, Refused)


@pytest.mark.parametrize(
    ("how", "request_id", "answer", "turns"),
    [
        ({}, "r9", "WorkflowAlreadyStarted", []),
        ({"conflict": "use-existing"}, "r9", Accepted(RUN, created=False), []),
        ({}, "r1", Accepted(RUN), []),
        (
            {"conflict": "terminate"},
            "r9",
            Accepted("0-9"),
            [
                [events.WorkflowTerminated("replaced by a new run")],
                [events.WorkflowStarted("order", b"[]", None, None, "r9")],
            ],
        ),
        ({"conflict": "terminate", "workflow": "other"}, "r9", "WorkflowNotRegistered", []),
    ],
)
def test_a_start_where_a_run_is_open(how: Any, request_id: str, answer: Any, turns: Any) -> None:
    run = instance()
    body = StartRun(**{"workflow": "order", **how})
    outcome = decide(command(body, request_id), run, run.state.summary(), "0-9", context())
    given = outcome.replies[0].body
    assert (given.error if isinstance(given, Refused) else given) == answer
    assert [draft.events for draft in outcome.turns] == turns


def test_who_wants_the_result_with_a_start_is_not_told_of_the_start() -> None:
    """But of a start that was made before: whoever asks again would wait for long."""
    body = StartRun("order", result_within_ms=500)
    outcome = decide(command(body), None, None, "0-9", context())
    assert len(outcome.turns) == 1 and outcome.replies == []
    assert outcome.awaited == AwaitResult("0-9", 500)
    nobody = replace(command(body), reply_to=None)
    assert decide(nobody, None, None, "0-9", context()).awaited is None
    again = decide(command(body, "r1"), instance(), state().summary(), "0-9", context())
    assert again.turns == [] and again.awaited is None
    assert again.replies == [effects.Reply(CLIENT, "r1", Accepted(RUN))]


# --- commands to a run ------------------------------------------------------------------------

EVENT = events.EventReceived("go", b"1", "r9")


@pytest.mark.parametrize(
    ("history", "body", "turns"),
    [
        ([], RaiseEvent("go", b"1"), [[EVENT, COMPLETED]]),
        ([EVENT], RaiseEvent("go", b"1"), []),
        ([], CancelRun("enough"), [[events.WorkflowCancelRequested("enough"), COMPLETED]]),
        ([events.WorkflowCancelRequested("")], CancelRun("enough"), []),
        ([], TerminateRun("enough"), [[events.WorkflowTerminated("enough")]]),
        ([PARKED], TerminateRun("enough"), [[events.WorkflowTerminated("enough")]]),
        ([PARKED], RaiseEvent("go", b"1"), [[EVENT]]),
    ],
)
def test_a_command_to_an_open_run(history: Any, body: Any, turns: Any) -> None:
    run = instance(*history, asks=[[DONE]])
    outcome = decide(command(body), run, run.state.summary(), "", context())
    assert [draft.events for draft in outcome.turns] == turns
    assert outcome.replies == [effects.Reply(CLIENT, "r9", Accepted(RUN))]


@pytest.mark.parametrize(
    ("latest", "body", "answer"),
    [
        (None, RaiseEvent("go"), "WorkflowNotFound"),
        (closed(Status.COMPLETED), RaiseEvent("go", run_id="0-1"), "WorkflowNotFound"),
        (closed(Status.COMPLETED), RaiseEvent("go"), "CommandRejected"),
        (closed(Status.COMPLETED), CancelRun(), Accepted(RUN, created=False)),
        (closed(Status.COMPLETED), TerminateRun(), Accepted(RUN, created=False)),
    ],
)
def test_a_command_where_no_run_is_open(latest: Any, body: Any, answer: Any) -> None:
    outcome = decide(command(body), None, latest, "", context())
    given = outcome.replies[0].body
    assert (given.error if isinstance(given, Refused) else given) == answer
    assert not outcome.turns


def test_an_event_that_was_taken_is_not_refused_when_its_sender_asks_again_after_the_end() -> None:
    latest = state(events.EventReceived("go", b"1", "r9"), COMPLETED).summary()
    for request_id, taken in (("r9", True), ("r10", False)):
        outcome = decide(command(RaiseEvent("go"), request_id), None, latest, "", context())
        assert (outcome.replies[0].body == Accepted(RUN)) is taken
        assert not outcome.turns


# --- reports ----------------------------------------------------------------------------------

RETRIED = events.ActivityAttemptFailed(1, 1, DOWN, NOW + 1_000)
LAST = {"maximum_attempts": 1}


@pytest.mark.parametrize(
    ("history", "given", "turns"),
    [
        (
            [scheduled()],
            report("completed", payload=b"5"),
            [[events.ActivityCompleted(1, 1, b"5"), COMPLETED]],
        ),
        ([scheduled()], report("failed", failure=DOWN), [[RETRIED]]),
        (
            [scheduled(**LAST)],
            report("failed", failure=DOWN),
            [[events.ActivityFailed(1, 1, DOWN), COMPLETED]],
        ),
        ([scheduled()], report("started", worker="w"), [[events.ActivityStarted(1, 1, "w")]]),
        (
            [scheduled()],
            report("heartbeat", payload=b"3"),
            [[events.ActivityHeartbeatRecorded(1, 1, b"3")]],
        ),
        ([scheduled()], report("completed", attempt=2), []),
        ([scheduled()], report("completed", id=2), []),
        ([scheduled(), RETRIED], report("completed"), []),
        ([scheduled(), events.ActivityCancelled(1)], report("completed"), []),
        ([scheduled(), events.ActivityCompleted(1, 1, b"5")], report("completed"), []),
    ],
)
def test_a_report(history: Any, given: ActivityReport, turns: Any) -> None:
    assert decided(given, instance(*history, asks=[[DONE]])) == turns


def test_a_report_to_another_run_or_to_none_changes_nothing() -> None:
    given = replace(report("completed"), run_id="0-1")
    assert decided(given, instance(scheduled())) == []
    assert decided(given, None) == []


def test_a_second_copy_of_a_start_changes_nothing() -> None:
    history = [scheduled(), events.ActivityStarted(1, 1, "w")]
    assert decided(report("started", worker="w"), instance(*history)) == []


def test_an_attempt_that_is_started_too_often_has_failed() -> None:
    history: list[Event] = [scheduled(**LAST), *[events.ActivityStarted(1, 1, "w")] * STARTS_MAX]
    ((failed, end),) = decided(report("started", worker="v"), instance(*history, asks=[[DONE]]))
    assert isinstance(failed, events.ActivityFailed)
    assert failed.failure.timeout_kind == "lost" and not failed.failure.retryable
    assert end == COMPLETED


@pytest.mark.parametrize(
    ("starts", "worker", "cancelled"),
    [
        (0, "v", False),
        (STARTS_MAX - 1, "v", False),
        (STARTS_MAX, "v", True),
        (STARTS_MAX, "w", False),
    ],
)
def test_a_start_that_asks_is_told_whether_to_run(
    starts: int, worker: str, cancelled: bool
) -> None:
    history: list[Event] = [scheduled(**LAST), *[events.ActivityStarted(1, 1, "w")] * starts]
    given = report("started", worker=worker, reply_to=CLIENT)
    outcome = decide(given, instance(*history, asks=[[DONE]]), None, "", context())
    seen = effects.HeartbeatSeen(RUN, 1, 1, cancelled)
    assert outcome.replies == [effects.Reply(CLIENT, "", seen)]


@pytest.mark.parametrize(("attempt", "cancelled"), [(1, False), (2, True)])
def test_a_heartbeat_is_told_whether_to_stop(attempt: int, cancelled: bool) -> None:
    given = report("heartbeat", attempt=attempt, reply_to=CLIENT)
    outcome = decide(given, instance(scheduled()), None, "", context())
    seen = effects.HeartbeatSeen(RUN, 1, attempt, cancelled)
    assert outcome.replies == [effects.Reply(CLIENT, "", seen)]


# --- timers -----------------------------------------------------------------------------------

WATCHED = scheduled(start_to_close_ms=50, schedule_to_close_ms=400, **LAST)
BEGAN = events.ActivityStarted(1, 1, "w")


@pytest.mark.parametrize(
    ("history", "given", "turns"),
    [
        ([events.TimerStarted(1, NOW)], due("timer"), [[events.TimerFired(1), COMPLETED]]),
        ([events.TimerStarted(1, NOW), events.TimerCancelled(1)], due("timer"), []),
        ([], due("timer"), []),
        (
            [scheduled(), RETRIED],
            due("retry", attempt=1, due_ms=NOW + 1_000),
            [[events.ActivityRetried(1, 2, True)]],
        ),
        ([scheduled(), RETRIED], due("retry", attempt=1, due_ms=NOW), []),
        ([scheduled(), RETRIED], due("retry", attempt=2, due_ms=NOW + 1_000), []),
        ([WATCHED, BEGAN], due("start_to_close", attempt=1, due_ms=NOW), []),
        ([WATCHED, BEGAN], due("schedule_to_start", attempt=1, due_ms=NOW), []),
    ],
)
def test_a_timer(history: Any, given: TimerDue, turns: Any) -> None:
    assert decided(given, instance(*history, asks=[[DONE]])) == turns


@pytest.mark.parametrize(
    ("kind", "due_ms", "retryable"),
    [("start_to_close", NOW + 50, True), ("schedule_to_close", NOW + 400, False)],
)
def test_a_time_out_of_an_activity(kind: Any, due_ms: int, retryable: bool) -> None:
    run = instance(WATCHED, BEGAN, asks=[[DONE]])
    ((failed, end),) = decided(due(kind, attempt=1, due_ms=due_ms), run)
    assert isinstance(failed, events.ActivityFailed) and end == COMPLETED
    assert (failed.failure.timeout_kind, failed.failure.retryable) == (kind, retryable)


def test_the_execution_time_out_ends_the_run_with_all_that_it_has_open() -> None:
    run_state = RunState(ID, RUN)
    draft_of = decide(
        command(StartRun("order", execution_timeout_ms=500)),
        None,
        None,
        RUN,
        context([commands.StartTimer(1, NOW + 9_000)]),
    ).turns[0]
    run_state = draft_of.instance.state
    outcome = decide(due("execution", 0, 0, NOW + 500), draft_of.instance, None, "", context())
    (draft,) = outcome.turns
    assert draft.events == [events.WorkflowTimedOut(500)]
    assert draft.effects == [
        effects.ClearTimer(RUN, "timer", 1, 0, NOW + 9_000),
        effects.ClearTimer(RUN, "execution", 0, 0, NOW + 500),
        effects.RunResult(ID, RUN, "order", "timed_out", None, None, NOW),
    ]
    assert run_state.status is Status.TIMED_OUT


# --- code that cannot go on -------------------------------------------------------------------


def test_code_with_a_bug_is_parked_and_keeps_its_facts_until_it_goes_on() -> None:
    run = instance(events.TimerStarted(1, NOW), asks=[BUG])
    assert decided(due("timer"), run) == [[events.TimerFired(1), PARKED]]
    assert decided(command(RaiseEvent("go", b"1")), run) == [[EVENT]]
    assert unpark(run, context()) is None
    fixed = Scripted([[DONE]])
    run.runner = fixed
    draft = unpark(run, context())
    assert draft is not None
    assert draft.events == [events.RunUnparked(), COMPLETED]
    assert fixed.seen == [events.TimerFired(1), EVENT]
    assert run.pending == []


def test_time_never_goes_back_in_a_run() -> None:
    run = instance(now_ms=NOW + 500)
    outcome = decide(command(RaiseEvent("go")), run, run.state.summary(), "", context())
    assert outcome.turns[0].now_ms == NOW + 500


def test_every_command_of_the_code_is_recorded_in_order() -> None:
    asked = [
        commands.StartTimer(1, NOW + 5),
        commands.CancelTimer(1),
        SCHEDULE,
        commands.CancelActivity(1),
        commands.RecordSideEffect(2, b"1"),
        commands.SetStatus(b'"s"'),
        commands.RejectEvent("go", b"1", "no int"),
        commands.PublishRecord("t", b"k", b"v"),
        commands.SendMessage("event", "other", "go", b"1"),
        commands.FailWorkflow(DOWN),
    ]
    ((_, *recorded),) = decided(command(StartRun("order")), None, asked)
    assert recorded == [
        events.TimerStarted(1, NOW + 5),
        events.TimerCancelled(1),
        events.ActivityScheduled(1, "pay", b"[]", True, OPTIONS),
        events.ActivityCancelled(1),
        events.SideEffectRecorded(2, b"1"),
        events.StatusSet(b'"s"'),
        events.EventRejected("go", b"1", "no int"),
        events.RecordPublished("t", b"k", b"v"),
        events.MessageSent("event", "other", "go", b"1"),
        events.WorkflowFailed(DOWN),
    ]


def test_the_start_is_the_one_of_the_scripts() -> None:
    assert instance().state.request_id == STARTED.request_id
