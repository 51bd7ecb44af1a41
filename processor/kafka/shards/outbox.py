"""The ``Outbox`` port: tasks, messages, due timers, dead letters and replies of one shard."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, assert_never

from confluent_kafka import KafkaError

from processor.codec.records import encode
from processor.core.data.cause import Origin
from processor.core.data.undelivered import Undelivered
from processor.core.inputs import ClientCommand, TimerDue
from processor.core.records.effects import ActivityTask, DeadLetter, Message, Reply
from processor.errors import ProcessorError, TopicsNotReady
from processor.kafka.clients.connection import COMMAND_BYTES_MAX, fits, partition_of
from processor.kafka.clients.faults import MISSING, TOO_LARGE
from processor.kafka.clients.record_producer import Produced
from processor.kafka.clients.sending import ANY_PARTITION, Sending
from processor.kafka.shards.answers import Answers
from processor.shard.messages.carrying import message_command, too_large_message, too_large_to_tell
from processor.shard.ports import OutputRecord, Sendable

if TYPE_CHECKING:
    from processor.kafka.clients.producing import Producing
    from processor.kafka.publishing.publisher import ShardPublisher
    from processor.kafka.transport import KafkaTransport

__all__ = ("KafkaOutbox", "MessageNotSent")

_log = logging.getLogger("processor.kafka")


_ORIGINS_MAX = 10_000


class MessageNotSent(ProcessorError):
    """Kafka refused a message to another shard: ours is given up and taken over again."""


class KafkaOutbox:
    """``ordered`` is the producer of the shard's log, which stops at its first error.

    Messages to other shards go through it: who receives them drops what is not newer than the
    last one, so that a message which is sent again later, behind newer ones, would be lost.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        transport: KafkaTransport,
        ordered: Producing,
        publisher: ShardPublisher,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._transport = transport
        self._topic = transport.connection.topic
        self._commands = self._topic("commands")
        self._timers = self._topic("timers")
        self._ordered = ordered
        self._failure: ProcessorError | None = None
        self._publisher = publisher
        self._sending = Sending(transport, f"shard {partition}")
        self._delivered: deque[int] = deque()
        self._answers = Answers(partition, transport)

    def send(self, effect: Sendable, token: int | None, origin: Origin | None = None) -> None:
        done: Callable[[], None] = _nothing
        if token is not None:
            done = partial(self._delivered.append, token)
        send = self._sending.send
        match effect:
            case ActivityTask():
                self._send_task(effect, done, token)
            case Message():
                self._send_message(message_command(effect, origin), origin, done)
            case TimerDue():
                key = effect.workflow_id.encode()
                send(self._timers, self._partition, key, encode(effect), done)
            case DeadLetter():
                self._sending.bury(effect, done)
            case _:
                assert_never(effect)

    @property
    def waiting(self) -> bool:
        return bool(self._delivered) or self._failure is not None

    def delivered(self) -> Sequence[int]:
        if self._failure is not None:
            raise self._failure
        tokens = self._delivered
        return [tokens.popleft() for _ in range(len(tokens))]

    @property
    def stuck(self) -> int:
        return self._sending.stuck.turns

    @property
    def unsent_bytes(self) -> int:
        return self._sending.unsent_bytes

    def reply(self, reply: Reply) -> None:
        self._answers.send(reply)

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        self._publisher.publish(offset, records)

    def published(self) -> int:
        return self._publisher.begin()

    def published_floor(self, released: int) -> int:
        return self._publisher.outputs.floor(released)

    def undelivered(self, run_id: str) -> Undelivered | None:
        return self._publisher.outputs.undelivered(run_id)

    def close(self) -> None:
        self._sending.close()
        self._answers.close()
        self._publisher.close()

    def _send_message(
        self, command: ClientCommand, origin: Origin | None, done: Callable[[], None]
    ) -> None:
        partition = partition_of(command.workflow_id, self._partitions)
        key, value = command.workflow_id.encode(), encode(command)
        too_large = self._transport.too_large
        if not fits(key, value) or origin in too_large:
            limit = f"{COMMAND_BYTES_MAX:,}"
            if origin in too_large:
                limit = f"max.message.bytes of {self._commands}, which refused it"
            reason = too_large_message(len(key) + len(value), limit)
            if (shorter := too_large_to_tell(command, reason)) is not None:
                self._send_message(shorter, None, done)
                return
            letter = DeadLetter("commands", partition, -1, key, value, reason)
            _log.error("shard %d: %s; it goes to dead-letters", self._partition, reason)
            self._sending.bury(letter, done)
            return

        size = self._sending.unsent.add(key, value)

        def delivered(error: KafkaError | None, _written: Produced | None) -> None:
            if error is None:
                self._sending.unsent.gone(size)
                done()
                return
            if error.code() in TOO_LARGE and origin is not None and len(too_large) < _ORIGINS_MAX:
                too_large.add(origin)  # whoever takes the shard over does not try it again
            self._ordered.fail(error)
            self._failure = self._failure or self._not_sent(partition, error)

        self._ordered.produce(self._commands, partition, key, value, delivered)

    def _not_sent(self, partition: int, error: KafkaError) -> ProcessorError:
        place = f"{self._commands}[{partition}]"
        if error.code() in MISSING:
            return TopicsNotReady(f"{place} does not exist. Run `processor topics check`")
        return MessageNotSent(
            f"a message of shard {self._partition} to {place} was refused ({error.name()}: "
            f"{error.str()}). The shard is taken over again and sends it first. If this goes on, "
            "run `processor topics check`"
        )

    def _send_task(self, task: ActivityTask, done: Callable[[], None], token: int | None) -> None:
        """Send a task to its queue's topic; its key spreads tasks over the partitions."""
        key, value = f"{task.run_id}/{task.id}".encode(), encode(task)
        try:
            topic = self._topic(f"activities.{task.queue}")
        except ValueError as error:  # no such topic can ever be: its time-outs end the activity
            _log.error("shard %d: activity %r: %s", self._partition, task.name, error)
            letter = DeadLetter("activities", ANY_PARTITION, -1, key, value, str(error))
            self._sending.bury(letter, done)
            return
        self._sending.send(topic, ANY_PARTITION, key, value, done, token)


def _nothing() -> None:
    pass
