"""Reads the replies to one client: a partition of a topic of replies, from its end on."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread
from time import monotonic, sleep
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from processor.codec.records import decode_as
from processor.core.data.address import ReplyTo, ReplyToTopic
from processor.core.records.effects import Reply
from processor.errors import SchemaMismatch
from processor.gateway import new_client_id
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import FORBIDDEN, forbidding, made, watermarks_of
from processor.kafka.topics.upkeep import is_present, option_for
from processor.seldom import Seldom

__all__ = ("ReplyReader",)

_log = logging.getLogger("processor.kafka")

_POLL_S = 0.1
_BATCH = 1_000
_CALL_S = 10.0
_AFTER_A_BUG_S = 1.0
_SAY_EVERY_S: Final = 30.0

_LOOK_EVERY_S: Final = 5.0
"""So long the reader has heard nothing when it looks whether its partition is still there."""


class ReplyReader:
    """``deliver`` gets each batch of replies to this client, on the reader's thread.

    Making one blocks: where it begins to read is fixed before it returns, so that the reply to
    whatever is asked afterwards is not missed. A reply that is lost all the same (the broker
    deleted it first) is asked for again by its client. ``to`` is where it reads: another partition
    where the topic was made again with fewer. ``problem`` says why it cannot read; "": it can.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        partitions: int,
        deliver: Callable[[Sequence[Reply]], None],
    ) -> None:
        who, name = (random.randrange(partitions), new_client_id()), connection.replies
        self.to = ReplyTo(*who) if name is None else ReplyToTopic(*who, name=name)
        self._client = self.to.client.encode()
        self._deliver = deliver
        self._connection = connection
        self.problem = ""
        self._doubted, self._was_there = False, True
        self._heard = monotonic()
        self._is_time = Seldom(_SAY_EVERY_S)
        self._consumer = made(
            Consumer,
            connection.consumer(
                {
                    "isolation.level": "read_uncommitted",
                    "auto.offset.reset": "latest",
                    "queued.min.messages": 1_000,
                },
                group=connection.clients_group,
            ),
        )
        self._read_from_the_end()
        self._closed = False
        self._thread = Thread(target=self._run, name="kafka replies", daemon=True)
        self._thread.start()

    def look_again(self) -> None:
        """Let the reader look whether its partition is there: an answer is overdue."""
        self._doubted = True

    def close(self) -> None:
        """Stop reading. Blocks shortly."""
        self._closed = True
        self._thread.join(_CALL_S)

    def _read_from_the_end(self) -> None:
        read = TopicPartition(self._connection.replies_topic, self.to.partition)
        _, read.offset = watermarks_of(self._consumer, read)
        self._consumer.assign([read])

    def _run(self) -> None:
        consumer = self._consumer
        while not self._closed:
            try:
                if self._doubted and monotonic() - self._heard > _LOOK_EVERY_S:
                    self._look(consumer)
                self._read(consumer)
            except KafkaException as error:
                _log.warning("reading replies: %s", error)
            except Exception:  # what was read is lost: whoever waits for it asks again
                _log.exception("a bug in reading replies")
                sleep(_AFTER_A_BUG_S)
        consumer.close()

    def _look(self, consumer: Consumer) -> None:
        """Say why no answer can come, or read where the topic has partitions."""
        self._doubted, self._heard = False, monotonic()
        topic = self._connection.replies_topic
        found = consumer.list_topics(topic, timeout=_CALL_S).topics.get(topic)
        count = len(found.partitions) if found is not None and is_present(found) else 0
        self._was_there, was_there = count > 0, self._was_there
        if count == 0:
            namespace = self._connection.namespace
            command = f"processor topics apply --namespace {namespace}"
            self._say(
                f"{topic} is not there, or this user may not see it any more: run `{command}"
                f"{option_for(namespace, topic)}`, or allow the user Read on it"
            )
        elif self.to.partition >= count:
            old, self.to = self.to, replace(self.to, partition=random.randrange(count))
            self._read_from_the_end()
            _log.warning(
                "%s was made again with %d partitions: replies are read from partition %d now, and "
                "no more from %d",
                *(topic, count, self.to.partition, old.partition),
            )
            self.problem = ""
        elif not was_there:
            self.problem = ""

    def _say(self, problem: str) -> None:
        self.problem = problem
        if self._is_time():
            _log.warning("replies cannot be read: %s", problem)

    def _read(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_S)
        if first is None:
            return
        messages = [first, *consumer.consume(_BATCH, 0)]
        if replies := [reply for m in messages if (reply := self._decoded(m)) is not None]:
            self.problem, self._heard = "", monotonic()
            self._deliver(replies)

    def _decoded(self, message: Message) -> Reply | None:
        if (error := message.error()) is not None:
            if error.code() in FORBIDDEN:
                self._say(forbidding(error))
            else:
                _log.info("reading replies: %s", error.str())
            return None
        if message.key() != self._client:
            return None
        try:
            return decode_as(Reply, message.value() or b"")
        except SchemaMismatch as error:
            _log.warning("a reply cannot be read: %s", error)
            return None
