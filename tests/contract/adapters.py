"""The adapters of the ports, each as one shard of one runtime that a test can drive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processor.codec.records import decode_as
from processor.core.data.address import ReplyTo
from processor.core.inputs import ActivityReport
from processor.core.records.answers import HeartbeatSeen
from processor.core.records.effects import ActivityTask, Publish, Reply, RunResult
from processor.embedded.disk import Disk, DiskLog, open_disk
from processor.embedded.ports import MemoryInbox, MemoryOutbox
from processor.shard.ports import Inbox, Log, Outbox, OutputRecord
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import CALM
from processor.simulation.hosts.outbox import SimulatedOutbox
from processor.simulation.hosts.ports import SimulatedInbox, SimulatedLog
from processor.simulation.scheduler import Scheduler


class Adapter(ABC):
    """Shard 0 of a runtime with one shard. ``connect`` makes an owner's ports afresh."""

    log: Log
    inbox: Inbox
    outbox: Outbox

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.tasks: list[ActivityTask] = []

    @abstractmethod
    def connect(self) -> None:
        """Begin as a new owner; what the one before left behind is settled first."""

    @abstractmethod
    def settle(self) -> None:
        """Let what is under way arrive."""

    @abstractmethod
    def outputs(self) -> list[OutputRecord]:
        """Return what a ``read_committed`` consumer of the outputs has seen."""

    @abstractmethod
    def close(self) -> None:
        """Release what the runtime holds."""

    def eventually(self, done: Callable[[], Any]) -> None:
        """Settle until ``done``."""
        for _ in range(100):
            if done():
                return
            self.settle()
        raise AssertionError("it did not come")


class Embedded(Adapter):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._disk: Disk | None = None
        self.reply_to: ReplyTo | None = None

    def connect(self) -> None:
        self.close()
        disk = self._disk = open_disk(self._path / "log", sync=False)
        self.log = DiskLog(disk)
        inbox = MemoryInbox(lambda: None)
        self.inbox = inbox
        self.outbox = MemoryOutbox(disk, inbox, self, self.replies.append)

    def enqueue(
        self, task: ActivityTask, report: Callable[[ActivityReport], None], again: bool = False
    ) -> None:
        self.tasks.append(task)

    def heed(self, seen: HeartbeatSeen) -> bool:
        return False

    def settle(self) -> None:
        assert self._disk is not None
        self._disk.commit()

    def outputs(self) -> list[OutputRecord]:
        assert self._disk is not None
        return [
            decode_as(RunResult, value) if topic == "results" else Publish(topic, key, value)
            for topic, key, value in self._disk.outputs()
        ]

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()
            self._disk = None


class Simulated(Adapter):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self._scheduler = Scheduler(seed)
        self._broker = SimulatedBroker(1)
        self._broker.clients["client"] = self.replies.append
        self._broker.on_task = self._task_came

    def connect(self) -> None:
        self.settle()
        shared = (self._scheduler, CALM, lambda: None)
        log = SimulatedLog(self._broker, 0, *shared)
        self.log = log
        self.inbox = SimulatedInbox(self._broker, 0, *shared)
        self.outbox = SimulatedOutbox(self._broker, log, 0, *shared)

    def _task_came(self, queue: str) -> None:
        task = self._broker.queue(queue).take("worker")
        assert task is not None
        self.tasks.append(task)

    def settle(self) -> None:
        while self._scheduler.step(self._scheduler.now_ms):
            pass

    def close(self) -> None:
        """Memory is all that it has."""

    def outputs(self) -> list[OutputRecord]:
        return [record for _, _, record in self._broker.outputs[0].records]
