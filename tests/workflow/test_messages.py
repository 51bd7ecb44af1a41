"""Messages that are awaited, fact by fact: what the code decides when the answer comes late."""

from __future__ import annotations

import asyncio

import pytest

from processor import workflow
from processor.core.data.address import Address
from processor.core.nouns.call import CallAnswered, CallSent, MessageRejected
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.stop import CancelRun
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
