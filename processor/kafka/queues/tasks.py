"""The tasks of one queue that its worker runs, and the reports on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from confluent_kafka import Message

from processor.activities.executor import Report
from processor.codec.inputs import decode_task
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask, DeadLetter
from processor.errors import SchemaMismatch
from processor.kafka.clients.connection import partition_of
from processor.kafka.clients.sending import Sending
from processor.kafka.queues.reports import encoded
from processor.kafka.transport import KafkaTransport

__all__ = ("OpenTasks", "QueueTransport", "TaskRunner")

TaskRunner = Callable[[ActivityTask, Report, bool], None]
"""Runs a task on the loop and reports on it; the report that ``is_last`` ends that.

The flag says that the task may have been delivered before.
"""


class QueueTransport(Protocol):
    """Brings the tasks of one queue to a ``TaskRunner``: by consumer group, or by share group."""

    def start(self) -> None: ...

    async def stop(self) -> bool:
        """Take nothing new, commit what is finished, and leave the group.

        Returns whether nothing of this process is left there.
        """

    def finish(self, run_id: str, id: int) -> None:
        """Note that a task was cancelled and will not report."""

    def begin_again(self) -> None:
        """Read the topic from its start: it was deleted and made again."""


@dataclass(slots=True, eq=False)
class _Open:
    """A task that was handed to the runner and has not reported its outcome."""

    key: tuple[str, int]
    finished: Callable[[], None]


def _nothing() -> None:
    pass


class OpenTasks:
    """Lives on the loop. ``has_room`` hears that the runner has one task less.

    Each task comes with ``finished``, which is called once it needs no second delivery, on any
    thread: when a broker has its outcome, or when it was cancelled.
    """

    def __init__(
        self,
        transport: KafkaTransport,
        queue: str,
        run: TaskRunner,
        partitions: int,
        has_room: Callable[[], None] = _nothing,
    ) -> None:
        self.name = f"activities.{queue}"
        self.topic = transport.connection.topic(self.name)
        self._reports_topic = transport.connection.topic("activity-results")
        self._partitions = partitions
        self._run = run
        self._has_room = has_room
        self._sending = Sending(transport, f"queue {queue}")
        self._open: dict[tuple[str, int], _Open] = {}
        self._sent = 0
        self._landed = 0

    @property
    def count(self) -> int:
        """How many tasks the runner has."""
        return len(self._open)

    @property
    def unsent_bytes(self) -> int:
        """About how much memory the reports and dead letters take that no broker has."""
        return self._sending.unsent.bytes

    @property
    def all_landed(self) -> bool:
        """Whether brokers have all outcomes that were sent."""
        return self._landed >= self._sent

    def read(self, message: Message, finished: Callable[[], None]) -> ActivityTask | None:
        """Return the task of a record; None where it has none, which goes to the dead letters."""
        try:
            return decode_task(message.value() or b"")
        except SchemaMismatch as error:
            place = (message.partition() or 0, message.offset() or 0)
            letter = DeadLetter(self.name, *place, message.key(), message.value(), str(error))
            self._sending.bury(letter, finished)
            return None

    def hand_over(self, task: ActivityTask, finished: Callable[[], None], again: bool) -> None:
        opened = _Open((task.run_id, task.id), finished)
        if (older := self._open.get(opened.key)) is not None:
            older.finished()
        self._open[opened.key] = opened
        self._run(task, partial(self._report, opened), again)

    def finish(self, run_id: str, id: int) -> None:
        """Note that a task was cancelled and will not report."""
        opened = self._open.pop((run_id, id), None)
        if opened is not None:
            opened.finished()
            self._has_room()

    def close(self) -> None:
        self._sending.close()

    def _report(self, opened: _Open, report: ActivityReport) -> None:
        """Send a report; the last one, once a broker has it, finishes the task."""
        if report.is_last:
            if self._open.get(opened.key) is opened:
                del self._open[opened.key]
            self._sent += 1
        self._sending.send(
            self._reports_topic,
            partition_of(report.workflow_id, self._partitions),
            report.workflow_id.encode(),
            encoded(report),
            partial(self._settled, opened) if report.is_last else _nothing,
        )
        if report.is_last:
            self._has_room()

    def _settled(self, opened: _Open) -> None:
        """Called on the delivery thread: a broker has the outcome."""
        opened.finished()
        self._landed += 1
