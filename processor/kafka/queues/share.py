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

from confluent_kafka import AcknowledgeType, KafkaException, Message, ShareConsumer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from processor.kafka.clients.faults import forbidding, made
from processor.kafka.queues.tasks import OpenTasks, TaskRunner
from processor.kafka.transport import KafkaTransport

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
        self._tasks = OpenTasks(transport, queue, run, partitions)
        self._topic = self._tasks.topic
        self._group = f"{self._topic}.share"
        self._loop = asyncio.get_running_loop()
        self._admin_config = transport.connection.admin()
        self._stopping = False
        self._config = {
            **self._admin_config,
            "group.id": self._group,
            "share.acknowledgement.mode": "explicit",
            "max.poll.records": max(slots, 1),
        }
        self._thread = Thread(target=self._run, name=f"kafka share {queue}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> bool:
        self._stopping = True
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_S)
        self._tasks.close()
        return True  # its members are never static: what is left of one ends by itself

    def finish(self, run_id: str, id: int) -> None:
        self._tasks.finish(run_id, id)

    def begin_again(self) -> None:
        """Nothing to do: a share group's positions belong to a topic's id."""

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
        consumer = made(ShareConsumer, self._config)
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
        admin = made(AdminClient, self._admin_config)
        for future in admin.incremental_alter_configs([request]).values():
            future.result(_CALL_S)

    def _batch(self, consumer: ShareConsumer, messages: Sequence[Message]) -> None:
        """Run the tasks of a poll; acknowledge each, as the next poll demands."""
        running: list[tuple[Message, Future[bool]]] = []
        for message in messages:
            if (error := message.error()) is not None:
                _log.warning("share group %s: %s", self._group, forbidding(error))
                continue
            finished: Future[bool] = Future()
            running.append((message, finished))
            done = partial(_set, finished)
            task = self._tasks.read(message, done)
            if task is not None:
                again = (message.delivery_count() or 1) > 1
                self._loop.call_soon_threadsafe(self._tasks.hand_over, task, done, again)
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


def _set(finished: Future[bool]) -> None:
    if not finished.done():
        finished.set_result(True)
