"""What one input does: history in, exact turn out. How attempts go: see ``test_attempts``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.core.data.address import Address, ReplyTo
from processor.core.data.cause import ClientRequest
from processor.core.data.options import ActivityOptions
from processor.core.decide import decide, succeed, unpark
from processor.core.event import Event
from processor.core.inputs import ClientCommand, TimerDue
from processor.core.nouns.activity import ActivityCancelled, ActivityScheduled
from processor.core.nouns.call import AnswerCall, CallAnswered, CallSent, MessageSent
from processor.core.nouns.external import EventReceived, EventRejected, RaiseEvent
from processor.core.nouns.lineage import Lineage
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    RunParked,
    RunUnparked,
    StartSuccessor,
    Successor,
    Summary,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.nouns.timer import TimerCancelled, TimerFired, TimerStarted
from processor.core.nouns.value import SideEffectRecorded, StatusSet
from processor.core.operation import Request
from processor.core.questions import AwaitResult
from processor.core.records import effects
from processor.core.records.answers import Accepted, Refused
from processor.core.replay import Instance
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
    Scripted,
    context,
    instance,
    scheduled,
    state,
)

CLIENT = ReplyTo(3, "client", 7)
NEXT = "run-2"
OPTIONS = ActivityOptions()
BUG = CodeError("bug", "ValueError: no", "orders.py:3: x", "Traceback")
PARKED = RunParked("bug", "ValueError: no", "orders.py:3: x", "Traceback")
SCHEDULE = ActivityScheduled(1, "pay", b"[]", False, OPTIONS)
DONE = WorkflowCompleted(b'"done"')
COMPLETED = WorkflowCompleted(b'"done"')


def command(body: Request) -> ClientCommand:
    return ClientCommand(ID, body, ClientRequest("client", 9), reply_to=CLIENT)


def due(kind: Any, id: int = 1, attempt: int = 0, due_ms: int = NOW) -> TimerDue:
    return TimerDue(ID, RUN, kind, id, attempt, due_ms)


def decided(input: Any, run: Instance | None, *answers: Any) -> list[list[Event]]:
    """Return the events of each turn; the run's state must be their fold."""
    latest = None if run is None else run.state.summary()
    outcome = decide(input, run, latest, NEXT, context(*answers))
    return [draft.events for draft in outcome.drafts]


# --- where activities run -----------------------------------------------------------------------


def test_activities_run_eagerly_as_far_as_slots_are_free_and_deciding_takes_none() -> None:
    asked = [replace(SCHEDULE, id=id) for id in (1, 2, 3)]
    seen: list[int] = []

    def place(name: str, options: ActivityOptions, taken: int) -> bool:
        seen.append(taken)
        return taken < 2

    situation = context(asked, place=place)
    for _ in range(2):
        seen.clear()
        (draft,) = decide(command(StartRun("order")), None, None, NEXT, situation).drafts
        assert [event.eager for event in draft.events[1:]] == [True, True, False]
        assert (seen, draft.slots) == ([0, 1, 2], 2)


# --- starts -----------------------------------------------------------------------------------


def test_a_start_records_what_the_code_asks_for_and_what_has_to_leave() -> None:
    body = StartRun("order", b"[1]", execution_timeout_ms=500, memo=b"2", headers=(("h", b"3"),))
    outcome = decide(command(body), None, None, NEXT, context([SCHEDULE]))
    (draft,) = outcome.drafts
    assert (draft.first, draft.attempt, draft.snapshot) == (0, None, None)
    assert draft.events == [
        WorkflowStarted("order", b"[1]", SEED, 500, b"2", (("h", b"3"),)),
        ActivityScheduled(1, "pay", b"[]", True, OPTIONS),
    ]
    timer, task = draft.effects
    assert timer == effects.SetTimer(ID, NEXT, "execution", 0, 0, NOW + 500)
    assert isinstance(task, effects.ActivityTask)
    assert (task.id, task.attempt, task.eager, task.scheduled_ms) == (1, 1, True, NOW)
    assert outcome.answer == Accepted(NEXT)
    assert outcome.replies == [] and outcome.awaited is None


def closed(status: Status) -> Summary:
    ends: dict[Status, Event] = {
        Status.COMPLETED: COMPLETED,
        Status.FAILED: WorkflowFailed(DOWN),
    }
    return state(ends[status]).summary()


