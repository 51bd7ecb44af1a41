"""Sends what records ask for, in order, and buries those that cannot be used, once."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from processor.codec.records import encode
from processor.errors import ProcessorError
from processor.kafka.clients.connection import COMMAND_BYTES_MAX, KafkaSettings
from processor.kafka.clients.faults import MISSING, TOO_LARGE, made
from processor.kafka.clients.sending import fitting
from processor.kafka.connecting.letters import Buried

__all__ = ("Command", "NotSent", "Outlet")

_log = logging.getLogger("processor.connect")

_CALL_S: Final = 30.0
_LOOK_S: Final = 0.5
_LETTER_LEAST: Final = 1_000


class NotSent(ProcessorError):
    """What a connection sends was not taken; it is sent again."""


class Command(NamedTuple):
    """A record for ``commands``: its key is the workflow id."""

    key: bytes
    value: bytes


class Outlet:
    """``stopping`` ends waits for a broker that is away. One thread calls all of it.

    Commands of a batch are acknowledged before its positions are committed: whoever reads from
    there sends no later command before an earlier one. A dead letter is in one transaction with
    the position behind its record, which the group refuses from whoever is no member any more.
    """

    def __init__(self, connection: KafkaSettings, group: str, stopping: Callable[[], bool]) -> None:
        self._connection = connection
        self._commands = connection.topic("commands")
        self._dead_letters = connection.topic("dead-letters")
        self._stopping = stopping
        self._name = connection.topic(f"connect.{group}.{uuid.uuid4().hex[:12]}")
        self._letter_bytes = COMMAND_BYTES_MAX
        self._letters: Producer | None = None
        self._refused: list[KafkaError] = []
        self._producer = self._new_producer()

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands, and wait until all are acknowledged. Raises ``NotSent``. Blocks."""
        if not commands:
            return
        for key, value in commands:
            self._produce(self._producer, self._commands, value, key)
        while self._producer.flush(_LOOK_S) and not self._refused:
            if self._stopping():
                raise NotSent(f"{self._commands} did not answer before the end")
        if self._refused:
            raise self._not_sent(self._commands, self._refused[0])

    def bury(self, letters: Sequence[Buried], places: list[TopicPartition], member: Any) -> None:
        """Write dead letters and commit positions, together. Raises ``NotSent``. Blocks."""
        try:
            producer = self._transactional()
            producer.begin_transaction()
            for letter, headers in letters:
                key = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
                value = encode(fitting(letter, self._letter_bytes))
                self._produce(producer, self._dead_letters, value, key, headers)
            if self._refused:
                raise KafkaException(self._refused[0])
            producer.send_offsets_to_transaction(places, member, _CALL_S)
            producer.commit_transaction(_CALL_S)
        except KafkaException as error:
            cause = self._refused[0] if self._refused else error.args[0]
            if cause.code() in TOO_LARGE:
                self._letter_bytes = max(self._letter_bytes // 4, _LETTER_LEAST)
            raise self._not_sent(self._dead_letters, cause) from error

    def renew(self) -> None:
        """Begin again after an error, with nothing on its way. Blocks."""
        self._let_go(self._producer)
        if self._letters is not None:
            self._let_go(self._letters)
            self._letters = None
            with suppress(KafkaException):  # tried again with the next letter
                self._transactional()  # ends what the one before left open
        self._refused.clear()
        self._producer = self._new_producer()

    def close(self) -> None:
        self._let_go(self._producer)
        if self._letters is not None:
            self._let_go(self._letters)

    def _new_producer(self) -> Producer:
        """Return a producer that writes nothing behind a record that was refused."""
        return made(Producer, self._connection.log_producer())

    def _transactional(self) -> Producer:
        if self._letters is None:
            found = made(Producer, self._connection.transactional_producer(self._name))
            found.init_transactions(_CALL_S)
            self._letters = found
        return self._letters

    def _let_go(self, producer: Producer) -> None:
        """Give up what a producer has; its thread ends with it."""
        producer.purge()
        producer.flush(_LOOK_S)

    def _produce(
        self, producer: Producer, topic: str, value: bytes, key: bytes, headers: Any = ()
    ) -> None:
        while not self._refused:
            try:
                producer.produce(
                    topic, value, key, on_delivery=self._delivered, headers=list(headers)
                )
                return
            except BufferError:
                producer.poll(_LOOK_S)
                if self._stopping():
                    raise NotSent(f"{topic} did not answer before the end") from None
            except KafkaException as error:
                self._refused.append(error.args[0])

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._refused.append(error)

    def _not_sent(self, topic: str, error: KafkaError) -> NotSent:
        remedy = "It is sent again until it is taken"
        if error.code() in MISSING:
            name = self._connection.namespace
            remedy = f"The topic is missing: run `processor topics apply --namespace {name}`"
        elif error.code() in TOO_LARGE:
            remedy = "Give the topic the max.message.bytes of `processor topics apply`"
        return NotSent(f"sending to {topic} failed ({error.name()}: {error.str()}). {remedy}")
