"""The durable part of a simulated world: what Kafka is to the real one. It never fails.

Each partition is shared by whoever writes and reads it; what is between them and the broker
(delay, loss, duplication) is the ports' affair.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final
from zlib import crc32

from processor.codec.records import decode_as
from processor.core.data.cause import Origin
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.nouns.call import AnswerCall
from processor.core.records.answers import Refused
from processor.core.records.effects import ActivityTask, DeadLetter, Publish, Reply, RunResult
from processor.core.records.turn import Source
from processor.shard.messages.border import Abroad
from processor.simulation.mirror import OWN_COMMANDS, mirrored
from processor.simulation.partitions import InputPartition, LogPartition, Outputs, Transactions

__all__ = ("INPUTS", "SimulatedBroker", "TaskQueue")

INPUTS: Final[dict[Source, type]] = {
    "commands": ClientCommand,
    "results": ActivityReport,
    "timers": TimerDue,
}
"""The three inputs, and what each holds."""


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


class SimulatedBroker:
    """All topics of one namespace, with its log id, and the clients that wait for replies.

    ``arrivals`` has, for each message that arrived, where the log of its sender ended just then;
    ``burials`` the same for each command that has a dead letter, by shard and offset. ``asked`` has
    the commands that clients sent, by client and number. ``refused`` has what the publishers told
    the callers of messages that could not cross the border, by run and call.
    """

    def __init__(self, partitions: int, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.log_id = b"a simulated log."
        self.partitions = partitions
        self.logs = [LogPartition(now_ms) for _ in range(partitions)]
        self.inputs = [
            {source: InputPartition(cls) for source, cls in INPUTS.items()}
            for _ in range(partitions)
        ]
        self.outputs = [Outputs(log) for log in self.logs]
        self.transactions = Transactions(self.outputs, self.message)
        self.arrivals: dict[Origin, int] = {}
        self.refused: dict[tuple[str, int], Refused] = {}
        self.asked: dict[tuple[str, int], ClientCommand] = {}
        self.burials: dict[tuple[int, int], int] = {}
        self.dead_letters: list[DeadLetter] = []
        self.queues: dict[str, TaskQueue] = {}
        self.clients: dict[str, Callable[[Reply], None]] = {}
        self.on_task: Callable[[str], None] = lambda queue: None

    def partition_of(self, workflow_id: str) -> int:
        return crc32(workflow_id.encode()) % self.partitions

    def command(self, command: ClientCommand, partition: int | None = None) -> None:
        if partition is None:
            partition = self.partition_of(command.workflow_id)
        if isinstance(command.cause, Origin):
            self.arrivals.setdefault(command.cause, self.logs[command.cause.shard].end)
        if command.reply_to is not None:
            self.asked[command.reply_to.client, command.reply_to.request] = command
        self.inputs[partition]["commands"].append(command)

    def message(self, record: Publish) -> None:
        """Take a message that was published: it has crossed the border, or could not."""
        assert record.value is not None, "a message has a body"
        command = decode_as(ClientCommand, record.value)
        if record.topic != OWN_COMMANDS:
            self.command(mirrored(command))
            return
        body = command.body
        assert isinstance(body, AnswerCall), f"{body} goes by no publisher"
        assert isinstance(body.outcome, Refused), "only what is refused is told by a publisher"
        which = body.run_id, body.call
        assert which not in self.refused, f"a call is refused once: {which}"
        self.refused[which] = body.outcome
        self.command(command)

    def bury(self, letter: DeadLetter) -> None:
        if letter.topic == "commands" and letter.offset >= 0:
            place = (letter.partition, letter.offset)
            self.burials.setdefault(place, self.logs[letter.partition].end)
        self.dead_letters.append(letter)

    def report(self, report: ActivityReport) -> None:
        partition = self.partition_of(report.workflow_id)
        self.inputs[partition]["results"].append(report)

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
        found = [record for outputs in self.outputs for record in outputs.of(Publish)]
        return [record for record in found if not isinstance(record, Abroad)]