@pytest.mark.parametrize(
    ("latest", "how", "answer"),
    [
        (None, {}, Accepted(NEXT)),
        (None, {"workflow": "other"}, "WorkflowNotRegistered"),
        (None, {"reuse": "maybe"}, "CommandRejected"),
        (None, {"conflict": "maybe"}, "CommandRejected"),
        (closed(Status.COMPLETED), {}, Accepted(NEXT)),
        (closed(Status.COMPLETED), {"reuse": "allow-failed"}, "WorkflowAlreadyStarted"),
        (closed(Status.COMPLETED), {"reuse": "reject"}, "WorkflowAlreadyStarted"),
        (closed(Status.FAILED), {"reuse": "allow-failed"}, Accepted(NEXT)),
        (closed(Status.FAILED), {"reuse": "reject"}, "WorkflowAlreadyStarted"),
        (closed(Status.COMPLETED), {"conflict": "use-existing"}, Accepted(NEXT)),
        (closed(Status.COMPLETED), {"conflict": "terminate"}, Accepted(NEXT)),
    ],
)
def test_a_start_where_no_run_is_open(latest: Summary | None, how: Any, answer: Any) -> None:
    body = StartRun(**{"workflow": "order", **how})
    outcome = decide(command(body), None, latest, NEXT, context())
    given = outcome.answer
    assert (given.error if isinstance(given, Refused) else given) == answer
    assert [draft.events for draft in outcome.drafts] == (
        [[WorkflowStarted("order", None, SEED)]] if answer == Accepted(NEXT) else []
    )


LATER_RUN = WorkflowStarted("order", b"[]", SEED, lineage=Lineage("run-0", RUN))


@pytest.mark.parametrize(
    ("started", "how", "answer"),
    [
        (STARTED, {}, "WorkflowAlreadyStarted"),
        (STARTED, {"conflict": "use-existing"}, Accepted(RUN, created=False)),
        (
            LATER_RUN,
            {"conflict": "use-existing"},
            Accepted(RUN, created=False, first_run_id="run-0"),
        ),
        (STARTED, {"conflict": "terminate", "workflow": "other"}, "WorkflowNotRegistered"),
        (STARTED, {"conflict": "terminate", "reuse": "maybe"}, "CommandRejected"),
    ],
)
def test_a_start_where_a_run_is_open_changes_nothing(started: Any, how: Any, answer: Any) -> None:
    run = instance(started=started)
    body = StartRun(**{"workflow": "order", **how})
    outcome = decide(command(body), run, run.state.summary(), NEXT, context())
    given = outcome.answer
    assert (given.error if isinstance(given, Refused) else given) == answer
    assert outcome.drafts == []
    assert run.state.status is Status.RUNNING


def test_a_start_that_ends_the_open_run_names_its_successor_and_then_starts_it() -> None:
    run = instance(TimerStarted(1, NOW + 5))
    body = StartRun("order", b"[1]", conflict="terminate")
    outcome = decide(command(body), run, run.state.summary(), NEXT, context([SCHEDULE]))
    ended, begun = outcome.drafts
    started = WorkflowStarted("order", b"[1]", SEED)
    successor = Successor(NEXT, started)
    assert ended.events == [WorkflowTerminated(f"replaced by run {NEXT}", successor)]
    clear, result, owed = ended.effects
    assert clear == effects.ClearTimer(RUN, "timer", 1, 0, NOW + 5)
    assert isinstance(result, effects.RunResult)
    assert (result.status, result.successor_run_id) == ("terminated", NEXT)
    assert owed == StartSuccessor(ID, NEXT, started)
    assert ended.instance.state.summary().successor == NEXT
    assert begun.events[0] == started and begun.first == 0
    assert begun.instance.state.run_id == NEXT
    assert outcome.answer == Accepted(NEXT)


def test_a_successor_that_is_owed_begins_as_its_closing_event_says() -> None:
    draft = succeed(ID, NEXT, STARTED, context([SCHEDULE]))
    assert draft.events == [
        STARTED,
        ActivityScheduled(1, "pay", b"[]", True, OPTIONS),
    ]
    assert (draft.instance.state.run_id, draft.first) == (NEXT, 0)


