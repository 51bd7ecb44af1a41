"""Parents and children: what is recorded, what leaves, and who is told what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.core.data.address import Address, Caller, RunRef
from processor.core.data.cause import CallRequest, Origin, StartRequest
from processor.core.decide import decide
from processor.core.event import Event
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall, taken
from processor.core.nouns.child import (
    ChildCalled,
    ChildCancelRequested,
    ChildEnded,
    ChildrenSpared,
    ChildStarted,
    EndChild,
    TerminateWith,
)
from processor.core.nouns.lineage import Lineage, Plan, RetryOptions
from processor.core.nouns.run import (
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
)
from processor.core.nouns.start import StartChild
from processor.core.nouns.stop import OutputSet, TerminateRun
from processor.core.operation import Request
from processor.core.records.answers import Accepted, Closed, Refused
from processor.core.records.effects import Effect, Message, RunResult
from processor.errors import SchemaMismatch

from .scripted import DOWN, ID, NOW, RUN, SEED, STARTED, context, instance, state

PARENT = Caller(Address(None, "parent"), "run-p", 4)
ORIGIN = Origin(bytes(16), 1, 2, 3)
START = StartChild("order", b"[]", root=RunRef("top", "run-t"))
LINEAGE = Lineage(parent=RunRef("parent", "run-p"), root=RunRef("top", "run-t"), caller=PARENT)
CHILD = WorkflowStarted("order", b"[]", SEED, lineage=LINEAGE)
OWN = Caller(Address(None, ID), RUN, 3)


def called(parent_close: str = "terminate") -> ChildCalled:
    return ChildCalled(3, Address(None, "child"), StartChild("other"), parent_close)


def asked(body: Request, caller: Caller | None = None) -> ClientCommand:
    return ClientCommand(ID, body, ORIGIN, caller=caller)


def messages(effects: list[Effect]) -> list[Message]:
    return [each for each in effects if isinstance(each, Message)]


def decided(body: Request, *history: Event, started: WorkflowStarted = STARTED) -> Any:
    run = instance(*history, started=started)
    return decide(asked(body), run, run.state.summary(), "run-2", context())


# --- the child --------------------------------------------------------------------------------


@pytest.mark.parametrize("tells_start", [False, True])
def test_a_child_knows_where_it_comes_from(tells_start: bool) -> None:
    command = asked(replace(START, tells_start=tells_start), PARENT)
    (draft,) = decide(command, None, None, "run-2", context([])).drafts
    assert draft.events == [CHILD]
    cause = (StartRequest if tells_start else CallRequest)(ORIGIN, PARENT)
    assert command.recorded_cause == cause
    told = [Message("parent", AnswerCall("run-p", 4, Accepted("run-2")))]
    assert [*taken(cause, draft.run, draft.events)] == (told if tells_start else [])


def test_a_child_finds_the_last_result_that_its_parent_gives() -> None:
    command = asked(replace(START, last_result=b"5"), PARENT)
    (draft,) = decide(command, None, None, "run-2", context([])).drafts
    assert draft.events == [replace(CHILD, lineage=replace(LINEAGE, previous_result=b"5"))]


@pytest.mark.parametrize("tells_start", [False, True])
def test_the_end_of_a_child_is_told_once_also_in_its_first_turn(tells_start: bool) -> None:
    command = asked(replace(START, tells_start=tells_start), PARENT)
    outcome = decide(command, None, None, "run-2", context([WorkflowCompleted(b"1")]))
    (draft,) = outcome.drafts
    closed = Closed("run-2", "completed", b"1")
    assert messages(draft.effects) == [Message("parent", AnswerCall("run-p", 4, closed))]
    assert not taken(command.recorded_cause, draft.run, draft.events)


def test_a_chain_that_goes_on_tells_nothing() -> None:
    retry = RetryOptions(1_000, 2.0, 10_000, 2)
    command = asked(replace(START, plan=Plan(retry=retry), tells_start=True), PARENT)
    made = context([WorkflowFailed(DOWN)])
    (draft,) = decide(command, None, None, "run-2", made).drafts
    end = draft.events[-1]
    assert isinstance(end, WorkflowFailed) and end.successor is not None
    assert end.successor.started.caller == PARENT
    assert messages(draft.effects) == []
    told = Message("parent", AnswerCall("run-p", 4, Accepted("run-2")))
    assert [*taken(command.recorded_cause, draft.run, draft.events)] == [told], "it has begun"


def test_a_run_that_a_start_replaces_tells_its_parent_that_it_was_terminated() -> None:
    run = instance(started=CHILD)
    start = replace(START, conflict="terminate")
    outcome = decide(asked(start), run, run.state.summary(), "run-2", context([]))
    (message,) = messages(outcome.drafts[0].effects)
    assert message.body == AnswerCall(
        "run-p", 4, Closed(RUN, "terminated", reason="replaced by run run-2")
    )


def test_a_child_that_is_registered_nowhere_parks() -> None:
    command = asked(replace(START, workflow="nowhere"), PARENT)
    (draft,) = decide(command, None, None, "run-2", context()).drafts
    assert [type(event).__name__ for event in draft.events] == ["WorkflowStarted", "RunParked"]


# --- the parent -------------------------------------------------------------------------------


def test_a_call_leaves_with_its_caller() -> None:
    asks = called()
    assert asks.effects(state(), NOW) == (Message("child", asks.start, OWN),)


@pytest.mark.parametrize(
    ("outcome", "fact"),
    [
        (Accepted("run-c"), ChildStarted(3, "run-c")),
        (Closed("run-c", "completed", b"1"), ChildEnded(3, Closed("run-c", "completed", b"1"))),
        (Refused("CommandRejected", "x"), ChildEnded(3, Refused("CommandRejected", "x"))),
    ],
)
def test_what_a_parent_is_told_is_a_fact_of_its_history(outcome: Any, fact: Event) -> None:
    (draft,) = decided(AnswerCall(RUN, 3, outcome), called()).drafts
    assert draft.events == [fact]


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    told = decided(AnswerCall(RUN, 3, Closed("run-c", "completed")))
    assert (told.drafts, told.answer) == ([], Accepted(RUN, created=False))


@pytest.mark.parametrize("how", ["terminate", "cancel"])
def test_the_end_of_a_parent_leaves_to_its_children(how: str) -> None:
    (draft,) = decided(TerminateRun("enough"), called(how)).drafts
    reason = f"its parent, run {RUN} of {ID!r}, has ended"
    assert messages(draft.effects) == [Message("child", EndChild(OWN, how, reason))]
    assert not draft.run.children


def test_children_that_are_abandoned_have_ended_or_are_spared_hear_nothing() -> None:
    ended = ChildEnded(3, Closed("run-c", "completed"))
    for history in ([called("abandon")], [called(), ended]):
        (draft,) = decided(TerminateRun("enough"), *history).drafts
        assert messages(draft.effects) == []
    (draft,) = decided(TerminateWith("enough", recursive=False), called()).drafts
    assert draft.events == [ChildrenSpared(), WorkflowTerminated("enough")]
    assert messages(draft.effects) == []
    (draft,) = decided(TerminateWith("enough", recursive=False)).drafts
    assert draft.events == [WorkflowTerminated("enough")]


def test_an_output_is_told_with_the_end() -> None:
    """To whoever waits, to the parent, and to the topic of results; children end all the same."""
    (draft,) = decided(TerminateWith("enough", output=b"3"), called(), started=CHILD).drafts
    assert draft.events == [OutputSet(b"3"), WorkflowTerminated("enough")]
    (result,) = (each for each in draft.effects if isinstance(each, RunResult))
    assert (result.status, result.result, result.reason) == ("terminated", b"3", "enough")
    ended, answer = messages(draft.effects)
    assert isinstance(ended.body, EndChild)
    told = Closed(RUN, "terminated", b"3", reason="enough")
    assert answer.body == AnswerCall(PARENT.run_id, PARENT.call, told)
    assert draft.run.summary().result == b"3"


def test_what_needs_no_later_level_is_sent_as_before() -> None:
    assert TerminateWith("x", "run", "first").plain == TerminateRun("x", "run", "first")
    for each in (TerminateWith(output=b"null"), TerminateWith(recursive=False)):
        assert each.plain is each


def test_a_cancel_leaves_to_the_child() -> None:
    (message,) = ChildCancelRequested(3, "enough").effects(state(called("abandon")), NOW)
    assert message == Message("child", EndChild(OWN, "cancel", "enough"))


# --- how a child is ended ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "events"),
    [
        ("terminate", [WorkflowTerminated("enough")]),
        ("cancel", [WorkflowCancelRequested("enough")]),
    ],
)
def test_only_a_run_that_the_call_has_made_is_touched(how: str, events: list[Event]) -> None:
    (draft,) = decided(EndChild(PARENT, how, "enough"), started=CHILD).drafts
    assert draft.events == events
    others = [STARTED, replace(CHILD, lineage=replace(LINEAGE, caller=replace(PARENT, call=5)))]
    for started in others:
        told = decided(EndChild(PARENT, how, "enough"), started=started)
        assert (told.drafts, told.answer) == ([], Accepted(RUN, created=False))


def test_who_is_gone_is_no_dead_letter() -> None:
    told = decide(asked(EndChild(PARENT, "cancel", "x")), None, None, "run-2", context())
    assert (told.drafts, told.answer) == ([], Accepted("", created=False))


def test_a_child_is_asked_once() -> None:
    told = decided(EndChild(PARENT, "cancel", "x"), WorkflowCancelRequested("y"), started=CHILD)
    assert told.drafts == []


def test_another_way_to_end_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="how: 'stop' is none of terminate, cancel"):
        EndChild(PARENT, "stop", "").check()


def test_a_reason_that_is_too_long_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="the reason has 100,001 bytes"):
        EndChild(PARENT, "cancel", "x" * 100_001).check()
