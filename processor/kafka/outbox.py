"""The ``Outbox`` port: tasks, messages, due timers, dead letters and replies of one shard."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, assert_never

from confluent_kafka import KafkaError, Message

from processor.codec.records import encode
from processor.core.effects import ActivityTask, DeadLetter, Reply
from processor.core.effects import Message as Command
from processor.core.inputs import CancelRun, ClientCommand, Origin, RaiseEvent, TimerDue
from processor.kafka.connection import COMMAND_BYTES_MAX, partition_of
from processor.kafka.faults import MISSING, TOO_LARGE
from processor.kafka.producing import Delivered, Outgoing
from processor.shard.ports import OutputRecord, Sendable

if TYPE_CHECKING:
    from processor.kafka.publisher import ShardPublisher
    from processor.kafka.transport import KafkaTransport

__all__ = ("KafkaOutbox", "encode_dead_letter")

_log = logging.getLogger("processor.kafka")

_ANY_PARTITION = -1
_RETRY_S = 1.0
_SAY_EVERY_S = 30.0


class KafkaOutbox:
    def __init__(
        self,
        partition: int,
        partitions: int,
        transport: KafkaTransport,
        publisher: ShardPublisher,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._transport = transport
        self._topic = transport.connection.topic
        self._publisher = publisher
        self._delivered: deque[int] = deque()
        self._closed = False
        self._said: dict[str, float] = {}

    def send(self, effect: Sendable, token: int | None, origin: Origin | None = None) -> None:
        partition = _ANY_PARTITION
        match effect:
            case ActivityTask():
                topic = f"activities.{effect.queue}"
                key = f"{effect.run_id}/{effect.id}".encode()
                value = encode(effect)
            case Command():
                topic = "commands"
                key = effect.workflow_id.encode()
                partition = partition_of(effect.workflow_id, self._partitions)
                value = encode(_command(effect, origin))
            case TimerDue():
                topic, partition = "timers", self._partition
                key, value = effect.workflow_id.encode(), encode(effect)
            case DeadLetter():
                topic = "dead-letters"
                key = f"{effect.topic}/{effect.partition}/{effect.offset}".encode()
                value = encode_dead_letter(effect)
            case _:
                assert_never(effect)
        self._send(self._topic(topic), partition, key, value, token)

    def delivered(self) -> Sequence[int]:
        tokens = self._delivered
        return [tokens.popleft() for _ in range(len(tokens))]

    def reply(self, reply: Reply) -> None:
        value = encode(reply)
        to = reply.to
        self._transport.sends.produce(
            self._topic("replies"), to.partition, to.client.encode(), value, self._replied
        )

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        self._publisher.publish(offset, records)

    def published(self) -> int:
        return self._publisher.begin()

    def close(self) -> None:
        self._closed = True
        self._publisher.close()

    # --- deliveries -----------------------------------------------------------------------------

    def _send(
        self, topic: str, partition: int, key: bytes, value: bytes, token: int | None
    ) -> None:
        def delivered(error: KafkaError | None, _message: Message | None) -> None:
            if error is None:
                if token is not None:
                    self._delivered.append(token)
            elif not self._closed:
                self._failed(Outgoing(topic, partition, key, value, delivered), error)

        self._transport.sends.produce(topic, partition, key, value, delivered)

    def _failed(self, outgoing: Outgoing, error: KafkaError) -> None:
        """Say what is wrong, and send again; or bury what can never be sent."""
        if error.code() in TOO_LARGE:
            self._bury(outgoing, error)
            return
        topic = outgoing.topic
        if monotonic() - self._said.get(topic, -_SAY_EVERY_S) >= _SAY_EVERY_S:
            self._said[topic] = monotonic()
            _log.error(
                "shard %d: sending to %s failed (%s). %s",
                self._partition,
                topic,
                error.str(),
                self._remedy(topic, error),
            )
        self._transport.sends.produce_later(outgoing, _RETRY_S)

    def _remedy(self, topic: str, error: KafkaError) -> str:
        queue = topic.removeprefix(self._topic("activities."))
        if error.code() not in MISSING:
            return "It is sent again until it is delivered"
        if queue == topic:
            return "The topic is missing: run `processor topics apply`; it is sent again until then"
        return (
            f"The activity queue {queue!r} has no topic: run `processor topics apply --queue "
            f"{queue}`, or correct the queue's name in the workflow. The tasks wait until then"
        )

    def _bury(self, outgoing: Outgoing, error: KafkaError) -> None:
        """Dead-letter what its topic can never take; its ``delivered`` then tells of the letter."""
        _log.error(
            "shard %d: %s refuses a record of %d bytes (%s); it goes to dead-letters",
            self._partition,
            outgoing.topic,
            len(outgoing.value or b""),
            error.str(),
        )
        reason = f"{outgoing.topic} refused it as too large: {error.str()}"
        letter = DeadLetter(
            outgoing.topic, outgoing.partition, -1, outgoing.key, outgoing.value, reason
        )
        value = encode_dead_letter(letter)
        topic = self._topic("dead-letters")
        if topic == outgoing.topic:  # the topic is smaller than ours are made: cut it once more
            value = encode_dead_letter(replace(letter, value=None))
        delivered: Delivered = outgoing.delivered
        self._transport.sends.produce(topic, _ANY_PARTITION, outgoing.key, value, delivered)

    def _replied(self, error: KafkaError | None, _message: Message | None) -> None:
        if error is not None and not self._closed:
            _log.warning("shard %d: a reply was not sent: %s", self._partition, error.str())


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """Return a letter's bytes, its value cut to what ``dead-letters`` takes."""
    value = letter.value
    if value is not None and len(value) > COMMAND_BYTES_MAX:
        letter = replace(
            letter,
            value=value[:COMMAND_BYTES_MAX],
            reason=f"{letter.reason} (only {COMMAND_BYTES_MAX:,} of {len(value):,} bytes are here)",
        )
    return encode(letter)


def _command(message: Command, origin: Origin | None) -> ClientCommand:
    if message.kind == "cancel":
        return ClientCommand(message.workflow_id, CancelRun(message.name), origin=origin)
    return ClientCommand(
        message.workflow_id, RaiseEvent(message.name, message.payload), origin=origin
    )
