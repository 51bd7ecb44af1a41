"""What is told in the transaction of a dead letter that stands in for a message abroad."""

from __future__ import annotations

from typing import get_args

import pytest

from processor.codec.records import decode_as
from processor.core.data.address import Address, Caller
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.awaited import GiveUpCall
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.child import EndChild
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartChild
from processor.core.operation import Operation
from processor.core.records.answers import Accepted, Refused
from processor.core.records.effects import Message, Publish
from processor.node.publishing.faults import Kind
from processor.node.publishing.telling import told_beside
from processor.node.publishing.undeliverable import Letter
from processor.shard.messages.border import Border

CALLER = Caller(Address(None, "order-1"), "run-1", 4)
ORIGIN = Origin(bytes(16), 1, 2, 3)
ERRORS = {
    "missing": "NamespaceNotFound",
    "forbidden": "NamespaceForbidden",
    "too large": "PayloadTooLarge",
    "invalid": "CommandRejected",
    "invalid record": "CommandRejected",
    "timed out": "ShardUnavailable",
    "other": "ShardUnavailable",
}


def letter(body: Operation, caller: Caller | None, kind: Kind) -> Letter:
    record = Border("shop").record(Message("charge-1", body, caller, "billing"), ORIGIN)
    return Letter((7, 0), record, record.topic, f"it is {kind}", kind, 10_000)


@pytest.mark.parametrize("kind", ERRORS)
def test_whoever_waits_is_told_on_the_own_topic_why_nobody_answers(kind: Kind) -> None:
    assert kind in get_args(Kind)
    told = told_beside(letter(StartChild("charge"), CALLER, kind), "shop.commands")
    assert told is not None and (told.topic, told.key) == ("shop.commands", b"order-1")
    assert told.value is not None
    refused = Refused(ERRORS[kind], f"it is {kind}")
    assert decode_as(ClientCommand, told.value) == ClientCommand(
        "order-1", AnswerCall("run-1", 4, refused)
    )


@pytest.mark.parametrize("kind", ERRORS)
def test_the_other_namespace_is_told_of_an_answer_that_is_too_large_and_else_nobody(
    kind: Kind,
) -> None:
    outcome = Accepted("run-2")
    told = told_beside(letter(AnswerCall("run-1", 4, outcome), None, kind), "shop.commands")
    if kind != "too large":
        assert told is None
        return
    assert told is not None and (told.topic, told.key) == ("billing.commands", b"charge-1")
    assert told.value is not None
    command = decode_as(ClientCommand, told.value)
    assert command.cause == ORIGIN, "it is the same message, so it counts once"
    assert isinstance(command.body, AnswerCall) and isinstance(command.body.outcome, Refused)
    assert command.body.outcome.error == "PayloadTooLarge"
    assert command.body.outcome.message.startswith("the answer is it is too large. It stands in ")


def test_a_refusal_that_is_too_large_is_told_to_nobody() -> None:
    body = AnswerCall("run-1", 4, Refused("CommandRejected", "no"))
    assert told_beside(letter(body, None, "too large"), "shop.commands") is None


@pytest.mark.parametrize(
    "body", [RaiseEvent("paid"), GiveUpCall(CALLER), EndChild(CALLER, "cancel", "")]
)
def test_nothing_is_told_of_what_nobody_waits_for(body: Operation) -> None:
    assert told_beside(letter(body, None, "missing"), "shop.commands") is None


def test_nothing_is_told_of_a_record_of_the_user() -> None:
    record = Publish("orders", b"k", b"v", workflow_id="order-1", run_id="run-1")
    found = Letter((7, 0), record, "orders", "it is missing", "missing", 10_000)
    assert told_beside(found, "shop.commands") is None
