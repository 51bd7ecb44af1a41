"""Locks in the core: who may ask, who is told what, and what frees them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from processor.codec.records import decode, encode
from processor.core.data.address import Address, Caller
from processor.core.data.cause import CallRequest, ClientRequest, Origin
from processor.core.decide import decide
from processor.core.draft import Draft, Outcome
from processor.core.entity_id import EntityId
from processor.core.event import Decision, Event
from processor.core.evolve import evolve
from processor.core.inputs import ClientCommand
from processor.core.nouns.awaited import AnswerAwaited, GiveUpCall
from processor.core.nouns.call import AnswerCall, taken
from processor.core.nouns.external import EventReceived
from processor.core.nouns.locks.granting import (
    CallUnderLock,
    HeldLock,
    HolderCalled,
    LockEntity,
    LockFreed,
    LockGranted,
    LockRequested,
    LockWithdrawn,
    UnlockEntity,
    next_number,
)
from processor.core.nouns.locks.holding import LockAnswered, LockCalled, LockReleased
from processor.core.nouns.run import (
    RunParked,
    Successor,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.core.nouns.start import begins
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted
from processor.core.nouns.value import AwaitValue
from processor.core.operation import Request
from processor.core.records.answers import Accepted, Locked, Refused
from processor.core.records.effects import Message
from processor.core.records.snapshot import (
    EntityDelta,
    EntitySnapshot,
    kept_in,
    snapshot_of,
    state_of,
)
from processor.core.records.turn import Positions, Turn
from processor.core.replay import Instance
from processor.core.runner import EntityCode
from processor.core.state import RunState

from .scripted import DOWN, ID, NOW, RUN, SEED, STARTED, Scripted, context, state

ADA = EntityId("order", "ada")
AT = ADA.workflow_id
CALLER = Caller(Address(None, "w-1"), "run-9", 4)
OTHER = Caller(Address(None, "w-2"), "run-8", 1)
ORIGIN = Origin(bytes(16), 1, 2, 3)
ASKS = begins(ADA, LockEntity())
REQUESTED, GRANTED = LockRequested(CALLER), LockGranted(CALLER, NOW)
HELD = (REQUESTED, GRANTED)


def entity(*history: Event) -> RunState:
    folded = RunState(AT, RUN)
    for each in (WorkflowStarted("order", None, SEED), *history):
        evolve(folded, each, NOW)
    return folded


def decided(
    body: Request,
    *history: Event,
    caller: Caller | None = CALLER,
    asks: list[Decision] | None = None,
    unread: int = 0,
    run: RunState | None = None,
) -> Outcome:
    run = entity(*history) if run is None else run
    code = Scripted([asks or []], unread_events=[EventReceived("x")] * unread)
    cause = ClientRequest("c", 1) if caller is None else ORIGIN
    command = ClientCommand(run.workflow_id, body, cause, caller=caller)
    return decide(command, Instance(run, code), run.summary(), "run-2", context())


def told(outcome: Any, caller: Caller = CALLER) -> Message:
    return Message(caller.address.workflow_id, AnswerCall(caller.run_id, caller.call, outcome))


def events(outcome: Outcome) -> list[Event]:
    (draft,) = outcome.drafts
    return draft.events


# --- what an entity grants --------------------------------------------------------------------


def test_a_lock_begins_an_entity_and_is_told_once() -> None:
    command = ClientCommand(AT, ASKS, ORIGIN, caller=CALLER)
    outcome = decide(command, None, None, RUN, context([GRANTED]))
    (draft,) = outcome.drafts
    assert [type(each) for each in draft.events] == [WorkflowStarted, LockRequested, LockGranted]
    assert told(Locked(NOW)) in draft.effects and outcome.answer is None
    assert draft.run.lock == HeldLock(CALLER, NOW, NOW) and not draft.run.callers
    assert not taken(CallRequest(ORIGIN, CALLER), draft.run, draft.events), "the grant tells it"


def test_a_lock_waits_in_an_entity_that_is_there() -> None:
    outcome = decided(ASKS, REQUESTED, GRANTED, caller=OTHER)
    assert events(outcome) == [LockRequested(OTHER)]
    (draft,) = outcome.drafts
    assert draft.run.waits_for_lock() == (OTHER,) and draft.run.holds(CALLER)
    assert not taken(CallRequest(ORIGIN, OTHER), draft.run, draft.events)


PARKED = RunParked("bug", "error", "", "")


@pytest.mark.parametrize(
    ("history", "caller", "unread", "why"),
    [
        ((), None, 0, "is held by a run: lock it in a workflow"),
        ((PARKED,), CALLER, 0, "is parked, so its lock is given to nobody"),
        ((), CALLER, 10_000, "has 10,000 events"),
        (HELD, CALLER, 0, "has asked entity '@order@ada' before"),
        ((REQUESTED,), CALLER, 0, "has asked entity '@order@ada' before"),
    ],
)
def test_who_is_not_let_wait(
    history: tuple[Event, ...], caller: Caller | None, unread: int, why: str
) -> None:
    outcome = decided(ASKS, *history, caller=caller, unread=unread)
    assert not outcome.drafts
    assert isinstance(outcome.answer, Refused) and outcome.answer.error == "CommandRejected"
    assert why in outcome.answer.message


def test_only_so_many_wait() -> None:
    many = [AnswerAwaited(replace(OTHER, call=number), "result") for number in range(10_000)]
    outcome = decided(ASKS, *many)
    assert isinstance(outcome.answer, Refused) and "10,000 runs that wait" in outcome.answer.message


def test_nothing_but_an_entity_has_a_lock() -> None:
    outcome = decided(LockEntity(), run=state())
    assert isinstance(outcome.answer, Refused) and "is no entity" in outcome.answer.message
    nobody = decide(ClientCommand(AT, ASKS, ClientRequest("c", 1)), None, None, RUN, context())
    assert isinstance(nobody.answer, Refused) and not nobody.drafts


def test_whoever_waits_for_a_lock_waits_for_nothing_else() -> None:
    outcome = decided(AwaitValue("v"), REQUESTED)
    assert isinstance(outcome.answer, Refused) and "waits for the lock" in outcome.answer.message


def test_numbers_grow_with_the_time_and_within_it() -> None:
    assert next_number(0, NOW) == NOW, "also where an entity begins anew"
    assert next_number(NOW, NOW) == NOW + 1
    assert next_number(NOW + 5, NOW + 2) == NOW + 6


# --- what frees it ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "history", "event"),
    [
        (GiveUpCall(CALLER), HELD, LockFreed(NOW)),
        (GiveUpCall(CALLER), (REQUESTED,), LockWithdrawn(CALLER)),
        (GiveUpCall(OTHER), (*HELD, LockRequested(OTHER)), LockWithdrawn(OTHER)),
        (GiveUpCall(OTHER), HELD, None),
        (GiveUpCall(replace(CALLER, call=5)), HELD, None),
        (UnlockEntity("stuck"), HELD, LockFreed(NOW, "stuck")),
        (UnlockEntity(), HELD, LockFreed(NOW, "an operator freed it")),
        (UnlockEntity(number=NOW), HELD, LockFreed(NOW, "an operator freed it")),
        (UnlockEntity(number=NOW + 1), HELD, None),
        (UnlockEntity(), (REQUESTED,), None),
        (UnlockEntity(), (), None),
        (GiveUpCall(CALLER), (*HELD, PARKED), LockFreed(NOW)),
    ],
)
def test_what_frees_a_lock(body: Request, history: tuple[Event, ...], event: Event | None) -> None:
    outcome = decided(body, *history, caller=None)
    if event is None:
        assert not outcome.drafts
        assert isinstance(outcome.answer, Accepted) and not outcome.answer.created
    else:
        assert events(outcome) == [event]


def test_what_is_freed_counts_once() -> None:
    for again in (GiveUpCall(CALLER), UnlockEntity()):
        assert not decided(again, *HELD, LockFreed(NOW), caller=None).drafts


def test_an_entity_that_ends_tells_those_who_wait_for_its_lock() -> None:
    run = entity(*HELD, LockRequested(OTHER))
    effects = [*WorkflowTerminated("enough").effects(run, NOW)]
    (answer,) = [each for each in effects if isinstance(each, Message)]
    assert answer.workflow_id == "w-2" and isinstance(answer.body, AnswerCall)
    refused = answer.body.outcome
    assert isinstance(refused, Refused) and "before it was locked" in refused.message


# --- calls of the holder ----------------------------------------------------------------------


def test_the_holder_calls_under_its_number() -> None:
    outcome = decided(CallUnderLock("u-1", "deposit", b"[5]", number=NOW), *HELD)
    waits, called = events(outcome)
    assert isinstance(waits, AnswerAwaited)
    assert called == HolderCalled("u-1", "deposit", b"[5]", validated=True, number=NOW)
    full = decided(CallUnderLock("u-1", "deposit", b"[5]", number=NOW), *HELD, unread=10_000)
    assert full.drafts, "what waits for the lock does not keep its holder out"


@pytest.mark.parametrize(
    ("history", "number", "caller", "says"),
    [
        ((*HELD, LockFreed(NOW)), NOW, CALLER, "nobody holds it now"),
        ((), NOW, CALLER, "nobody holds it now"),
        (HELD, NOW - 1, CALLER, f"run run-9 of 'w-1' holds it now, under number {NOW}"),
        (HELD, NOW, OTHER, "run run-9 of 'w-1' holds it now"),
        (HELD, NOW, replace(CALLER, run_id="run-10"), "run run-9 of 'w-1' holds it now"),
    ],
)
def test_a_call_under_a_grant_that_was_freed_is_refused(
    history: tuple[Event, ...], number: int, caller: Caller, says: str
) -> None:
    outcome = decided(CallUnderLock("u-1", "do", None, number=number), *history, caller=caller)
    assert not outcome.drafts
    assert isinstance(outcome.answer, Refused) and outcome.answer.error == "LockLost"
    assert says in outcome.answer.message and str(number) in outcome.answer.message


# --- the run that asks ------------------------------------------------------------------------

CALLED = LockCalled(7, Address(None, AT))
OWN = Caller(Address(None, ID), RUN, 7)
GIVES_BACK = Message(AT, GiveUpCall(OWN))
NEXT = Successor("run-2", STARTED)


def test_a_run_asks_and_gives_back() -> None:
    assert [*CALLED.effects(state(), NOW)] == [Message(AT, ASKS, OWN)]
    held = state(CALLED, LockAnswered(7, Locked(5)))
    assert held.locks[7].number == 5
    assert [*LockReleased(7).effects(held, NOW)] == [GIVES_BACK]
    assert not state(CALLED, LockAnswered(7, Locked(5)), LockReleased(7)).locks
    assert not state(CALLED, LockAnswered(7, Refused("CommandRejected", "no"))).locks


@pytest.mark.parametrize("history", [(CALLED,), (CALLED, LockAnswered(7, Locked(5)))])
@pytest.mark.parametrize(
    "end",
    [
        WorkflowCompleted(None),
        WorkflowFailed(DOWN),
        WorkflowFailed(DOWN, successor=NEXT),
        WorkflowCancelled("enough"),
        WorkflowTerminated("enough"),
        WorkflowTimedOut(5),
        WorkflowContinued(NEXT),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_end_of_a_run_frees_what_it_holds_or_waits_for(
    history: tuple[Event, ...], end: Event
) -> None:
    run = state(*history)
    assert [*end.effects(run, NOW)].count(GIVES_BACK) == 1
    given_back = state(*history, LockReleased(7))
    assert GIVES_BACK not in [*end.effects(given_back, NOW)]


@pytest.mark.parametrize(
    ("history", "outcome", "fact"),
    [
        ((CALLED,), Locked(5), LockAnswered(7, Locked(5))),
        ((CALLED,), Refused("X", "no"), LockAnswered(7, Refused("X", "no"))),
        ((CALLED, LockAnswered(7, Locked(5))), Locked(6), None),
        ((CALLED, LockReleased(7)), Locked(5), None),
        ((), Locked(5), None),
    ],
)
def test_an_answer_counts_once(history: tuple[Event, ...], outcome: Any, fact: Any) -> None:
    assert state(*history).answered(7, outcome) == fact


def test_what_is_no_answer_to_a_lock() -> None:
    unfit = state(CALLED).answered(7, Accepted("run-2"))
    assert isinstance(unfit, Refused) and "for the lock of '@order@ada'" in unfit.message
    assert state(CALLED).has_more_than_an_image


# --- the snapshot -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        (REQUESTED, GRANTED, LockRequested(OTHER)),
        (REQUESTED, GRANTED, LockFreed(NOW), LockRequested(OTHER)),
    ],
)
def test_a_snapshot_holds_the_lock(history: tuple[Event, ...]) -> None:
    run = entity(*history)
    first = run.events - 1
    turn = Turn(AT, RUN, 0, first, NOW, "commands", Positions(), 0, None, history[-1:])
    waits = LockRequested(OTHER), HolderCalled("u-1", "do", None, True, number=NOW)
    code = EntityCode(b"{}", waits, locked=run.lock is not None, lock_number=NOW)
    found = snapshot_of(turn, run, code, whole=True)
    read = decode(encode(found))
    assert read == found and isinstance(read, EntitySnapshot)
    again = state_of(read)
    assert (again.lock, again.lock_number) == (run.lock, NOW)
    assert again.waits_for_lock() == (OTHER,)
    assert kept_in(read) == code._replace(at_ms=NOW)


def test_a_draft_of_a_parked_entity_keeps_what_was_freed_for_its_code() -> None:
    run = entity(*HELD, PARKED)
    instance = Instance(run, Scripted([]))
    draft = Draft(instance, context())
    GiveUpCall(CALLER).decide(draft, run.summary())
    assert instance.pending == [LockFreed(NOW)]
    assert not any(isinstance(each, UpdateAccepted) for each in draft.events)


# --- deltas -----------------------------------------------------------------------------------

CALL, SIGNAL = UpdateAccepted("u-1", "do", None, True), EventReceived("do")
UNDER = HolderCalled("u-2", "do", None, True, number=NOW)
UNDER_TOO = replace(UNDER, id="u-3")
BY_OTHER = LockRequested(OTHER)


@pytest.mark.parametrize(
    ("before", "since", "waiting", "locked"),
    [
        ((CALL,), (SIGNAL,), (CALL, SIGNAL), False),
        ((CALL,), (SIGNAL, UpdateCompleted("u-1")), (SIGNAL,), False),
        ((SIGNAL, REQUESTED), (GRANTED, BY_OTHER), (BY_OTHER,), True),
        ((BY_OTHER, CALL), (REQUESTED, LockWithdrawn(OTHER)), (CALL, REQUESTED), False),
        ((REQUESTED, CALL), (BY_OTHER, LockWithdrawn(OTHER)), (REQUESTED, CALL), False),
        ((BY_OTHER, CALL), (UNDER,), (UNDER, BY_OTHER, CALL), False),
        ((BY_OTHER,), (UNDER, UNDER_TOO, UpdateCompleted("u-2")), (UNDER_TOO, BY_OTHER), False),
        ((UNDER, CALL), (UpdateCompleted("u-2"), LockFreed(NOW)), (CALL,), False),
        ((REQUESTED, SIGNAL), (GRANTED, LockFreed(NOW)), (SIGNAL,), False),
    ],
)
def test_a_delta_says_what_waits(
    before: tuple[Any, ...], since: tuple[Event, ...], waiting: tuple[Any, ...], locked: bool
) -> None:
    run = entity()
    turn = Turn(AT, RUN, 0, 0, NOW, "commands", Positions(), 0, None, (run.started,))
    found = snapshot_of(turn, run, EntityCode(b"{}", before), whole=True)
    assert isinstance(found, EntitySnapshot)
    known = {field.name: getattr(turn, field.name) for field in fields(Turn)}
    last = EntityDelta(**{**known, "events": since}, value=b"1", waiting=len(waiting))
    kept = kept_in(found, [last])
    assert isinstance(kept, EntityCode)
    assert (kept.queue, kept.locked) == (waiting, locked)
    assert kept.lock_number == (NOW if GRANTED in since else 0)
