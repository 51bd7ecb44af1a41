"""Runs that wait for something of another one: what is recorded, what leaves, who is told what."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from processor.core.data.address import Address, Caller
from processor.core.data.cause import CallRequest, Origin
from processor.core.decide import decide
from processor.core.event import Event
from processor.core.inputs import ClientCommand
from processor.core.nouns.awaited import AnswerAwaited, AnswerNotAwaited, GiveUpCall
from processor.core.nouns.call import (
    AnswerCall,
    CallAnswered,
    CallGivenUp,
    CallOperation,
    CallSent,
    taken,
)
from processor.core.nouns.child import ChildCalled
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.run import (
    Successor,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowTerminated,
)
from processor.core.nouns.start import StartChild, StartWith
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted, UpdateRun
from processor.core.nouns.value import AwaitValue, ValueSet
from processor.core.operation import Request
from processor.core.questions import AwaitResult, QueryRun
from processor.core.records.answers import (
    Accepted,
    CallOutcome,
    Closed,
    QueryAnswered,
    Refused,
    UpdateEnded,
    ValueIs,
)
from processor.core.records.effects import Effect, Message

from .scripted import DOWN, ID, NOW, RUN, STARTED, context, instance, state

CALLER = Caller(Address(None, "asker"), "run-a", 4)
LATE = replace(CALLER, call=9)
ORIGIN = Origin(bytes(16), 1, 2, 3)
UPDATE = UpdateRun("u1", "do", b"[1]")
ACCEPTED = UpdateAccepted("u1", "do", b"[1]", validated=True)
OWN = Caller(Address(None, ID), RUN, 7)


def told(outcome: Any, caller: Caller = CALLER) -> Message:
    return Message("asker", AnswerCall("run-a", caller.call, outcome))


def messages(effects: list[Effect]) -> list[Message]:
    return [each for each in effects if isinstance(each, Message)]


def decided(body: Request, *history: Event, answers: Any = (), caller: Any = CALLER) -> Any:
    run = instance(*history, asks=[*answers])
    command = ClientCommand(ID, body, ORIGIN, caller=caller)
    return decide(command, run, run.state.summary(), "run-2", context())


RESULT = AnswerAwaited(CALLER, "result")
VALUE = AnswerAwaited(CALLER, "value", "v")
WAITS = AnswerAwaited(CALLER, "update", "u1")


@pytest.mark.parametrize(
    ("body", "history", "events"),
    [
        (AwaitResult(), [], [RESULT]),
        (AwaitValue("v"), [], [VALUE]),
        (AwaitValue("v"), [ValueSet("w", b"1")], [VALUE]),
        (UPDATE, [], [WAITS, ACCEPTED]),
        (UPDATE, [ACCEPTED], [WAITS]),
    ],
)
def test_what_is_not_there_yet_is_waited_for(
    body: Request, history: list[Event], events: list[Event]
) -> None:
    (draft,) = decided(body, *history).drafts
    assert draft.events == events and not messages(draft.effects)
    cause = CallRequest(ORIGIN, CALLER)
    assert not taken(cause, draft.run, draft.events), "the answer comes later"


@pytest.mark.parametrize(
    ("body", "history", "answer"),
    [
        (AwaitValue("v"), [ValueSet("v", b"1")], ValueIs(RUN, 1, b"1")),
        (UPDATE, [ACCEPTED, UpdateCompleted("u1", b"2")], UpdateEnded(RUN, "u1", b"2")),
        (UPDATE, [ACCEPTED, UpdateCompleted("u1", None, DOWN)], UpdateEnded(RUN, "u1", None, DOWN)),
    ],
)
def test_what_is_there_is_told_at_once(body: Request, history: list[Event], answer: Any) -> None:
    outcome = decided(body, *history)
    assert (outcome.drafts, outcome.answer) == ([], answer)


def test_an_update_that_ends_in_its_turn_is_told_by_it() -> None:
    (draft,) = decided(UPDATE, answers=[[UpdateCompleted("u1", b"2")]]).drafts
    assert draft.events == [WAITS, ACCEPTED, UpdateCompleted("u1", b"2")]
    assert messages(draft.effects) == [told(UpdateEnded(RUN, "u1", b"2"))]
    assert not draft.run.callers


def test_a_client_that_sends_an_update_is_no_run_that_waits() -> None:
    (draft,) = decided(UPDATE, caller=None).drafts
    assert draft.events == [ACCEPTED]


@pytest.mark.parametrize(
    ("body", "events", "waits"),
    [
        (AwaitResult(), [RESULT], ("result", "")),
        (AwaitValue("w"), [AnswerAwaited(CALLER, "value", "w")], ("value", "w")),
        (UPDATE, [WAITS, ACCEPTED], ("update", "u1")),
    ],
)
def test_a_call_that_a_stranger_repeats_waits_for_what_is_asked_last(
    body: Request, events: list[Event], waits: tuple[str, str]
) -> None:
    (draft,) = decided(body, VALUE).drafts
    assert draft.events == events
    assert draft.run.callers == {CALLER: waits}


STOPPED = WorkflowTerminated("enough")
FOLLOWED = WorkflowFailed(DOWN, successor=Successor("run-2", STARTED))
REPLACED = WorkflowTerminated("enough", Successor("run-2", STARTED))
GOES_ON = Closed(RUN, "continued", reason="run-2")
NOT_SET = Refused(
    "ValueNotSet", f"run {RUN} of {ID!r} is terminated, and has not set the value 'v'"
)
UNFINISHED = Refused(
    "UpdateUnfinished",
    f"run {RUN} of {ID!r} is failed, and the handler of update 'u1' had not ended",
)


@pytest.mark.parametrize(
    ("waits", "event", "outcome"),
    [
        (VALUE, ValueSet("v", b"1"), ValueIs(RUN, 2, b"1")),
        (VALUE, ValueSet("w", b"1"), None),
        (VALUE, STOPPED, NOT_SET),
        (VALUE, REPLACED, NOT_SET),
        (VALUE, FOLLOWED, GOES_ON),
        (RESULT, ValueSet("v", b"1"), None),
        (RESULT, WorkflowCompleted(b"1"), Closed(RUN, "completed", b"1")),
        (RESULT, STOPPED, Closed(RUN, "terminated", reason="enough")),
        (RESULT, REPLACED, Closed(RUN, "terminated", reason="enough")),
        (RESULT, FOLLOWED, GOES_ON),
        (WAITS, FOLLOWED, UNFINISHED),
    ],
)
def test_whoever_waits_is_told_once(waits: AnswerAwaited, event: Event, outcome: Any) -> None:
    run = state(waits)
    effects = messages([*event.effects(run, NOW)])
    assert effects == ([] if outcome is None else [told(outcome)])
    event_again = state(waits, event)
    assert len(event_again.callers) == (outcome is None)


WITH = StartWith("order", b"[]", "allow", "use-existing", first=RaiseEvent("go"))


@pytest.mark.parametrize("ends", [[], [WorkflowCompleted(b"1")]])
def test_who_starts_another_instance_with_a_signal_hears_that_it_was_taken(ends: Any) -> None:
    command = ClientCommand(ID, WITH, ORIGIN, caller=CALLER)
    (begun,) = decide(command, None, None, "run-2", context(ends)).drafts
    cause = CallRequest(ORIGIN, CALLER)
    assert [*taken(cause, begun.run, begun.events)] == [told(Accepted("run-2"))]
    assert begun.run.caller is None, "it is no child"
    (draft,) = decided(WITH).drafts
    assert draft.events == [EventReceived("go")]
    assert [*taken(cause, draft.run, draft.events)] == [told(Accepted(RUN))]


def test_each_of_several_is_told_what_it_waits_for() -> None:
    run = state(VALUE, replace(VALUE, caller=LATE), AnswerAwaited(OWN, "result"))
    value = ValueSet("v", b"1")
    is_set = ValueIs(RUN, 4, b"1")
    assert messages([*value.effects(run, NOW)]) == [told(is_set), told(is_set, LATE)]
    assert list(state(VALUE, replace(VALUE, caller=LATE), value).callers) == []


def test_whoever_waits_no_more_is_not_told() -> None:
    (draft,) = decided(GiveUpCall(CALLER), VALUE, caller=None).drafts
    assert draft.events == [AnswerNotAwaited(CALLER)] and not draft.run.callers
    late = decided(GiveUpCall(LATE), VALUE, caller=None)
    assert not late.drafts and not late.answer.created


def test_no_run_waits_for_its_own_end() -> None:
    outcome = decided(AwaitResult(), caller=OWN)
    assert not outcome.drafts and outcome.answer.error == "CommandRejected"
    assert outcome.answer.message == (
        f"run {RUN} of {ID!r} waits for its own end, and would never end: leave that wait out"
    )
    (draft,) = decided(AwaitValue("v"), caller=OWN).drafts
    assert draft.events == [AnswerAwaited(OWN, "value", "v")], "other code of it may set that"


def test_only_so_many_wait_for_one_run() -> None:
    many = [AnswerAwaited(replace(CALLER, call=number), "result") for number in range(100, 10_100)]
    for body in (AwaitResult(), UPDATE):
        outcome = decided(body, *many)
        assert not outcome.drafts and outcome.answer.error == "CommandRejected"
        assert "has 10,000 runs that wait for it" in outcome.answer.message


def test_who_waits_among_so_many_may_ask_again() -> None:
    calls = [CALLER, *(replace(CALLER, call=number) for number in range(100, 10_099))]
    (draft,) = decided(AwaitValue("w"), *(AnswerAwaited(each, "result") for each in calls)).drafts
    assert draft.run.callers[CALLER] == ("value", "w")


@pytest.mark.parametrize(
    ("operation", "leaves"),
    [(UPDATE, True), (AwaitValue("v"), True), (AwaitResult(), True), (QueryRun("q"), False)],
)
def test_who_is_asked_hears_that_nobody_waits_any_more(
    operation: CallOperation, leaves: bool
) -> None:
    sent = CallSent(7, Address(None, "other"), operation)
    assert [*sent.effects(state(), NOW)] == [Message("other", operation, OWN)]
    given_up = [Message("other", GiveUpCall(OWN))] if leaves else []
    assert [*CallGivenUp(7).effects(state(sent), NOW)] == given_up
    assert not state(sent, CallGivenUp(7)).calls
    (draft,) = decided(TerminateRun("enough"), sent, caller=None).drafts
    assert messages(draft.effects) == given_up
    answered = state(sent, CallAnswered(7, Refused("QueryFailed", "no")))
    assert not messages([*WorkflowCompleted(None).effects(answered, NOW)])


OUTCOMES: list[CallOutcome] = [
    Accepted(RUN),
    Closed(RUN, "completed", b"1"),
    QueryAnswered(RUN, b"1"),
    UpdateEnded(RUN, "u1", b"1"),
    ValueIs(RUN, 2, b"1"),
    Refused("WorkflowNotFound", "no"),
]


def asked(operation: CallOperation) -> CallSent:
    return CallSent(7, Address(None, "other"), operation)


@pytest.mark.parametrize(
    ("sent", "fitting"),
    [
        (asked(RaiseEvent("go")), {Accepted}),
        (asked(CancelRun("no")), {Accepted}),
        (asked(WITH), {Accepted}),
        (asked(UPDATE), {UpdateEnded}),
        (asked(QueryRun("q")), {QueryAnswered}),
        (asked(AwaitValue("v")), {ValueIs, Closed}),
        (asked(AwaitResult()), {Closed}),
        (ChildCalled(7, Address(None, "other"), StartChild("order"), "cancel"), {Accepted, Closed}),
    ],
)
def test_an_answer_to_something_else_is_refused(sent: Event, fitting: set[Any]) -> None:
    for outcome in OUTCOMES:
        found = decided(AnswerCall(RUN, 7, outcome), sent, caller=None)
        if type(outcome) in fitting | {Refused}:
            assert found.drafts and found.answer.created, outcome
            continue
        assert not found.drafts and found.answer.error == "CommandRejected", outcome
        kind = type(outcome).__name__
        assert f"{kind} is no answer to that: the run waits on" in found.answer.message


def test_a_refusal_that_comes_after_the_end_is_told_and_anything_else_is_dropped() -> None:
    for told, expected in (
        (Refused("WorkflowNotFound", "no run"), "no run; run run-0 of .*, has ended"),
        (Accepted("run-9"), None),
    ):
        found = decided(AnswerCall("run-0", 7, told), caller=None)
        assert not found.drafts
        if expected is None:
            assert found.answer == Accepted("", created=False)
        else:
            assert found.answer.error == "WorkflowNotFound"
            assert re.match(expected, found.answer.message)
