"""The ports of the embedded runtime, around one ``Disk``.

Inputs are numbered in one process-wide order; the numbers go on after a restart from the
positions in the log. Commands of clients, reports and due timers live in memory until a turn
answers them: whoever sent them is told only then, or they are derived again from the state.
Messages between instances go from the one shard to itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from processor.core.data.address import ReplyTo
from processor.core.data.cause import Origin
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.records.answers import HeartbeatSeen, StopWanted
from processor.core.records.effects import ActivityTask, DeadLetter, Message, Reply
from processor.core.records.turn import Positions, Source
from processor.embedded.disk import Disk
from processor.shard.ports import InboxRecord, OutputRecord, Sendable

__all__ = ("MemoryInbox", "MemoryOutbox", "QueuedTasks")

_WORKER: Final = ReplyTo(0, "activities of this process")


class QueuedTasks(Protocol):
    """Runs tasks of queues in this process, as their slots allow.

    One that may have begun before (``again``) is asked about first: a report "started" to which
    ``heed`` brings the answer, so that a task which ends its process each time is counted.
    """

    reply_to: ReplyTo | None

    def enqueue(
        self, task: ActivityTask, report: Callable[[ActivityReport], None], again: bool = False
    ) -> None: ...

    def heed(self, seen: HeartbeatSeen | StopWanted) -> bool: ...


class MemoryInbox:
    """``_early``: what came before the shard's first step; None from then on."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._records: deque[InboxRecord] = deque()
        self._early: list[ClientCommand] | None = []
        self._next: dict[Source, int] = {}

    def open(self, positions: Positions) -> None:
        self._next = {
            "commands": positions.commands,
            "results": positions.results,
            "timers": positions.timers,
        }

    def submit(self, command: ClientCommand) -> None:
        """Take a command of a client."""
        if self._early is not None:
            self._early.append(command)
        else:
            self._put(command)

    def _put(self, command: ClientCommand) -> None:
        self._records.append(InboxRecord("commands", self._number("commands"), command))
        self._wake()

    def report(self, report: ActivityReport) -> None:
        offset = self._number("results")
        self._records.append(InboxRecord("results", offset, report))
        self._wake()

    def due(self, timer: TimerDue) -> None:
        self._records.append(InboxRecord("timers", self._number("timers"), timer))
        self._wake()

    @property
    def waiting(self) -> bool:
        return bool(self._records) or self._early is not None

    def take(self, count: int) -> Sequence[InboxRecord]:
        """Drain up to ``count``. At the first call, what came early is numbered.

        The inbox is opened on a thread while clients send commands on the loop.
        """
        if self._early is not None:
            early, self._early = self._early, None
            for command in early:
                self._put(command)
        records = self._records
        return [records.popleft() for _ in range(min(count, len(records)))]

    def close(self) -> None:
        self._records.clear()

    def _number(self, source: Source) -> int:
        offset = self._next[source]
        self._next[source] = offset + 1
        return offset


class MemoryOutbox:
    """``_held``: tasks that wait for the shard's first step; None from then on.

    Tasks are in memory only: a shard that is taken over derives them again (``keeps_tasks``).
    """

    def __init__(
        self,
        disk: Disk,
        inbox: MemoryInbox,
        tasks: QueuedTasks,
        replied: Callable[[Reply], None],
    ) -> None:
        self._disk = disk
        self._inbox = inbox
        self._tasks = tasks
        self._replied = replied
        self._delivered: deque[int] = deque()
        self._letters = disk.end_of("dead-letters")
        self._held: list[ActivityTask] | None = []
        tasks.reply_to = _WORKER

    def send(self, effect: Sendable, token: int | None, origin: Origin | None = None) -> None:
        match effect:
            case TimerDue():
                self._inbox.due(effect)
            case Message():
                raise AssertionError("the one shard of a path hands its messages over itself")
            case ActivityTask() if self._held is not None:
                self._held.append(effect)
            case ActivityTask():
                self._tasks.enqueue(effect, self._inbox.report)
            case DeadLetter():
                self._disk.put_dead_letter(self._letters, effect)
                self._letters += 1
        if token is not None:
            self._disk.then(lambda: self._delivered.append(token))

    @property
    def waiting(self) -> bool:
        return bool(self._delivered) or self._held is not None

    def delivered(self) -> Sequence[int]:
        """Drain the tokens; at the first call, which is the shard's first step, start the tasks.

        What a new owner sends again comes before its inbox is open, and not on the loop.
        """
        held, self._held = self._held, None
        for task in held or ():
            self._tasks.enqueue(task, self._inbox.report, again=True)
        drained = list(self._delivered)
        self._delivered.clear()
        return drained

    def reply(self, reply: Reply) -> None:
        if isinstance(reply.body, HeartbeatSeen | StopWanted) and reply.to == _WORKER:
            self._tasks.heed(reply.body)
        else:
            self._replied(reply)

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        for index, record in enumerate(records):
            self._disk.put_output(offset, index, record)

    def published(self) -> int:
        return max(self._disk.end_of("outputs") - 1, 0)

    @property
    def stuck(self) -> int:
        return 0

    @property
    def unsent_bytes(self) -> int:
        return 0

    def published_floor(self, released: int) -> int:
        """Return ``released``: what was handed over is on disk before any later record."""
        return released

    def undelivered(self, run_id: str) -> None:
        return None

    def close(self) -> None:
        self._delivered.clear()
