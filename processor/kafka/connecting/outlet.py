"""Sends what records ask for, in order, and buries those that cannot be used, once."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from processor.codec.records import encode
from processor.errors import ProcessorError
from processor.kafka.clients.bounded import let_go, send_positions
from processor.kafka.clients.connection import COMMAND_BYTES_MAX, KafkaSettings
from processor.kafka.clients.faults import MISSING, TOO_LARGE, made
from processor.kafka.clients.sending import fitting
from processor.kafka.connecting.letters import Buried

__all__ = ("Command", "NotSent", "Outlet")

_log = logging.getLogger("processor.connect")

_CALL_S: Final = 30.0
_POSITIONS_S: Final = 10.0
_LOOK_S: Final = 0.5
_SILENT_S: Final = 20.0
"""No command was acknowledged for so long: its producer may wait for ever, and another one tries.

librdkafka's may, after a broker's restart.
"""
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
        left, heard_s = len(self._producer), monotonic()
        while (now_left := self._producer.flush(_LOOK_S)) and not self._refused:
            if now_left < left:
                left, heard_s = now_left, monotonic()
            self._go_on_waiting(self._commands, heard_s)
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
            send_positions(producer, places, member, _POSITIONS_S)
            producer.commit_transaction(_CALL_S)
        except KafkaException as error:
            cause = self._refused[0] if self._refused else error.args[0]
            if cause.code() in TOO_LARGE:
                self._letter_bytes = max(self._letter_bytes // 4, _LETTER_LEAST)
            raise self._not_sent(self._dead_letters, cause) from error

    def renew(self) -> None:
        """Begin again after an error, with nothing on its way. Blocks."""
        self.close()
        self._refused = []
        if self._letters is not None:
            self._letters = None
            with suppress(KafkaException):  # tried again with the next letter
                self._transactional()  # ends what the one before left open
        self._producer = self._new_producer()

    def close(self) -> None:
        """Give up what is on its way."""
        for each in filter(None, (self._producer, self._letters)):
            each.purge(blocking=False)
            let_go(each)

    def _new_producer(self) -> Producer:
        """Return a producer that writes nothing behind a record that was refused."""
        return made(Producer, self._connection.log_producer())

    def _transactional(self) -> Producer:
        if self._letters is None:
            found = made(Producer, self._connection.transactional_producer(self._name))
            found.init_transactions(_CALL_S)
            self._letters = found
        return self._letters

    def _go_on_waiting(self, topic: str, heard_s: float) -> None:
        """Raise ``NotSent`` where the end comes, or nothing was heard for too long."""
        if self._stopping():
            raise NotSent(f"{topic} did not answer before the end")
        if monotonic() - heard_s > _SILENT_S:
            raise NotSent(
                f"{topic} has acknowledged nothing for {_SILENT_S:g} s. What was sent is sent "
                "again until it is taken"
            )

    def _produce(
        self, producer: Producer, topic: str, value: bytes, key: bytes, headers: Any = ()
    ) -> None:
        refused, begun_s = self._refused, monotonic()

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                refused.append(error)

        while not refused:
            try:
                producer.produce(topic, value, key, on_delivery=delivered, headers=list(headers))
                return
            except BufferError:
                producer.poll(_LOOK_S)
                self._go_on_waiting(topic, begun_s)
            except KafkaException as error:
                refused.append(error.args[0])

    def _not_sent(self, topic: str, error: KafkaError) -> NotSent:
        remedy = "It is sent again until it is taken"
        if error.code() in MISSING:
            name = self._connection.namespace
            remedy = f"The topic is missing: run `processor topics apply --namespace {name}`"
        elif error.code() in TOO_LARGE:
            remedy = "Give the topic the max.message.bytes of `processor topics apply`"
        return NotSent(f"sending to {topic} failed ({error.name()}: {error.str()}). {remedy}")
