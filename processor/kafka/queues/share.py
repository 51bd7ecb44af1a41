"""An activity queue over a share group (KIP-932): no partition bounds how many workers share it.

An option beside the consumer group: the client is a preview in librdkafka 2.16, and every record
of a poll must be acknowledged before the next poll. So a batch takes as long as its slowest task,
at most until the broker's lock would expire; what runs on by then is accepted, and the shard's own
time-outs answer for it if this process dies meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import partial
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING

from confluent_kafka import AcknowledgeType, KafkaException, Message, ShareConsumer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from processor.codec.records import decode_as
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask, DeadLetter
from processor.errors import SchemaMismatch
from processor.kafka.clients.connection import partition_of
from processor.kafka.clients.sending import Sending
from processor.kafka.queues.reports import encoded
from processor.kafka.transport import KafkaTransport

if TYPE_CHECKING:
    from processor.kafka.queues.queue import TaskRunner

__all__ = ("ShareQueueConsumer",)

_log = logging.getLogger("processor.kafka")

_POLL_S = 0.1
_LOOK_S = 0.05
_HOLD_S = 20.0
"""Less than the lock of a record (``group.share.record.lock.duration.ms``, 30 s)."""

_CALL_S = 10.0
_JOIN_S = 15.0
_AFTER_A_BUG_S = 1.0


class ShareQueueConsumer:
    """A ``QueueTransport``. ``slots`` bounds a batch. Made and stopped on the loop."""

    def __init__(
        self,
        transport: KafkaTransport,
        queue: str,
        slots: int,
        run: TaskRunner,
        partitions: int,
    ) -> None:
        connection = transport.connection
        self._name = f"activities.{queue}"
        self._topic = connection.topic(self._name)
        self._group = f"{self._topic}.share"
        self._reports_topic = connection.topic("activity-results")
        self._partitions = partitions
        self._run_task = run
        self._loop = asyncio.get_running_loop()
        self._sending = Sending(transport, f"queue {queue}")
        self._admin_config = connection.admin()
        self._open: dict[tuple[str, int], Future[bool]] = {}
        self._stopping = False
        self._config = {
            **connection.admin(),
            "group.id": self._group,
            "share.acknowledgement.mode": "explicit",
            "max.poll.records": max(slots, 1),
        }
        self._thread = Thread(target=self._run, name=f"kafka share {queue}", daemon=True)

    @property
    def running(self) -> int:
        """How many tasks the runner has."""
        return len(self._open)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stopping = True
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_S)
        self._sending.close()

    def finish(self, run_id: str, id: int) -> None:
        finished = self._open.pop((run_id, id), None)
        if finished is not None and not finished.done():
            finished.set_result(True)

    def begin_again(self) -> None:
        """Nothing to do: a share group's positions belong to a topic's id."""

    # --- on the loop --------------------------------------------------------------------------

    def _hand_over(self, task: ActivityTask, finished: Future[bool], again: bool) -> None:
        if (older := self._open.get((task.run_id, task.id))) is not None:
            _set(older)
        self._open[task.run_id, task.id] = finished
        self._run_task(task, partial(self._report, finished), again)

    def _report(self, finished: Future[bool], report: ActivityReport) -> None:
        done = _nothing
        if report.kind in ("completed", "failed"):
            key = (report.run_id, report.id)
            if self._open.get(key) is finished:
                del self._open[key]
            done = partial(_set, finished)
        self._sending.send(
            self._reports_topic,
            partition_of(report.workflow_id, self._partitions),
            report.workflow_id.encode(),
            encoded(report),
            done,
        )

    # --- the queue's thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._begin_at_the_first_task()
        except KafkaException as error:
            _log.warning("share group %s: its configuration failed: %s", self._group, error)
        while not self._stopping:
            try:
                self._take()
            except Exception:  # what was polled is given back; it comes again to a new member
                _log.exception("a bug in taking the tasks of share group %s", self._group)
                sleep(_AFTER_A_BUG_S)

    def _take(self) -> None:
        """Take tasks until this queue stops."""
        consumer = ShareConsumer(self._config)
        try:
            consumer.subscribe([self._topic])
            while not self._stopping:
                try:
                    self._batch(consumer, list(consumer.poll(_POLL_S)))
                except KafkaException as error:
                    _log.warning("share group %s: %s", self._group, error)
        finally:
            consumer.close()

    def _begin_at_the_first_task(self) -> None:
        """A share group begins at the end of its topic unless it is told otherwise."""
        entry = ConfigEntry(
            "share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET
        )
        request = ConfigResource(ResourceType.GROUP, self._group, incremental_configs=[entry])
        admin = AdminClient(self._admin_config)
        for future in admin.incremental_alter_configs([request]).values():
            future.result(_CALL_S)

    def _batch(self, consumer: ShareConsumer, messages: Sequence[Message]) -> None:
        """Run the tasks of a poll; acknowledge each, as the next poll demands."""
        running: list[tuple[Message, Future[bool]]] = []
        for message in messages:
            if (error := message.error()) is not None:
                _log.warning("share group %s: %s", self._group, error.str())
                continue
            finished: Future[bool] = Future()
            running.append((message, finished))
            try:
                task = decode_as(ActivityTask, message.value() or b"")
            except SchemaMismatch as mismatch:
                self._bury(message, finished, str(mismatch))
                continue
            again = (message.delivery_count() or 1) > 1
            self._loop.call_soon_threadsafe(self._hand_over, task, finished, again)
        deadline = monotonic() + _HOLD_S
        futures = [finished for _, finished in running]
        while wait(futures, _LOOK_S).not_done and monotonic() < deadline and not self._stopping:
            continue
        for message, finished in running:
            released = self._stopping and not finished.done()
            consumer.acknowledge(
                message, AcknowledgeType.RELEASE if released else AcknowledgeType.ACCEPT
            )
        if running:
            consumer.commit_async()

    def _bury(self, message: Message, finished: Future[bool], why: str) -> None:
        letter = DeadLetter(
            self._name,
            message.partition() or 0,
            message.offset() or 0,
            message.key(),
            message.value(),
            why,
        )
        self._sending.bury(letter, partial(_set, finished))


def _set(finished: Future[bool]) -> None:
    if not finished.done():
        finished.set_result(True)


def _nothing() -> None:
    pass