def test_a_successor_whose_code_is_not_here_parks() -> None:
    draft = succeed(ID, NEXT, replace(STARTED, workflow="other"), context())
    started, parked = draft.events
    assert isinstance(started, WorkflowStarted)
    assert isinstance(parked, RunParked) and parked.kind == "not_registered"
    assert draft.instance.pending == [started]


def test_who_wants_the_result_with_a_start_is_not_told_of_the_start() -> None:
    body = StartRun("order", result_within_ms=500)
    outcome = decide(command(body), None, None, NEXT, context())
    assert len(outcome.drafts) == 1 and outcome.answer is None
    assert outcome.awaited == AwaitResult(first_run_id=NEXT, timeout_ms=500)
    nobody = decide(replace(command(body), reply_to=None), None, None, NEXT, context())
    assert nobody.awaited is None and nobody.answer == Accepted(NEXT)


# --- commands to a run ------------------------------------------------------------------------

EVENT = EventReceived("go", b"1")


@pytest.mark.parametrize(
    ("history", "body", "turns"),
    [
        ([], RaiseEvent("go", b"1"), [[EVENT, COMPLETED]]),
        ([], RaiseEvent("go"), [[EventReceived("go", None), COMPLETED]]),
        (
            [],
            RaiseEvent("go", b"1", headers=(("h", b"2"),)),
            [[EventReceived("go", b"1", (("h", b"2"),)), COMPLETED]],
        ),
        ([], CancelRun("enough"), [[WorkflowCancelRequested("enough"), COMPLETED]]),
        ([WorkflowCancelRequested("")], CancelRun("enough"), []),
        ([], TerminateRun("enough"), [[WorkflowTerminated("enough")]]),
        ([PARKED], TerminateRun("enough"), [[WorkflowTerminated("enough")]]),
        ([PARKED], RaiseEvent("go", b"1"), [[EVENT]]),
    ],
)
def test_a_command_to_an_open_run(history: Any, body: Any, turns: Any) -> None:
    run = instance(*history, asks=[[DONE]])
    outcome = decide(command(body), run, run.state.summary(), "", context())
    assert [draft.events for draft in outcome.drafts] == turns
    assert outcome.answer == Accepted(RUN)


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ({}, True),
        ({"run_id": RUN}, True),
        ({"run_id": "run-0"}, False),
        ({"first_run_id": "run-0"}, True),
        ({"first_run_id": RUN}, False),
        ({"run_id": RUN, "first_run_id": "run-0"}, True),
        ({"run_id": "run-0", "first_run_id": "run-0"}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [RaiseEvent, CancelRun, TerminateRun])
def test_a_command_names_a_run_or_a_chain_or_takes_the_latest(
    kind: Any, names: Any, meant: bool
) -> None:
    run = instance(started=LATER_RUN)
    outcome = decide(command(kind("go", **names)), run, run.state.summary(), "", context())
    if meant:
        assert outcome.answer == Accepted(RUN, first_run_id="run-0") and len(outcome.drafts) == 1
    else:
        assert isinstance(outcome.answer, Refused) and outcome.drafts == []
        assert outcome.answer.error == "WorkflowNotFound"


@pytest.mark.parametrize(
    ("latest", "body", "answer"),
    [
        (None, RaiseEvent("go"), "WorkflowNotFound"),
        (None, CancelRun(), "WorkflowNotFound"),
        (closed(Status.COMPLETED), RaiseEvent("go", run_id="run-0"), "WorkflowNotFound"),
        (closed(Status.COMPLETED), RaiseEvent("go"), "CommandRejected"),
        (closed(Status.COMPLETED), CancelRun(), Accepted(RUN, created=False)),
        (closed(Status.COMPLETED), TerminateRun(), Accepted(RUN, created=False)),
    ],
)
def test_a_command_where_no_run_is_open(latest: Any, body: Any, answer: Any) -> None:
    outcome = decide(command(body), None, latest, "", context())
    given = outcome.answer
    assert (given.error if isinstance(given, Refused) else given) == answer
    assert not outcome.drafts


# --- answers to calls -------------------------------------------------------------------------

CALL = CallSent(2, Address(None, "other"), RaiseEvent("go"))
TAKEN = Accepted("run-9")


