"""Activity queues of a worker: tasks in, reports out.

Each queue is a topic, and a consumer group of that topic shares its tasks among the workers. The
offset that is committed is that of the lowest unfinished task of a partition, where finished means
that a broker has the outcome: a worker that dies loses no task, and some run twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Thread
from time import monotonic, sleep
from typing import Any, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.activities.executor import Executor, Report
from processor.codec.records import decode_as
from processor.core.inputs import ActivityReport
from processor.core.records.answers import HeartbeatSeen
from processor.core.records.effects import ActivityTask, DeadLetter, Reply
from processor.errors import SchemaMismatch
from processor.kafka.clients.connection import partition_of
from processor.kafka.clients.faults import MISSING
from processor.kafka.clients.offsets import OffsetTracker
from processor.kafka.clients.sending import Sending
from processor.kafka.group.static_member import abandon, is_shut_out, leave
from processor.kafka.queues.reports import encoded
from processor.kafka.queues.share import ShareQueueConsumer
from processor.kafka.replies import ReplyReader
from processor.kafka.shards.identity import describe
from processor.kafka.transport import KafkaTransport

__all__ = ("QueueConsumer", "QueueTransport", "Queues", "TaskRunner")

_log = logging.getLogger("processor.kafka")

_POLL_S = 0.05
_BATCH = 500
_AHEAD_MAX = 1_000
"""Tasks that are read ahead of the slots they wait for."""

_COMMIT_EVERY_S = 1.0
_SETTLE_S = 2.0
_JOIN_S = 15.0
_REJOIN_S = 1.0

TaskRunner = Callable[[ActivityTask, Report, bool], None]
"""Runs a task on the loop and reports on it; "completed" and "failed" are the last report.

