"""The activity queues of a worker: each is a topic, whose tasks the workers share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from processor.activities.executor import Executor
from processor.core.records.answers import HeartbeatSeen, StopWanted
from processor.core.records.effects import Reply
from processor.kafka.clients.faults import made
from processor.kafka.queues.queue import QueueConsumer
from processor.kafka.queues.share import ShareQueueConsumer
from processor.kafka.queues.tasks import QueueTransport
from processor.kafka.replies import ReplyReader
from processor.kafka.shards.identity import describe
from processor.kafka.transport import KafkaTransport

__all__ = ("Queues",)

_log = logging.getLogger("processor.kafka")


class Queues:
    """All queues of a worker, and the replies that bring cancellation to their activities.

    ``share_groups`` takes tasks by share groups instead of consumer groups (see ``share``), which
    know no static members. ``member`` must be this process's own; None joins as somebody new. The
    executor hears which queues these are: what belongs to others does not run eagerly in it.
    ``left``, once they stop: whether all groups were told that this process has left them.
    """

    def __init__(
        self,
        transport: KafkaTransport,
        executor: Executor,
        queues: Sequence[str],
        member: str | None,
        *,
        came_back: bool = False,
        share_groups: bool = False,
    ) -> None:
        self._transport = transport
        self._executor = executor
        self._share_groups = share_groups
        self._names = executor.queues = tuple(dict.fromkeys(queues))
        self._member = member
        self._came_back = came_back
        self.left = True
        self._consumers: dict[str, QueueTransport] = {}
        self._admin: AdminClient | None = None
        self._ids: dict[str, str] = {}
        self._replies: ReplyReader | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Join the groups of the queues."""
        if not self._names:
            return
        self._loop = asyncio.get_running_loop()
        connection, partitions = self._transport.connection, self._transport.partitions
        shards = await asyncio.to_thread(partitions, connection.topic("activity-results"))
        count = await asyncio.to_thread(partitions, connection.topic("replies"))
        self._replies = await asyncio.to_thread(ReplyReader, connection, count, self._received)
        self._executor.reply_to = self._replies.to
        for name in self._names:
            self._consumers[connection.topic(f"activities.{name}")] = self._consumer(name, shards)
        try:
            await asyncio.to_thread(self.check_topics)  # before the first position is taken
        except KafkaException as error:
            _log.debug("looking at the queues' topics: %s", error)
        for consumer in self._consumers.values():
            consumer.start()

    async def stop(self) -> None:
        """Leave the groups; nothing happens the second time."""
        consumers, self._consumers = self._consumers, {}
        left = await asyncio.gather(*(consumer.stop() for consumer in consumers.values()))
        self.left = self.left and all(left)
        replies, self._replies = self._replies, None
        if replies is not None:
            self._executor.reply_to = None
            await asyncio.to_thread(replies.close)

    def _consumer(self, name: str, shards: int) -> QueueTransport:
        transport, run = self._transport, self._executor.enqueue
        slots = transport.settings.max_activities
        if self._share_groups:
            return ShareQueueConsumer(transport, name, slots, run, shards)
        return QueueConsumer(transport, name, slots, run, shards, self._member, self._came_back)

    def check_topics(self) -> None:
        """Begin again with queues whose topics were deleted and made again. Blocks.

        A position in the old topic would skip tasks of the new one, and a skipped task is not
        issued again before its schedule-to-start time-out, if it has one.
        """
        consumers = dict(self._consumers)
        if not consumers:
            return
        if self._admin is None:
            self._admin = made(AdminClient, self._transport.connection.admin())
        for topic, described in describe(self._admin, list(consumers)).items():
            id = str(described.topic_id)
            if self._ids.setdefault(topic, id) != id:
                self._ids[topic] = id
                _log.warning("%s was deleted and made again: it is read from its start", topic)
                consumers[topic].begin_again()

    def _received(self, replies: Sequence[Reply]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heed, replies)

    def _heed(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            seen = reply.body
            if isinstance(seen, HeartbeatSeen | StopWanted) and self._executor.heed(seen):
                for consumer in self._consumers.values():
                    consumer.finish(seen.run_id, seen.id)
