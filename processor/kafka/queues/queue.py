"""An activity queue over a consumer group: its partitions are shared among the workers.

The offset that is committed is that of the lowest unfinished task of a partition, where finished
means that a broker has the outcome: a worker that dies loses no task, and some run twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from threading import Thread
from time import monotonic, sleep
from typing import Any, Literal

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from processor.kafka.clients.connection import READ_AHEAD
from processor.kafka.clients.faults import MISSING, forbidding, made
from processor.kafka.clients.memory import memory_of_message
from processor.kafka.clients.offsets import OffsetTracker
from processor.kafka.group.comeback import Comeback
from processor.kafka.group.static_member import METADATA, abandon, is_shut_out, leave
from processor.kafka.queues.positions import GroupPositions
from processor.kafka.queues.tasks import OpenTasks, TaskRunner
from processor.kafka.transport import KafkaTransport

__all__ = ("QueueConsumer",)

_log = logging.getLogger("processor.kafka")

_POLL_S = 0.05
_BATCH = 500
_AHEAD_MAX = 1_000
"""Tasks that are read ahead of the slots they wait for."""

_AHEAD_BYTES_MAX = 64_000_000
_UNSENT_BYTES_MAX = 64_000_000
"""Outcomes and dead letters that no broker has; no task begins meanwhile."""

_COMMIT_EVERY_S = 1.0
_SETTLE_S = 2.0
_JOIN_S = 15.0
_REJOIN_S = 1.0


class QueueConsumer:
    """A ``QueueTransport``. Made and stopped on the loop.

    ``slots`` bounds how many tasks the runner has at once. ``member`` is a static member id: a
    process that is killed and started again under it goes on with its tasks at once, and not only
    when the session of its former life is over.
    """

    def __init__(
        self,
        transport: KafkaTransport,
        queue: str,
        slots: int,
        run: TaskRunner,
        partitions: int,
        member: str | None = None,
        came_back: bool = False,
    ) -> None:
        self._tasks = OpenTasks(transport, queue, run, partitions, self._has_room)
        namespace = transport.connection.namespace
        self._remedy = f"processor topics apply --namespace {namespace} --queue {queue}"
        self._slots = slots
        self._loop = asyncio.get_running_loop()
        self._ahead = _Ahead()
        self._positions = GroupPositions(self._topic)
        self._commit_due = 0.0
        self._held = False  # tasks wait until brokers have more of what was sent
        self._paused = False
        self._rewind = False
        self._end: Literal["", "stops", "left"] = ""
        self._config = self._consumer_config(transport, member)
        self._consumer = made(Consumer, self._config)
        self._comeback = Comeback(self._topic, self._subscribe, came_back)
        self._thread = Thread(target=self._run, name=f"kafka queue {queue}", daemon=True)

    @property
    def _topic(self) -> str:
        return self._tasks.topic

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> bool:
        self._end = self._end or "stops"
        self._ahead.clear()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_S)
        self._tasks.close()
        return self._end == "left"

    def finish(self, run_id: str, id: int) -> None:
        self._tasks.finish(run_id, id)

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
                **METADATA,
                **READ_AHEAD,
                **({} if member is None else {"group.instance.id": member}),
            },
            group=self._topic,
        )

    # --- on the loop --------------------------------------------------------------------------

    def _has_room(self) -> None:
        if self._ahead:
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Hand tasks to the runner while it has room."""
        while self._ahead and self._tasks.count < self._slots and not self._end:
            if self._tasks.unsent_bytes >= _UNSENT_BYTES_MAX:
                self._held = True
                return
            tracker, message = self._ahead.take()
            if tracker.revoked:
                continue
            offset = message.offset()
            assert offset is not None, "a message without an error has an offset"
            finished = self._positions.finisher(tracker, offset)
            task = self._tasks.read(message, finished)
            if task is not None:
                self._tasks.hand_over(task, finished, offset < tracker.held)

    # --- the queue's thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._subscribe(self._topic)
            while not self._end:
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
            if leave(self._consumer, self._topic):
                self._end = "left"
        finally:
            self._consumer.close()

    def _subscribe(self, topic: str) -> None:
        self._consumer.subscribe(
            [topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _begin_again(self) -> None:
        """Join with another consumer, after a while.

        What shut this one out was its own former self (see ``Membership``), or another process of
        the same name; then the shards' membership ends this worker.
        """
        self._positions.forget(self._positions.partitions)
        former, self._consumer = self._consumer, made(Consumer, self._config)
        abandon(former)
        sleep(_REJOIN_S)
        self._subscribe(self._topic)

    def _poll(self) -> None:
        if self._rewind:
            self._rewind_all()
        first = self._consumer.poll(_POLL_S)
        arrived, self._held = self._held, False
        if first is not None:
            for message in (first, *self._consumer.consume(_BATCH, 0)):
                arrived |= self._arrived(message)
        if arrived:
            self._loop.call_soon_threadsafe(self._pump)
        self._regulate()
        if monotonic() >= self._commit_due:
            self._commit(self._positions.partitions)
            self._commit_due = monotonic() + _COMMIT_EVERY_S
        self._comeback.poll()

    def _arrived(self, message: Message) -> bool:
        error = message.error()
        if error is not None:
            if is_shut_out(error):
                raise KafkaException(error)
            hint = f"; run `{self._remedy}`" if error.code() in MISSING else ""
            _log.warning("%s: %s%s", self._topic, forbidding(error), hint)
            return False
        partition, offset = message.partition() or 0, message.offset() or 0
        tracker = self._positions.started(partition, offset, self._end_of)
        self._ahead.put(tracker, message)
        return True

    def _end_of(self, partition: int) -> int:
        """Return where a partition ended when its first record was fetched."""
        place = TopicPartition(self._topic, partition)
        _, end = self._consumer.get_watermark_offsets(place, cached=True)
        return end

    def _regulate(self) -> None:
        """Pause while enough is read ahead. Pausing drops what librdkafka fetched: rarely."""
        ahead = self._ahead
        if not self._paused and (len(ahead) >= _AHEAD_MAX or ahead.bytes >= _AHEAD_BYTES_MAX):
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        elif self._paused and len(ahead) < _AHEAD_MAX // 2 and ahead.bytes < _AHEAD_BYTES_MAX // 2:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    def _settle_all(self) -> None:
        """Wait shortly for outcomes on their way, so that their tasks do not run again."""
        deadline = monotonic() + _SETTLE_S
        while not self._tasks.all_landed and monotonic() < deadline:
            self._consumer.poll(_POLL_S)
        self._commit(self._positions.partitions)

    def _commit(self, partitions: Sequence[int]) -> None:
        """Ask for a commit. A call that waits for it may never return (see ``Source.commit``).

        The client commits in order, and before it gives partitions up or leaves the group.
        """
        offsets = self._positions.due(partitions)
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _log.info("%s: committing offsets: %s", self._topic, error)

    def _rewind_all(self) -> None:
        """Go to the start of every partition: positions in the old topic mean nothing now."""
        self._rewind = False
        self._positions.forget(self._positions.partitions)
        for place in self._consumer.assignment():
            self._consumer.seek(TopicPartition(self._topic, place.partition, OFFSET_BEGINNING))

    def _on_assign(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        consumer.incremental_assign(list(places))
        if self._paused:
            consumer.pause(list(places))
        self._comeback.generation()

    def _on_revoke(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._commit([place.partition for place in places])
        self._on_lost(consumer, places)

    def _on_lost(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._positions.forget([place.partition for place in places])
        if self._paused:  # a partition that comes back would still be paused
            consumer.resume(list(places))
        consumer.incremental_unassign(list(places))


class _Ahead:
    """Tasks that were read and wait for slots: put by the queue's thread, taken by the loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[OffsetTracker, Message]] = deque()
        self._put = self._taken = 0  # bytes

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        return self._put - self._taken

    def put(self, tracker: OffsetTracker, message: Message) -> None:
        self._put += memory_of_message(message)
        self._waiting.append((tracker, message))

    def take(self) -> tuple[OffsetTracker, Message]:
        tracker, message = self._waiting.popleft()
        self._taken += memory_of_message(message)
        return tracker, message

    def clear(self) -> None:
        self._waiting.clear()
