"""Key and value together are what a topic takes: whatever does not fit ends at its own record."""

from __future__ import annotations

import asyncio
import os

import pytest

from processor.codec.records import decode_as, encode
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.external import RaiseEvent
from processor.core.records.answers import Closed, Page, Refused
from processor.core.records.effects import DeadLetter, Message, Reply
from processor.errors import PayloadTooLarge
from processor.kafka.clients.connection import partition_of
from processor.kafka.gateway import KafkaGateway
from processor.kafka.shards.outbox import MessageNotSent
from processor.shard.ports import ShardPorts

from .harness import PARTITIONS, Adapters, set_config, until

MB = 1_000_000


def letters(kafka: Adapters, count: int) -> list[DeadLetter]:
    found = kafka.records(kafka.topic("dead-letters"), count)
    return [decode_as(DeadLetter, message.value() or b"") for message in found]


def commands(kafka: Adapters, count: int) -> list[ClientCommand]:
    found = kafka.records(kafka.topic("commands"), count, PARTITIONS)
    return [decode_as(ClientCommand, message.value() or b"") for message in found]


def send(ports: ShardPorts, number: int, message: Message) -> None:
    ports.outbox.send(message, number, Origin(ports.log.id, 0, number, 0))


@pytest.mark.parametrize(("id_bytes", "payload"), [(1_100_000, 950_000), (1_050_000, 0)])
def test_a_message_is_measured_with_its_key(kafka: Adapters, id_bytes: int, payload: int) -> None:
    """The workflow id is in it twice, as the key and in the value."""
    ports = kafka.open()
    target = "x" * id_bytes
    send(ports, 1, Message(target, RaiseEvent("paid", os.urandom(payload))))
    send(ports, 2, Message("next", RaiseEvent("paid", b"1")))
    tokens: list[int] = []

    def both_there() -> bool:
        tokens.extend(ports.outbox.delivered())
        return sorted(tokens) == [1, 2]

    until(both_there, "tokens")
    (letter,) = letters(kafka, 1)
    assert letter.topic == "commands" and letter.partition == partition_of(target, PARTITIONS)
    assert "bytes to another instance; the limit is 2,000,000" in letter.reason
    assert [command.workflow_id for command in commands(kafka, 1)] == ["next"]


def test_a_caller_is_told_of_an_answer_that_is_too_large(kafka: Adapters) -> None:
    ports = kafka.open()
    large = AnswerCall("run", 3, Closed("other", "completed", os.urandom(2_100_000)))
    send(ports, 1, Message("w", large))
    until(lambda: list(ports.outbox.delivered()) == [1], "the answer")
    (command,) = commands(kafka, 1)
    assert isinstance(command.body, AnswerCall) and command.cause is not None
    assert isinstance(command.body.outcome, Refused)
    assert command.body.outcome.error == "PayloadTooLarge"
    assert "in the history of the workflow that was called" in command.body.outcome.message


def test_a_message_that_its_topic_refuses_is_a_letter_once_the_shard_is_taken_over(
    kafka: Adapters,
) -> None:
    set_config(kafka.admin, kafka.topic("commands"), "max.message.bytes", "2000")
    ports = kafka.open()
    large = Message("w", RaiseEvent("large", os.urandom(10_000)))
    send(ports, 1, large)

    def refused() -> bool:
        try:
            ports.outbox.delivered()
        except MessageNotSent:
            return True
        return False

    until(refused, "the refusal")
    again = kafka.open()
    send(again, 1, large)
    send(again, 2, Message("w", RaiseEvent("small", b"1")))
    tokens: list[int] = []

    def both_there() -> bool:
        tokens.extend(again.outbox.delivered())
        return sorted(tokens) == [1, 2]

    until(both_there, "tokens")
    (letter,) = letters(kafka, 1)
    assert "max.message.bytes" in letter.reason
    assert decode_as(ClientCommand, letter.value or b"").body == large.body
    assert [command.body for command in commands(kafka, 1)] == [RaiseEvent("small", b"1")]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"k" * 1_900_000, os.urandom(2_090_000), "no"),
        (os.urandom(1_900_000), None, "ids 'a' and 'b': " + "ü" * 4 * MB),
        (b"k", b"v", "caf\udce9"),
    ],
    ids=["key and value", "reason", "half a character"],
)
def test_a_dead_letter_fits_whatever_is_in_it(
    kafka: Adapters, key: bytes, value: bytes | None, reason: str
) -> None:
    ports = kafka.open()
    ports.outbox.send(DeadLetter("commands", 0, 1, key, value, reason), -1)
    until(lambda: list(ports.outbox.delivered()) == [-1], "the letter")
    (letter,) = letters(kafka, 1)
    assert key.startswith(letter.key or b"") and letter.reason[:2] == reason[:2]


def test_an_answer_that_does_not_fit_is_told_to_who_asked(kafka: Adapters) -> None:
    ports = kafka.open()
    to = ReplyTo(0, "client", 1)
    ports.outbox.reply(Reply(to, Page(os.urandom(2_100_000))))
    (message,) = kafka.records(kafka.topic("replies"), 1, PARTITIONS)
    body = decode_as(Reply, message.value() or b"").body
    assert isinstance(body, Refused) and body.error == "PayloadTooLarge"
    assert "the limit is 2,000,000" in body.message


def test_a_command_is_measured_with_its_key(kafka: Adapters) -> None:
    async def ask() -> None:
        gateway = KafkaGateway(kafka.connection, Settings())
        await gateway.start()
        try:
            command = ClientCommand("x" * 1_050_000, RaiseEvent("paid"))
            assert len(encode(command)) < 2 * MB
            with pytest.raises(PayloadTooLarge, match=r"1,050,000 are its key, the workflow id"):
                await gateway.request(command, timeout_s=5)
        finally:
            await gateway.close()

    asyncio.run(ask())
