"""The durable part of a simulated world: what Kafka is to the real one. It never fails.

Each partition is shared by whoever writes and reads it; what is between them and the broker
(delay, loss, duplication) is the ports' affair.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar
from zlib import crc32

from processor.codec.records import decode_as, encode
from processor.core.effects import ActivityTask, DeadLetter, Publish, Reply, RunResult
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.turn import Source
from processor.shard.ports import LogRecord, OutputRecord

__all__ = ("INPUTS", "Broker", "InputPartition", "LogPartition", "Output", "Outputs", "TaskQueue")

INPUTS: Final[dict[Source, type]] = {
    "commands": ClientCommand,
    "activity-results": ActivityReport,
    "timers": TimerDue,
}
"""The three inputs, and what each holds."""

T = TypeVar("T")

Output = tuple[int, int, OutputRecord]
"""A committed output: the log offset of its turn, its place in the turn, and the record."""


class LogPartition:
    """One partition of ``events``. Compaction may leave holes; offsets are never used again."""

    def __init__(self) -> None:
        self._records: dict[int, LogRecord] = {}
        self.first = 0
        self.end = 0

    def append(self, key: bytes, value: bytes | None) -> int:
        offset = self.end
        self._records[offset] = LogRecord(offset, key, value)
        self.end += 1
        return offset

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        for offset in range(max(first, self.first), min(end, self.end)):
            record = self._records.get(offset)
            if record is not None:
                yield record

    def compact(self, below: int) -> None:
        """Keep the last record of each key, as a cleaner does that has come up to ``below``."""
        last = {record.key: offset for offset, record in self._records.items()}
        for offset in [o for o in self._records if o < below]:
            record = self._records[offset]
            if last[record.key] != offset or record.value is None:
                del self._records[offset]


class InputPartition:
    """One partition of an input."""

    def __init__(self, cls: type) -> None:
        self.first = 0
        self._cls = cls
        self._records: list[bytes] = []
        self._readers: list[Callable[[], None]] = []

    @property
    def end(self) -> int:
        return self.first + len(self._records)

    def append(self, record: ClientCommand | ActivityReport | TimerDue) -> None:
        self._records.append(encode(record))
        for wake in list(self._readers):
            wake()

    def get(self, offset: int) -> ClientCommand | ActivityReport | TimerDue:
        record: ClientCommand | ActivityReport | TimerDue
        record = decode_as(self._cls, self._records[offset - self.first])
        return record

    def truncate(self, first: int) -> None:
        """Drop what is below ``first``, as retention does."""
        del self._records[: first - self.first]
        self.first = first

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._readers.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        if wake in self._readers:
            self._readers.remove(wake)


class Outputs:
    """What one shard has published, and the transactional id that fences its owners.

    ``position`` is written together with the records: the log offset below which all is there.
    """

    def __init__(self) -> None:
        self.records: list[Output] = []
        self.position = 0
        self._fence = 0

    def fence(self) -> int:
        """Begin a new owner's session: what an earlier one has not committed never will be."""
        self._fence += 1
        return self._fence

    def commit(self, session: int, offset: int, records: Sequence[OutputRecord]) -> bool:
        """Write one turn's records and the position, or nothing where the session is fenced."""
        if session != self._fence:
            return False
        assert offset >= self.position, f"turn {offset} is published again after {self.position}"
        self.records += [(offset, index, record) for index, record in enumerate(records)]
        self.position = offset + 1
        return True

    def of(self, cls: type[T]) -> list[T]:
        """Return the committed records of one kind, as a ``read_committed`` consumer sees them."""
        return [record for _, _, record in self.records if isinstance(record, cls)]


class TaskQueue:
    """One ``activities.<queue>`` topic and its consumer group.

    A task is committed when its outcome has been delivered; those of a dead worker are given to
    another one.
    """

    def __init__(self) -> None:
        self._waiting: deque[ActivityTask] = deque()
        self._taken: dict[str, list[ActivityTask]] = {}

    def put(self, task: ActivityTask) -> None:
        self._waiting.append(task)

    def take(self, worker: str) -> ActivityTask | None:
        if not self._waiting:
            return None
        task = self._waiting.popleft()
        self._taken.setdefault(worker, []).append(task)
        return task

    def done(self, worker: str, task: ActivityTask) -> None:
        taken = self._taken.get(worker, [])
        if task in taken:
            taken.remove(task)

    def lost(self, worker: str) -> None:
        self._waiting.extend(self._taken.pop(worker, ()))

    def __len__(self) -> int:
        return len(self._waiting)


class Broker:
    """All topics of one namespace, and the clients that wait for replies."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.logs = [LogPartition() for _ in range(partitions)]
        self.inputs = [
            {source: InputPartition(cls) for source, cls in INPUTS.items()}
            for _ in range(partitions)
        ]
        self.outputs = [Outputs() for _ in range(partitions)]
        self.dead_letters: list[DeadLetter] = []
        self.queues: dict[str, TaskQueue] = {}
        self.clients: dict[str, Callable[[Reply], None]] = {}
        self.on_task: Callable[[str], None] = lambda queue: None

    def partition_of(self, workflow_id: str) -> int:
        return crc32(workflow_id.encode()) % self.partitions

    def command(self, command: ClientCommand, partition: int | None = None) -> None:
        if partition is None:
            partition = self.partition_of(command.workflow_id)
        self.inputs[partition]["commands"].append(command)

    def report(self, report: ActivityReport) -> None:
        partition = self.partition_of(report.workflow_id)
        self.inputs[partition]["activity-results"].append(report)

    def due(self, due: TimerDue) -> None:
        self.inputs[self.partition_of(due.workflow_id)]["timers"].append(due)

    def task(self, task: ActivityTask) -> None:
        self.queue(task.queue).put(task)
        self.on_task(task.queue)

    def queue(self, name: str) -> TaskQueue:
        return self.queues.setdefault(name, TaskQueue())

    def reply(self, reply: Reply) -> None:
        resolve = self.clients.get(reply.to.client)
        if resolve is not None:
            resolve(reply)

    def results(self) -> list[RunResult]:
        """Return every published result, shard by shard."""
        return [record for outputs in self.outputs for record in outputs.of(RunResult)]

    def published(self) -> list[Publish]:
        """Return every record that workflows published, shard by shard."""
        return [record for outputs in self.outputs for record in outputs.of(Publish)]
