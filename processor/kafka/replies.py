"""Reads the replies to one client: a partition of a topic of replies, from its end on."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from threading import Thread
from time import sleep

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from processor.codec.records import decode_as
from processor.core.data.address import ReplyTo, ReplyToTopic
from processor.core.records.effects import Reply
from processor.errors import SchemaMismatch
from processor.gateway import new_client_id
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import made, watermarks_of

__all__ = ("ReplyReader",)

_log = logging.getLogger("processor.kafka")

_POLL_S = 0.1
_BATCH = 1_000
_CALL_S = 10.0
_AFTER_A_BUG_S = 1.0


class ReplyReader:
    """``deliver`` gets each batch of replies to this client, on the reader's thread.

    Making one blocks: where it begins to read is fixed before it returns, so that the reply to
    whatever is asked afterwards is not missed. A reply that is lost all the same (the broker
    deleted it first) is asked for again by its client.
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
        read = TopicPartition(connection.replies_topic, self.to.partition)
        _, read.offset = watermarks_of(self._consumer, read)
        self._consumer.assign([read])
        self._closed = False
        self._thread = Thread(target=self._run, name="kafka replies", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading. Blocks shortly."""
        self._closed = True
        self._thread.join(_CALL_S)

    def _run(self) -> None:
        consumer = self._consumer
        while not self._closed:
            try:
                self._read(consumer)
            except KafkaException as error:
                _log.warning("reading replies: %s", error)
            except Exception:  # what was read is lost: whoever waits for it asks again
                _log.exception("a bug in reading replies")
                sleep(_AFTER_A_BUG_S)
        consumer.close()

    def _read(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_S)
        if first is None:
            return
        messages = [first, *consumer.consume(_BATCH, 0)]
        if replies := [reply for m in messages if (reply := self._decoded(m)) is not None]:
            self._deliver(replies)

    def _decoded(self, message: Message) -> Reply | None:
        if (error := message.error()) is not None:
            _log.info("reading replies: %s", error.str())
            return None
        if message.key() != self._client:
            return None
        try:
            return decode_as(Reply, message.value() or b"")
        except SchemaMismatch as error:
            _log.warning("a reply cannot be read: %s", error)
            return None
