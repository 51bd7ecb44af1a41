"""The ``Outbox`` port: tasks, messages, due timers, dead letters and replies of one shard."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, assert_never

from confluent_kafka import KafkaError
from confluent_kafka import Message as KafkaMessage

from processor.codec.records import encode
from processor.core.effects import ActivityTask, DeadLetter, Message, Reply
from processor.core.inputs import Origin, TimerDue
from processor.kafka.connection import partition_of
from processor.kafka.sending import ANY_PARTITION, Sending
from processor.shard.outbox import message_command
from processor.shard.ports import OutputRecord, Sendable

if TYPE_CHECKING:
    from processor.kafka.publisher import ShardPublisher
    from processor.kafka.transport import KafkaTransport

__all__ = ("KafkaOutbox",)

_log = logging.getLogger("processor.kafka")


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
        self._commands = self._topic("commands")
        self._timers = self._topic("timers")
        self._replies = self._topic("replies")
        self._publisher = publisher
        self._sending = Sending(transport, f"shard {partition}")
        self._delivered: deque[int] = deque()
        self._closed = False

    def send(self, effect: Sendable, token: int | None, origin: Origin | None = None) -> None:
        done: Callable[[], None] = _nothing
        if token is not None:
            done = partial(self._delivered.append, token)
        send = self._sending.send
        match effect:
            case ActivityTask():
                self._send_task(effect, done)
            case Message():
                key, value = effect.workflow_id.encode(), encode(message_command(effect, origin))
                partition = partition_of(effect.workflow_id, self._partitions)
                send(self._commands, partition, key, value, done)
            case TimerDue():
                key = effect.workflow_id.encode()
                send(self._timers, self._partition, key, encode(effect), done)
            case DeadLetter():
                self._sending.bury(effect, done)
            case _:
                assert_never(effect)

    def delivered(self) -> Sequence[int]:
        tokens = self._delivered
        return [tokens.popleft() for _ in range(len(tokens))]

    def reply(self, reply: Reply) -> None:
        to = reply.to
        self._transport.sends.produce(
            self._replies, to.partition, to.client.encode(), encode(reply), self._replied
        )

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        self._publisher.publish(offset, records)

    def published(self) -> int:
        return self._publisher.begin()

    def close(self) -> None:
        self._closed = True
        self._sending.close()
        self._publisher.close()

    def _send_task(self, task: ActivityTask, done: Callable[[], None]) -> None:
        """Send a task to its queue's topic; its key spreads tasks over the partitions."""
        key, value = f"{task.run_id}/{task.id}".encode(), encode(task)
        try:
            topic = self._topic(f"activities.{task.queue}")
        except ValueError as error:  # no such topic can ever be: its time-outs end the activity
            _log.error("shard %d: activity %r: %s", self._partition, task.name, error)
            letter = DeadLetter("activities", ANY_PARTITION, -1, key, value, str(error))
            self._sending.bury(letter, done)
            return
        self._sending.send(topic, ANY_PARTITION, key, value, done)

    def _replied(self, error: KafkaError | None, _message: KafkaMessage | None) -> None:
        if error is not None and not self._closed:
            _log.warning("shard %d: a reply was not sent: %s", self._partition, error.str())


def _nothing() -> None:
    pass
