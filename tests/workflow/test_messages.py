"""Messages that are awaited, fact by fact: what the code decides when the answer comes late."""

from __future__ import annotations

import asyncio

import pytest

from processor import workflow
from processor.core.data.address import Address
from processor.core.nouns.call import CallAnswered, CallGivenUp, CallSent, MessageRejected
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.promise import PromiseMade, PromiseSettled
from processor.core.nouns.run import WorkflowCompleted
from processor.core.nouns.stop import CancelRun
from processor.core.nouns.timer import TimerFired
from processor.core.records.answers import Accepted, Refused

from .driver import World

TO = Address(None, "other")
REFUSED = Refused("WorkflowNotFound", "no run of workflow id 'other'")


@workflow.define
async def does_not_wait_long(kind: str) -> str:
    try:
        async with asyncio.timeout(10):
            if kind == "event":
                await workflow.signal("other", "go", 1)
            else:
                await workflow.cancel("other", "enough")
    except TimeoutError:
        await workflow.wait_for_event("end")
    return "over"


@pytest.mark.parametrize(
    ("kind", "operation", "name", "payload"),
    [("event", RaiseEvent("go", b"1"), "go", b"1"), ("cancel", CancelRun("enough"), "", None)],
)
def test_a_refusal_that_comes_too_late_is_decided_once(
    kind: str, operation: RaiseEvent | CancelRun, name: str, payload: bytes | None
) -> None:
    world = World(does_not_wait_long, (kind,))
    assert world.start()[1] == CallSent(2, TO, operation)
    assert world.fire(1) == []
    reason = f"WorkflowNotFound: {REFUSED.message}"
    rejected = MessageRejected(2, TO, name, payload, reason)
    assert world.feed(CallAnswered(2, REFUSED)) == [rejected]
    world.event("end", None)
    world.replay()


def test_an_acceptance_that_comes_too_late_is_nothing_to_tell_of() -> None:
    world = World(does_not_wait_long, ("event",))
    world.start()
    world.fire(1)
    assert world.feed(CallAnswered(2, Accepted("run-9"))) == []


@workflow.define
async def gives_up(times: int) -> None:
    other = workflow.handle("other")
    for _ in range(times):
        unsent = asyncio.create_task(other.value("never"))
        await asyncio.sleep(0)
        unsent.cancel()
        try:
            async with asyncio.timeout(10):
                await other.value("never")
        except TimeoutError:
            continue


@workflow.define
async def makes_promises(times: int) -> int:
    return sum([await workflow.promise(int) for _ in range(times)])


def test_promises_that_are_settled_are_open_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.workflow._nouns.promise._OPEN_MAX", 1)
    world = World(makes_promises, (3,))
    assert world.start() == [PromiseMade(1)]
    assert world.feed(PromiseSettled(1, b"4")) == [PromiseMade(2)]
    assert world.feed(PromiseSettled(2, b"5")) == [PromiseMade(3)]
    assert world.feed(PromiseSettled(3, b"6")) == [WorkflowCompleted(b"15")]
    world.replay()


def test_nothing_is_kept_of_questions_that_are_given_up() -> None:
    world = World(gives_up, (100,))
    world.start()
    for _ in range(50):
        assert len(world.runner._runtime.open) == 1
        world.fire(min(world.timers))
    world.replay()


@workflow.define
async def asks_for_ten_seconds(verb: str) -> str:
    other = workflow.handle("other", namespace="billing")
    try:
        async with asyncio.timeout(10):
            match verb:
                case "signal" | "cancel" | "terminate" | "query" | "update" | "value":
                    await getattr(other, verb)("x")
                case "shielded":
                    await asyncio.shield(asyncio.gather(other.signal("x"), other.cancel()))
                case "result":
                    await other.result()
                case _:
                    start = workflow.signal_with_start
                    await start("w", id="other", signal=("x",), namespace="billing")
    except TimeoutError:
        await workflow.wait_for_event("end")
    return "over"


@pytest.mark.parametrize(
    ("verb", "sent"),
    [
        *((verb, 1) for verb in ("signal", "cancel", "terminate", "query", "update", "value")),
        *((verb, 1) for verb in ("result", "signal_with_start")),
        ("shielded", 0),
    ],
)
def test_a_time_limit_leaves_nothing_of_a_call_that_nobody_answers(verb: str, sent: int) -> None:
    """``shielded`` goes on waiting, as asyncio has it."""
    world = World(asks_for_ten_seconds, (verb,))
    world.start()
    given_up = [each for each in world.fire(1) if isinstance(each, CallGivenUp)]
    assert len(given_up) == sent
    assert bool(world.runner._runtime.open) == (verb == "shielded")
    world.event("end", None)
    world.replay()


@pytest.mark.parametrize("told", [REFUSED, Accepted("run-9")], ids=["refused", "accepted"])
def test_an_answer_that_comes_as_the_code_gives_up_is_heard(told: Refused | Accepted) -> None:
    world = World(asks_for_ten_seconds, ("signal",))
    world.start()
    decided = world.feed(TimerFired(1), CallAnswered(2, told))
    assert [type(each) for each in decided] == [MessageRejected] * isinstance(told, Refused)
    world.event("end", None)
    world.replay()