The flag says that the task may have been delivered before.
"""


class QueueTransport(Protocol):
    """Brings the tasks of one queue to a ``TaskRunner``: by consumer group, or by share group."""

    def start(self) -> None: ...

    async def stop(self) -> None:
        """Take nothing new, commit what is finished, and leave the group."""

    def finish(self, run_id: str, id: int) -> None:
        """Note that a task was cancelled and will not report."""

    def begin_again(self) -> None:
        """Read the topic from its start: it was deleted and made again."""


@dataclass(slots=True, eq=False)
class _Open:
    """A task that was handed to the runner and has not reported its outcome."""

    tracker: OffsetTracker
    offset: int
    key: tuple[str, int]


class QueueConsumer:
    """``slots`` bounds how many tasks the runner has at once. Made and stopped on the loop.

    ``member`` is a static member id: a process that is killed and started again under it goes on
    with its tasks at once, and not only when the session of its former life is over.
    """

    def __init__(
        self,
        transport: KafkaTransport,
        queue: str,
        slots: int,
        run: TaskRunner,
        partitions: int,
        member: str | None = None,
    ) -> None:
        connection = transport.connection
        self._name = f"activities.{queue}"
        self._topic = connection.topic(self._name)
        self._remedy = f"processor topics apply --namespace {connection.namespace} --queue {queue}"
        self._reports_topic = connection.topic("activity-results")
        self._partitions = partitions
        self._slots = slots
        self._run_task = run
        self._loop = asyncio.get_running_loop()
        self._sending = Sending(transport, f"queue {queue}")
        self._ahead: deque[tuple[OffsetTracker, Message]] = deque()
        self._open: dict[tuple[str, int], _Open] = {}
        self._finished: deque[tuple[OffsetTracker, int]] = deque()
        self._outcomes_sent = 0
        self._outcomes_landed = 0
        self._trackers: dict[int, OffsetTracker] = {}
        self._committed: dict[int, int] = {}
        self._commit_due = 0.0
        self._paused = False
        self._rewind = False
        self._stopping = False
        self._config = self._consumer_config(transport, member)
        self._consumer = Consumer(self._config)
        self._thread = Thread(target=self._run, name=f"kafka queue {queue}", daemon=True)

    @property
    def running(self) -> int:
        """How many tasks the runner has."""
        return len(self._open)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stopping = True
        self._ahead.clear()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_S)
        self._sending.close()

    def finish(self, run_id: str, id: int) -> None:
        task = self._open.pop((run_id, id), None)
        if task is not None:
            self._finished.append((task.tracker, task.offset))
            self._pump()

    def begin_again(self) -> None:
        self._rewind = True

    def _consumer_config(self, transport: KafkaTransport, member: str | None) -> dict[str, Any]:
        session_ms = int(transport.settings.session_timeout_s * 1000)
        return transport.connection.consumer(
            {
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": max(session_ms // 4, 100),
                "queued.min.messages": _AHEAD_MAX,
                **({} if member is None else {"group.instance.id": member}),
            },
            group=self._topic,
        )

    # --- on the loop --------------------------------------------------------------------------

    def _pump(self) -> None:
        """Hand tasks to the runner while it has room."""
        while self._ahead and len(self._open) < self._slots and not self._stopping:
            tracker, message = self._ahead.popleft()
            if tracker.revoked:
                continue
            offset = message.offset()
            assert offset is not None, "a message without an error has an offset"
            try:
                task = decode_as(ActivityTask, message.value() or b"")
            except SchemaMismatch as error:
                self._bury(tracker, message, offset, str(error))
                continue
            open_task = _Open(tracker, offset, (task.run_id, task.id))
            if (older := self._open.get(open_task.key)) is not None:
                self._finished.append((older.tracker, older.offset))
            self._open[open_task.key] = open_task
            self._run_task(task, partial(self._report, open_task), offset < tracker.held)

    def _report(self, task: _Open, report: ActivityReport) -> None:
        """Send a report; the last one, once a broker has it, finishes the task."""
        is_outcome = report.kind in ("completed", "failed")
        if is_outcome:
            if self._open.get(task.key) is task:
                del self._open[task.key]
            self._outcomes_sent += 1
        self._sending.send(
            self._reports_topic,
            partition_of(report.workflow_id, self._partitions),
            report.workflow_id.encode(),
            encoded(report),
            partial(self._settled, task, is_outcome),
        )
        if is_outcome and self._ahead:
            self._loop.call_soon(self._pump)

    def _settled(self, task: _Open, is_outcome: bool) -> None:
        """Called on the delivery thread: a broker has the report."""
        if is_outcome:
            self._finished.append((task.tracker, task.offset))
            self._outcomes_landed += 1

    def _bury(self, tracker: OffsetTracker, message: Message, offset: int, why: str) -> None:
        letter = DeadLetter(
            self._name, message.partition() or 0, offset, message.key(), message.value(), why
        )
        self._sending.bury(letter, lambda: self._finished.append((tracker, offset)))

    # --- the queue's thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._subscribe()
            while not self._stopping:
                try:
                    self._poll()
                except KafkaException as error:
                    _log.warning("%s: %s", self._topic, error)
                    if is_shut_out(error.args[0]):
                        self._begin_again()
                except Exception:  # what was polled may be lost: it comes again to a new member
                    _log.exception("a bug in taking the tasks of %s", self._topic)
                    self._begin_again()
            self._settle_all()
            leave(self._consumer)
        finally:
            self._consumer.close()

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _begin_again(self) -> None:
        """Join with another consumer, after a while.

        What shut this one out was its own former self (see ``Membership``), or another process of
        the same name; then the shards' membership ends this worker.
        """
        self._forget(list(self._trackers))
        former, self._consumer = self._consumer, Consumer(self._config)
        abandon(former)
        sleep(_REJOIN_S)
        self._subscribe()

    def _poll(self) -> None:
        if self._rewind:
            self._rewind_all()
        first = self._consumer.poll(_POLL_S)
        if first is not None:
            arrived = False
            for message in (first, *self._consumer.consume(_BATCH, 0)):
                arrived |= self._arrived(message)
            if arrived:
                self._loop.call_soon_threadsafe(self._pump)
        self._regulate()
        self._settle()
        if monotonic() >= self._commit_due:
            self._commit(list(self._trackers), asynchronous=True)
            self._commit_due = monotonic() + _COMMIT_EVERY_S

    def _arrived(self, message: Message) -> bool:
        error = message.error()
        if error is not None:
            if is_shut_out(error):
                raise KafkaException(error)
            hint = f"; run `{self._remedy}`" if error.code() in MISSING else ""
            _log.warning("%s: %s%s", self._topic, error.str(), hint)
            return False
        partition, offset = message.partition() or 0, message.offset() or 0
        tracker = self._trackers.get(partition)
        if tracker is None:
            tracker = self._trackers[partition] = OffsetTracker(self._end_of(partition))
        tracker.started(offset)
        self._ahead.append((tracker, message))
        return True

    def _end_of(self, partition: int) -> int:
        """Return where a partition ended when its first record was fetched."""
        place = TopicPartition(self._topic, partition)
        _, end = self._consumer.get_watermark_offsets(place, cached=True)
        return end

    def _regulate(self) -> None:
        """Pause while enough is read ahead. Pausing drops what librdkafka fetched: rarely."""
        ahead = len(self._ahead)
        if not self._paused and ahead >= _AHEAD_MAX:
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        elif self._paused and ahead < _AHEAD_MAX // 2:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    def _settle(self) -> None:
        while self._finished:
            tracker, offset = self._finished.popleft()
            tracker.finished(offset)

    def _settle_all(self) -> None:
        """Wait shortly for outcomes on their way, so that their tasks do not run again."""
        deadline = monotonic() + _SETTLE_S
        while self._outcomes_landed < self._outcomes_sent and monotonic() < deadline:
            self._consumer.poll(_POLL_S)
        self._settle()
        self._commit(list(self._trackers), asynchronous=False)

    def _commit(self, partitions: Sequence[int], *, asynchronous: bool) -> None:
        offsets = []
        for partition in partitions:
            tracker = self._trackers.get(partition)
            position = None if tracker is None else tracker.position
            if position is not None and self._committed.get(partition) != position:
                self._committed[partition] = position
                offsets.append(TopicPartition(self._topic, partition, position))
        if not offsets:
            return
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            _log.info("%s: committing offsets: %s", self._topic, error)

    def _rewind_all(self) -> None:
        """Go to the start of every partition: positions in the old topic mean nothing now."""
        self._rewind = False
        for tracker in self._trackers.values():
            tracker.revoked = True
        self._trackers.clear()
        self._committed.clear()
        for place in self._consumer.assignment():
            self._consumer.seek(TopicPartition(self._topic, place.partition, OFFSET_BEGINNING))

    def _on_assign(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        consumer.incremental_assign(list(places))
        self._paused = False

    def _on_revoke(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._settle()
            self._commit([place.partition for place in places], asynchronous=False)
        self._on_lost(consumer, places)

    def _on_lost(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._forget([place.partition for place in places])
        consumer.incremental_unassign(list(places))

    def _forget(self, partitions: Sequence[int]) -> None:
        """Their unfinished tasks run on here, and again where they went."""
        for partition in partitions:
            self._committed.pop(partition, None)
            tracker = self._trackers.pop(partition, None)
            if tracker is not None:
                tracker.revoked = True


class Queues:
    """All queues of a worker, and the replies that bring cancellation to their activities.

    ``share_groups`` takes tasks by share groups instead of consumer groups (see ``share``), which
    know no static members. ``member`` must be this process's own; None joins as somebody new. The
    executor hears which queues these are: what belongs to others does not run eagerly in it.
    """

    def __init__(
        self,
        transport: KafkaTransport,
        executor: Executor,
        queues: Sequence[str],
        member: str | None,
        *,
        share_groups: bool = False,
    ) -> None:
        self._transport = transport
        self._executor = executor
        self._share_groups = share_groups
        self._names = executor.queues = tuple(dict.fromkeys(queues))
        self._member = member
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
        await asyncio.gather(*(consumer.stop() for consumer in consumers.values()))
        replies, self._replies = self._replies, None
        if replies is not None:
            self._executor.reply_to = None
            await asyncio.to_thread(replies.close)

    def _consumer(self, name: str, shards: int) -> QueueTransport:
        transport, run = self._transport, self._executor.enqueue
        slots = transport.settings.max_activities
        if self._share_groups:
            return ShareQueueConsumer(transport, name, slots, run, shards)
        return QueueConsumer(transport, name, slots, run, shards, self._member)

    def check_topics(self) -> None:
        """Begin again with queues whose topics were deleted and made again. Blocks.

        A position in the old topic would skip tasks of the new one, and a skipped task is not
        issued again before its schedule-to-start time-out, if it has one.
        """
        consumers = dict(self._consumers)
        if not consumers:
            return
        if self._admin is None:
            self._admin = AdminClient(self._transport.connection.admin())
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
            if isinstance(seen, HeartbeatSeen) and self._executor.heed(seen):
                for consumer in self._consumers.values():
                    consumer.finish(seen.run_id, seen.id)