def test_the_answer_to_a_call_is_a_fact_that_the_code_sees_once() -> None:
    run = instance(CALL, asks=[[DONE]])
    given = AnswerCall(RUN, 2, TAKEN)
    outcome = decide(command(given), run, run.state.summary(), "", context())
    (draft,) = outcome.drafts
    answered = CallAnswered(2, TAKEN)
    assert draft.events == [answered, COMPLETED]
    assert isinstance(run.runner, Scripted) and run.runner.seen == [answered]
    assert outcome.answer == Accepted(RUN)


@pytest.mark.parametrize(
    ("history", "given"),
    [
        ([CALL], AnswerCall(RUN, 3, TAKEN)),
        ([CALL], AnswerCall("run-0", 2, TAKEN)),
        ([CALL, CallAnswered(2, TAKEN)], AnswerCall(RUN, 2, TAKEN)),
        ([CALL, COMPLETED], AnswerCall(RUN, 2, TAKEN)),
    ],
    ids=["another call", "another run", "a second answer", "a closed run"],
)
def test_an_answer_that_nobody_waits_for_is_dropped(history: Any, given: AnswerCall) -> None:
    run = instance(*history)
    is_open = run.state.closed_ms is None
    outcome = decide(
        command(given), run if is_open else None, run.state.summary(), "", context([DONE])
    )
    assert outcome.drafts == []
    assert isinstance(outcome.answer, Accepted) and not outcome.answer.created


REFUSED = Refused("WorkflowNotFound", "no run of workflow id 'other'")


@pytest.mark.parametrize(
    ("history", "run_id"), [([CALL], "run-0"), ([CALL, COMPLETED], RUN)], ids=["another", "closed"]
)
def test_a_refusal_that_nobody_waits_for_is_refused_itself(history: Any, run_id: str) -> None:
    """So what was sent goes to the dead letters, as what nobody waits for does."""
    run = instance(*history)
    is_open = run.state.closed_ms is None
    given = command(AnswerCall(run_id, 2, REFUSED))
    outcome = decide(given, run if is_open else None, run.state.summary(), "", context([DONE]))
    told = "which sent it and waited for the answer, has ended"
    answer = f"{REFUSED.message}; run {run_id} of {ID!r}, {told}"
    assert (outcome.drafts, outcome.answer) == ([], Refused("WorkflowNotFound", answer))


# --- timers of the code -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "given", "turns"),
    [
        ([TimerStarted(1, NOW)], due("timer"), [[TimerFired(1), COMPLETED]]),
        ([TimerStarted(1, NOW), TimerCancelled(1)], due("timer"), []),
        ([TimerStarted(1, NOW + 9_000)], due("timer"), []),  # before its time: a forgery
        ([], due("timer"), []),
    ],
)
def test_a_timer(history: Any, given: TimerDue, turns: Any) -> None:
    assert decided(given, instance(*history, asks=[[DONE]])) == turns


def test_a_timer_of_another_run_or_of_none_changes_nothing() -> None:
    other = replace(due("timer"), run_id="run-0")
    assert decided(other, instance(TimerStarted(1, NOW))) == []
    assert decided(due("timer"), None) == []


def test_the_execution_time_out_ends_the_run_with_all_that_it_has_open() -> None:
    run = instance(
        TimerStarted(1, NOW + 9_000),
        scheduled(2, schedule_to_close_ms=70),
        started=replace(STARTED, execution_timeout_ms=500),
    )
    outcome = decide(due("execution", 0, 0, NOW + 500), run, None, "", context())
    (draft,) = outcome.drafts
    assert draft.events == [WorkflowTimedOut(500)]
    assert draft.effects == [
        effects.ClearTimer(RUN, "schedule_to_close", 2, 0, NOW + 70),
        effects.CancelAttempt(RUN, 2),
        effects.ClearTimer(RUN, "timer", 1, 0, NOW + 9_000),
        effects.ClearTimer(RUN, "execution", 0, 0, NOW + 500),
        effects.RunResult(ID, RUN, RUN, "order", "timed_out", None, None, None, NOW),
    ]
    assert run.state.status is Status.TIMED_OUT


# --- code that cannot go on -------------------------------------------------------------------


