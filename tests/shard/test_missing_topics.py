"""A shard whose runs publish to topics that do not exist: how long all others wait for that."""

from __future__ import annotations

from typing import Any

import pytest

from processor.codec.records import decode_as
from processor.core.data.address import Address, Caller
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartChild
from processor.core.records.answers import Closed, Refused
from processor.core.records.effects import DeadLetter, Message, Publish
from processor.node.publishing.faults import Asks, Fault, Kind, PublishingFailed, Refusal
from processor.node.publishing.outputs import Batch, Output, ShardOutputs
from processor.node.publishing.telling import told_beside
from processor.shard.messages.border import Border

from .outlets import OWN, Delays

MISSING = Fault("missing", "UNKNOWN_TOPIC_OR_PART", "there is none")
LOOK_S = 0.002


class Brokers:
    """Answer what a shard asks of topics, each in 2 ms; ``there`` are those that exist."""

    def __init__(self) -> None:
        self.now = 0.0
        self.there: set[str] = set()
        self.fault = MISSING
        self.outputs = ShardOutputs(0, "", OWN, lambda: self.now, Delays(), lambda: True)
        self.outputs.begin(0, self.now)

    def answer(self, steps: Asks) -> Any:
        try:
            asked = next(steps)
            while True:
                self.now += LOOK_S
                asked = steps.send(None if asked.topic in self.there else self.fault)
        except StopIteration as done:
            return done.value

    def batch_within(self, limit_s: float) -> Batch:
        """Return the first transaction that has something to write."""
        end = self.now + limit_s
        while self.now < end:
            batch = self.answer(self.outputs.batch(self.now, 50_000, 100_000_000))
            if batch is not None and batch.turns:
                return batch  # type: ignore[no-any-return]
            self.now += 1.0
        raise AssertionError(f"nothing was published within {limit_s} s")

    def letters(self, batch: Batch) -> list[DeadLetter | None]:
        found = self.outputs.outputs(batch)
        return [None if each.letter is None else each.letter.dead_letter() for each in found]


def record(topic: str) -> Publish:
    return Publish(topic, b"k", b"v", {}, "w", "run")


@pytest.mark.parametrize(("count", "limit_s"), [(1, 6), (200, 7), (900, 14), (5_000, 30)])
@pytest.mark.parametrize("in_one_turn", [True, False], ids=["in one turn", "in many"])
def test_topics_that_do_not_exist_are_waited_for_together_however_many_there_are(
    count: int, limit_s: float, in_one_turn: bool
) -> None:
    brokers = Brokers()
    brokers.there = {"there"}
    records = [record(f"t{number}") for number in range(count)] + [record("there")]
    for offset, turn in enumerate([records] if in_one_turn else [[each] for each in records]):
        brokers.outputs.publish(offset, turn)
    letters: list[DeadLetter | None] = []
    while len(letters) <= count:
        batch = brokers.batch_within(limit_s)
        letters += brokers.letters(batch)
        brokers.outputs.committed(batch, brokers.now)
    assert brokers.now < limit_s
    *missing, last = letters
    assert last is None, "what has a topic is no letter"
    assert all(each and "the topic does not exist" in each.reason for each in missing)


def test_a_topic_that_was_just_made_is_waited_for_though_many_are_missing() -> None:
    brokers = Brokers()
    brokers.outputs.publish(0, [record(f"t{number}") for number in range(1_500)])
    brokers.letters(batch := brokers.batch_within(60))
    brokers.outputs.committed(batch, brokers.now)
    brokers.now += 601
    brokers.outputs.publish(1, [record("new")])
    assert brokers.answer(brokers.outputs.batch(brokers.now, 100, 1_000)) is None
    brokers.there = {"new"}
    assert brokers.letters(brokers.batch_within(3)) == [None]


# --- messages to other namespaces ---------------------------------------------------------------

