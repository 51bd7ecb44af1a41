"""Entities in the core: their ids, who may begin them, and the snapshot of one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor.codec.records import decode, encode
from processor.core.data.address import Address, Caller
from processor.core.data.cause import CallRequest, ClientRequest, Origin
from processor.core.decide import decide
from processor.core.draft import Draft, RunBounds
from processor.core.entity_id import EntityId, entity_of
from processor.core.event import Decision
from processor.core.inputs import ClientCommand, TimerDue
from processor.core.nouns.awaited import AnswerAwaited
from processor.core.nouns.call import AnswerCall, CallSent, MessageDelayed, MessageSent, taken
from processor.core.nouns.child import ChildCalled, OpenChild
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.run import Summary, WorkflowCancelRequested, WorkflowStarted
from processor.core.nouns.start import StartChild, StartRun, StartWith, begins
from processor.core.nouns.stop import CancelRun
from processor.core.nouns.timer import EventDelayed, RaiseEventAt, TimerFired, TimerStarted
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted, UpdateRun
from processor.core.operation import Request
from processor.core.records.answers import Refused, UpdateEnded
from processor.core.records.effects import Message, SetTimer
from processor.core.records.snapshot import EntityDelta, EntitySnapshot, snapshot_of, state_of
from processor.core.records.turn import Positions, Turn
from processor.core.replay import Instance, replay
from processor.core.runner import EntityCode
from processor.core.state import RunState

from .scripted import DOWN, NOW, RUN, Answer, Runners, Scripted, context

ADA = EntityId("order", "ada@home")
CALLER = Caller(Address(None, "w-1"), "run-9", 4)
DEPOSIT = UpdateRun("u-1", "deposit", b"[5]")
ORIGIN = Origin(bytes(16), 1, 2, 3)


@pytest.mark.parametrize(
    ("id", "entity"),
    [
        ("@order@ada@home", ADA),
        ("@order@ ", EntityId("order", " ")),
        ("@order@", None),
        ("@@ada", None),
        ("@order", None),
        ("order@ada", None),
    ],
)
def test_an_id_names_an_entity(id: str, entity: EntityId | None) -> None:
    assert entity_of(id) == entity
    assert entity is None or entity.workflow_id == id


# --- who begins one -------------------------------------------------------------------------------


def decided(
    id: str, body: Request, *answers: Answer, caller: Caller | None = None
) -> tuple[list[Draft], object]:
    cause = ORIGIN if caller is not None else ClientRequest("c", 1)
    command = ClientCommand(id, body, cause, caller=caller)
    outcome = decide(command, None, None, RUN, context(*answers))
    return outcome.drafts, outcome.answer


@pytest.mark.parametrize(
    ("id", "body"),
    [
        ("@order@ada", StartRun("order")),
        ("@order@ada", StartChild("order")),
        ("@order@ada", begins(EntityId("other", "ada"), DEPOSIT)),
        ("@order", begins(EntityId("order", "x"), DEPOSIT)),
        ("@", StartRun("order")),
    ],
)
def test_nothing_but_its_first_operation_begins_an_entity(id: str, body: Request) -> None:
    drafts, answer = decided(id, body)
    assert not drafts
    assert isinstance(answer, Refused) and answer.error == "CommandRejected"
    assert "ids that begin with @ are those of entities" in answer.message


def test_the_first_operation_is_there_before_the_code() -> None:
    (draft,), _ = decided(ADA.workflow_id, begins(ADA, DEPOSIT), [UpdateCompleted("u-1", b"5")])
    started, over = draft.events
    assert isinstance(started, WorkflowStarted) and started.workflow == "order"
    assert over == UpdateCompleted("u-1", b"5")


def test_a_run_that_calls_waits_from_the_first_turn_on() -> None:
    body = begins(ADA, DEPOSIT)
    done: list[Decision] = [UpdateCompleted("u-1", b"5")]
    (draft,), _ = decided(ADA.workflow_id, body, done, caller=CALLER)
    assert [type(each) for each in draft.events] == [
        WorkflowStarted,
        AnswerAwaited,
        UpdateCompleted,
    ]
    told = UpdateEnded(RUN, "u-1", b"5")
    assert Message("w-1", AnswerCall("run-9", 4, told)) in draft.effects
    run = draft.instance.state
    assert not run.callers
    assert not taken(CallRequest(ORIGIN, CALLER), run, draft.events), "it is told the outcome"


def test_calls_wait_in_line_whatever_the_bound_of_updates() -> None:
    ready = context()
    run = RunState(ADA.workflow_id, RUN)
    instance = Instance(run, Scripted([]))
    draft = Draft(instance, ready)
    draft.advance(WorkflowStarted("order", None, bytes(16)))
    summary: Summary = run.summary()
    for number in range(50):
        draft = Draft(instance, ready)
        asked = replace(DEPOSIT, id=f"u-{number}")
        assert asked.decide(draft, summary) is None
        assert draft.events == [UpdateAccepted(asked.id, "deposit", b"[5]", validated=True)]
    assert run.updates_running == 50
    instance.runner.unread_events = [EventReceived("x")] * 10_000  # type: ignore[union-attr]
    refused = replace(DEPOSIT, id="more").decide(Draft(instance, ready), summary)
    assert isinstance(refused, Refused) and "10,000 events" in refused.message


@pytest.mark.parametrize("runs", [False, True])
def test_an_operation_is_cancelled_and_not_its_entity(runs: bool) -> None:
    run = RunState(ADA.workflow_id, RUN)
    instance = Instance(run, Scripted([], keeps=not runs))
    Draft(instance, context()).advance(WorkflowStarted("order", None, bytes(16)))
    for _ in range(2):
        draft = Draft(instance, context())
        answer = CancelRun("why").decide(draft, run.summary())
        assert draft.events == ([WorkflowCancelRequested("why")] if runs else [])
        assert answer == (None if runs else run.summary().accepted(created=False))
        assert run.cancel_reason is None, "the next operation is not asked that"


def test_a_message_to_an_entity_begins_it() -> None:
    sent = MessageSent(Address(None, ADA.workflow_id), "entity", "deposit", "", b"5")
    assert sent.operation == begins(ADA, RaiseEvent("deposit", b"5"))


def test_whoever_gives_a_call_up_says_so() -> None:
    call = CallSent(4, Address(None, ADA.workflow_id), begins(ADA, DEPOSIT))
    assert call.what == ("StartWith", "order.deposit") and call.payload == b"[5]"
    assert call.given_up(RunState("w-1", "run-9"))
    signal = CallSent(4, Address(None, ADA.workflow_id), begins(ADA, RaiseEvent("deposit")))
    assert not signal.given_up(RunState("w-1", "run-9"))


# --- its snapshot ---------------------------------------------------------------------------------

CHILD = ChildCalled(3, Address(None, "c"), StartChild("report"), "abandon")
QUEUE = (UpdateAccepted("u-3", "pay", None, validated=False), EventReceived("add", b"1"))


def entity() -> RunState:
    """Return the state of an entity with all that one may have when no operation runs."""
    run = RunState(ADA.workflow_id, RUN)
    draft = Draft(Instance(run, Scripted([])), context())
    draft.advance(WorkflowStarted("order", None, bytes(16)))
    for number in range(1, 13):
        draft.add(UpdateAccepted(f"old-{number}", "deposit", b"[1]", validated=False))
        draft.add(UpdateCompleted(f"old-{number}", b"1" * number))
    draft.add(UpdateAccepted("u-1", "deposit", b"[5]", validated=False))
    draft.add(AnswerAwaited(CALLER, "update", "u-3"))
    draft.add(CHILD)
    draft.add(QUEUE[0])
    draft.add(QUEUE[1])
    draft.add(TimerStarted(7, NOW))
    draft.add(EventDelayed(2**52 + run.events, NOW + 5, "add", b"5"))
    return run


def snapshot(run: RunState, *last: Decision) -> EntitySnapshot:
    """Return a snapshot with the last operation of an entity."""
    draft = Draft(Instance(run, Scripted([])), context())
    for each in last:
        draft.add(each)
    place = (ADA.workflow_id, RUN, 0, draft.first, NOW, "commands", Positions(), 0, None)
    code = EntityCode(b'{"balance":5}', QUEUE, 7, 7)
    made = snapshot_of(Turn(*place, tuple(draft.events)), run, code, whole=True)
    assert isinstance(made, EntitySnapshot)
    return made


@pytest.mark.parametrize("result", [b"5", None, b"x" * 100_000])
def test_an_entity_comes_back_from_its_snapshot(result: bytes | None) -> None:
    run = entity()
    made = snapshot(run, UpdateCompleted("u-1", result, None if result else DOWN))
    back = decode(encode(made))
    assert isinstance(back, EntitySnapshot) and back == made
    restored = state_of(back)
    assert restored.base == made.first
    assert restored.callers == run.callers == {CALLER: ("update", "u-3")}
    assert restored.children == run.children == {3: OpenChild(CHILD)}
    assert restored.timers == run.timers and restored.timers[7] == NOW
    assert restored.delayed == run.delayed and len(run.delayed) == 1
    assert restored.delayed_bytes == run.delayed_bytes > 0
    assert restored.updates_running == run.updates_running == 1
    last = restored.updates["u-1"]
    assert last == run.updates["u-1"]
    assert (last.result, last.failure) == (result, None if result else DOWN)
    kept = [id for id, each in restored.updates.items() if each.over]
    assert kept == [*(f"old-{number}" for number in range(3, 13)), "u-1"], "the newest ones"
    assert all(restored.updates[id] == run.updates[id] for id in kept)


def test_the_outcomes_in_a_snapshot_have_a_bound_in_bytes() -> None:
    run = entity()
    snapshot(run, UpdateCompleted("u-1", b"x" * 1_950))
    draft = Draft(Instance(run, Scripted([])), context())
    draft.add(UpdateAccepted("u-9", "deposit", None, validated=False))
    made = snapshot(run, UpdateCompleted("u-9", b"9"))
    assert [each.id for each in made.outcomes] == ["u-1", "u-9"]
    assert made.outcomes[-1].result is None, "that stands in the turn"


def test_an_entity_goes_on_from_its_snapshot() -> None:
    made = snapshot(entity(), UpdateCompleted("u-1", b"5"))
    runners = Runners([])
    found = replay(runners, [made])
    assert runners.resumed == [EntityCode(b'{"balance":5}', QUEUE, 7, 7, NOW)]
    assert found.state.events == made.first + 1


def test_a_snapshot_says_where_the_one_before_began() -> None:
    run = entity()
    run.base = 20
    assert snapshot(run, UpdateCompleted("u-1", b"5")).previous == 20


# --- delayed signals ------------------------------------------------------------------------------

LATER_ON = RaiseEventAt("add", b"9", due_ms=NOW + 50)


def test_a_delayed_signal_begins_an_entity_and_arrives_when_it_is_due() -> None:
    command = ClientCommand(ADA.workflow_id, begins(ADA, LATER_ON), ClientRequest("c", 1))
    ready = context()
    (draft,) = decide(command, None, None, RUN, ready).drafts
    started, delayed = draft.events
    assert isinstance(started, WorkflowStarted) and started.lineage is None
    id = 2**52 + 1
    assert delayed == EventDelayed(id, NOW + 50, "add", b"9")
    assert SetTimer(ADA.workflow_id, RUN, "timer", id, 0, NOW + 50) in draft.effects
    due = TimerDue(ADA.workflow_id, RUN, "timer", id, 0, NOW + 50)
    (fired,) = decide(due, draft.instance, draft.run.summary(), "", ready).drafts
    assert fired.events == [TimerFired(id), EventReceived("add", b"9")]
    assert (draft.run.timers, draft.run.delayed, draft.run.delayed_bytes) == ({}, {}, 0)
    assert not decide(due, draft.instance, draft.run.summary(), "", ready).drafts, "once"


@pytest.mark.parametrize("is_there", [False, True])
def test_a_delayed_signal_whose_time_has_passed_arrives_at_once(is_there: bool) -> None:
    late = replace(LATER_ON, due_ms=NOW)
    ready, instance, latest = context(), None, None
    if is_there:
        instance = Instance(RunState(ADA.workflow_id, RUN), Scripted([]))
        Draft(instance, ready).advance(WorkflowStarted("order", None, bytes(16)))
        latest = instance.state.summary()
    command = ClientCommand(ADA.workflow_id, begins(ADA, late), ClientRequest("c", 1))
    (draft,) = decide(command, instance, latest, RUN, ready).drafts
    assert draft.events[-1] == EventReceived("add", b"9")
    assert not draft.run.timers


def test_delayed_signals_have_the_bound_of_what_waits() -> None:
    run = entity()
    draft = Draft(Instance(run, Scripted([])), context())
    draft.add(EventDelayed(2**52 + run.events, NOW + 5, "add", b"1"))
    ready = context()
    ready.bounds = RunBounds(3, 100_000, 1)
    for number, refused in ((1, False), (2, True)):
        draft = Draft(Instance(run, Scripted([])), ready)
        answer = replace(LATER_ON, payload=b"%d" % number).decide(draft, run.summary())
        assert isinstance(answer, Refused) is refused, number
    assert len(run.delayed) == 3


def test_only_an_entity_takes_delayed_signals() -> None:
    start = StartWith("order", None, "allow", "use-existing", first=LATER_ON)
    drafts, answer = decided("order-1", start)
    assert not drafts
    assert isinstance(answer, Refused) and "is no entity" in answer.message


def test_a_delayed_message_to_an_entity_says_when_it_is_due() -> None:
    to = Address(None, ADA.workflow_id)
    sent = MessageDelayed(to, "entity", "add", "", b"9", due_ms=NOW + 50)
    assert sent.operation == begins(ADA, LATER_ON)


# --- what is new since a snapshot -----------------------------------------------------------------

PLACE = (ADA.workflow_id, RUN, 0)
REST = (NOW + 9, "commands", Positions(), 0, None)


def ended(run: RunState, wake: int, *waiting: UpdateAccepted | EventReceived) -> EntityDelta:
    """Return the turn in which the timer and the operation at the front of the queue end."""
    draft = Draft(Instance(run, Scripted([])), context())
    draft.add(TimerFired(wake))
    if "u-3" in run.updates and not run.updates["u-3"].over:
        draft.add(UpdateCompleted("u-3", b"3"))
    draft.add(TimerStarted(wake + 1, NOW + 9))
    turn = Turn(*PLACE, draft.first, *REST, tuple(draft.events))
    state = b'{"balance":%d}' % wake
    made = snapshot_of(turn, run, EntityCode(state, waiting, wake + 1, wake + 1), whole=False)
    assert isinstance(made, EntityDelta)
    return made


def came(run: RunState, *messages: UpdateAccepted | EventReceived) -> Turn:
    draft = Draft(Instance(run, Scripted([])), context())
    for each in messages:
        draft.add(each)
    return Turn(*PLACE, draft.first, *REST, tuple(draft.events))


LATER = (UpdateAccepted("u-4", "pay", b"4", validated=False), EventReceived("add", b"4"))


@pytest.mark.parametrize(
    ("deltas", "waiting"),
    [
        (1, (QUEUE[1],)),
        (2, LATER),
        (3, LATER[1:]),
    ],
    ids=["of the snapshot", "of both", "of the turns since"],
)
def test_an_entity_goes_on_from_the_last_delta(
    deltas: int, waiting: tuple[UpdateAccepted | EventReceived, ...]
) -> None:
    run = entity()
    records: list[Turn | EntitySnapshot] = [snapshot(run, UpdateCompleted("u-1", b"5"))]
    records.append(ended(run, 7, QUEUE[1]))
    if deltas > 1:
        records += [came(run, *LATER), ended(run, 8, *LATER)]
    if deltas > 2:
        records.append(ended(run, 9, LATER[1]))
    last = came(run, EventReceived("last"))
    runners = Runners([])
    written = [decode(encode(each)) for each in (*records, last)]
    found = replay(runners, [each for each in written if isinstance(each, Turn | EntitySnapshot)])
    id = 6 + deltas
    resumed = EntityCode(b'{"balance":%d}' % id, waiting, id + 1, id + 1, NOW + 9)
    assert runners.resumed == [resumed]
    assert runners.made[0].seen == [EventReceived("last")], "what has ended is not shown again"
    assert found.state.events == run.events and found.state.timers == run.timers
    assert found.state.updates["u-3"] == run.updates["u-3"]
    assert found.state.callers == run.callers == {}
    assert found.state.base == records[0].first


@pytest.mark.parametrize(
    ("code", "whole", "is_whole"),
    [
        (EntityCode(b"1", QUEUE), False, False),
        (EntityCode(b"1", QUEUE), True, True),
        (EntityCode(b"1"), False, True),
    ],
    ids=["something waits", "it is due", "nothing waits"],
)
def test_a_snapshot_leaves_out_what_waits_until_it_is_due(
    code: EntityCode, whole: bool, is_whole: bool
) -> None:
    run = RunState(ADA.workflow_id, RUN)
    draft = Draft(Instance(run, Scripted([])), context())
    draft.advance(WorkflowStarted("order", None, bytes(16)))
    turn = Turn(*PLACE, 0, *REST, tuple(draft.events))
    assert isinstance(snapshot_of(turn, run, code, whole=whole), EntitySnapshot) is is_whole


@pytest.mark.parametrize("waits", [False, True])
def test_code_that_is_no_entity_has_no_snapshot_while_others_wait(waits: bool) -> None:
    run = RunState("order-1", RUN)
    runner = Scripted([], keeps=True)
    draft = Draft(Instance(run, runner), context())
    draft.advance(WorkflowStarted("order", None, bytes(16)))
    if waits:
        draft.add(AnswerAwaited(CALLER, "value", "v"))
    draft.advance(EventReceived("go"))
    assert (draft.snapshot is None) is waits


def test_a_start_with_a_call_is_no_start_of_a_workflow_by_hand() -> None:
    assert not StartWith.by_hand