def test_code_with_a_bug_is_parked_and_keeps_its_facts_until_it_goes_on() -> None:
    run = instance(TimerStarted(1, NOW), asks=[BUG])
    assert decided(due("timer"), run) == [[TimerFired(1), PARKED]]
    assert decided(command(RaiseEvent("go", b"1")), run) == [[EVENT]]
    assert unpark(run, context()) is None
    fixed = Scripted([[DONE]])
    run.runner = fixed
    draft = unpark(run, context())
    assert draft is not None
    assert draft.events == [RunUnparked(), COMPLETED]
    assert fixed.seen == [TimerFired(1), EVENT]
    assert run.pending == []


def test_code_that_still_has_its_bug_stays_parked_with_its_facts() -> None:
    run = instance(PARKED)
    run.pending = [EVENT]
    run.runner = Scripted([BUG])
    assert unpark(run, context()) is None
    assert run.runner is BUG and run.pending == [EVENT]
    assert run.state.status is Status.PARKED


def test_what_the_namespaces_level_does_not_have_yet_parks_before_anything_is_asked() -> None:
    publish = RecordPublished("t", None, b"1")
    later = frozenset({RecordPublished})
    run = instance(asks=[[SCHEDULE, publish]])
    ready = context(not_activated=later)
    (draft,) = decide(command(RaiseEvent("go", b"1")), run, run.state.summary(), "", ready).drafts
    event, parked = draft.events
    assert event == EVENT
    assert isinstance(parked, RunParked)
    assert (parked.kind, parked.where) == ("not_activated", LINE)
    assert parked.error.startswith("RecordPublished needs a later level")
    assert "`processor upgrade`" in parked.error
    assert draft.effects == [], "not even the activity that the level has"
    assert run.pending == [EVENT]
    run.runner = Scripted([[SCHEDULE, publish]])
    assert unpark(run, ready) is None, "it is the same level still"
    upgraded = run.runner = Scripted([[publish]])
    draft_after = unpark(run, context())
    assert draft_after is not None and upgraded.seen == [EVENT]
    assert draft_after.events == [
        RunUnparked(),
        RecordPublished("t", None, b"1"),
    ]


def test_a_runner_whose_wish_was_not_granted_is_closed() -> None:
    runner = Scripted([[SCHEDULE]])
    run = Instance(state(), runner)
    later = context(not_activated=frozenset({ActivityScheduled}))
    decide(command(RaiseEvent("go")), run, run.state.summary(), "", later)
    assert runner.closed


def test_what_the_level_has_is_recorded_though_it_lacks_something_else() -> None:
    run = instance(asks=[[SCHEDULE]])
    later = context(not_activated=frozenset({RecordPublished}))
    (draft,) = decide(command(RaiseEvent("go")), run, run.state.summary(), "", later).drafts
    assert isinstance(draft.events[1], ActivityScheduled)


def test_time_never_goes_back_in_a_run() -> None:
    run = instance(now_ms=NOW + 500)
    outcome = decide(command(RaiseEvent("go")), run, run.state.summary(), "", context())
    assert outcome.drafts[0].now_ms == NOW + 500
    assert isinstance(run.runner, Scripted) and run.runner.turns == [(NOW + 500, 1)]


def test_every_decision_of_the_code_is_recorded_in_order() -> None:
    other = Address(None, "other")
    asked = [
        TimerStarted(1, NOW + 5),
        TimerCancelled(1),
        SCHEDULE,
        ActivityCancelled(1),
        SideEffectRecorded(2, b"1"),
        StatusSet(b'"s"'),
        EventRejected("go", b"1", "no int"),
        RecordPublished("t", b"k", b"v"),
        MessageSent(other, "event", "go", "", b"1"),
        MessageSent(other, "cancel", "", "enough", None),
        WorkflowFailed(DOWN),
    ]
    ((_, *recorded),) = decided(command(StartRun("order")), None, asked)
    assert recorded == [
        replace(SCHEDULE, eager=True) if each is SCHEDULE else each for each in asked
    ]


def test_code_that_lets_a_cancellation_through_ends_cancelled() -> None:
    run = instance(asks=[[WorkflowCancelled("enough")]])
    assert decided(command(CancelRun("enough")), run) == [
        [WorkflowCancelRequested("enough"), WorkflowCancelled("enough")]
    ]