CALLER = Caller(Address(None, "order-1"), "run-1", 4)
START = Message("charge-1", StartChild("charge"), CALLER, "billing")
ANSWER = Message("w", AnswerCall("r", 2, Closed("run", "completed", b"1")), None, "billing")
SIGNAL = Message("w", RaiseEvent("paid", b"1"), None, "billing")


def letters_of(brokers: Brokers, *messages: Message) -> list[Output]:
    """Publish messages in one turn, and return what a transaction writes first."""
    border = Border("shop")
    origin = Origin(b"a log of 16 byte", 0, 0, 0)
    brokers.outputs.publish(0, [border.record(each, origin) for each in messages])
    return list(brokers.outputs.outputs(brokers.batch_within(31)))


def told(output: Output) -> ClientCommand | None:
    """Return what is told beside the letter of an output, and check where."""
    assert output.letter is not None, "it cannot be delivered"
    beside = told_beside(output.letter, "shop.commands")
    if beside is None:
        return None
    command = decode_as(ClientCommand, beside.value or b"")
    assert beside.key == command.workflow_id.encode()
    assert (beside.topic, command.cause) == ("shop.commands", None)
    return command


@pytest.mark.parametrize(
    ("kind", "error", "waits_s"),
    [
        ("missing", "NamespaceNotFound", 5),
        ("forbidden", "NamespaceForbidden", 0),
        ("other", "ShardUnavailable", 30),
    ],
)
def test_a_call_that_does_not_arrive_is_refused_beside_its_letter(
    kind: Kind, error: str, waits_s: int
) -> None:
    brokers = Brokers()
    brokers.fault = Fault(kind, "NAME", "so it is")
    [output] = letters_of(brokers, START)
    assert waits_s <= brokers.now <= waits_s + 2
    command = told(output)
    assert command is not None and command.workflow_id == "order-1"
    assert isinstance(command.body, AnswerCall)
    assert (command.body.run_id, command.body.call) == ("run-1", 4)
    outcome = command.body.outcome
    assert isinstance(outcome, Refused) and outcome.error == error
    assert "a message to 'charge-1' of namespace 'billing' cannot be delivered" in outcome.message
    assert output.letter is not None
    assert output.letter.dead_letter().topic == "billing.commands"


def test_what_nobody_waits_for_is_a_letter_alone() -> None:
    outputs = letters_of(Brokers(), SIGNAL, ANSWER)
    assert [told(each) for each in outputs] == [None, None]
    reasons = [each.letter.reason for each in outputs if each.letter is not None]
    assert all(each.startswith("a message to 'w' of namespace 'billing'") for each in reasons)


def test_a_namespace_that_is_made_in_time_gets_the_message() -> None:
    brokers = Brokers()
    border = Border("shop")
    brokers.outputs.publish(0, [border.record(START, Origin(b"a log of 16 byte", 0, 0, 0))])
    assert brokers.answer(brokers.outputs.batch(brokers.now, 100, 1_000)) is None
    brokers.now += 4
    brokers.there = {"billing.commands"}
    assert brokers.letters(brokers.batch_within(2)) == [None]


@pytest.mark.parametrize("message", [START, ANSWER], ids=["a start", "an answer"])
def test_what_the_other_topic_finds_too_large_is_told_to_whoever_waits(message: Message) -> None:
    brokers = Brokers()
    brokers.there = {"billing.commands"}
    [output] = letters_of(brokers, message)
    assert output.letter is None
    fault = Fault("too large", "MSG_SIZE_TOO_LARGE", "it takes less", aborts=True)
    refused = {0: [Refusal(output.place, output.record, fault)]}
    assert brokers.outputs.put_off(PublishingFailed(fault, refused), brokers.now)
    [again] = brokers.outputs.outputs(brokers.batch_within(2))
    assert again.letter is not None
    beside = told_beside(again.letter, "shop.commands")
    assert beside is not None
    assert beside.topic == ("billing.commands" if message is ANSWER else "shop.commands")
    body = decode_as(ClientCommand, beside.value or b"").body
    assert isinstance(body, AnswerCall) and isinstance(body.outcome, Refused)
    assert body.outcome.error == "PayloadTooLarge"
