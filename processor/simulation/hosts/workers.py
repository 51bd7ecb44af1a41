"""A simulated host's share in the activity queues: takes tasks, runs them, reports outcomes."""

from __future__ import annotations

from processor.core.data.address import ReplyTo
from processor.core.inputs import ActivityReport
from processor.core.records.answers import HeartbeatSeen, StopWanted
from processor.core.records.effects import ActivityTask, Reply
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import Faults
from processor.simulation.hosts.activities import HostActivities
from processor.simulation.scheduler import Scheduler, Ways

__all__ = ("QueueWorker",)

_LATE_MS_MAX = 600_000


class QueueWorker:
    """Hands tasks over one at a time; the executor keeps what it has no slot for."""

    def __init__(
        self,
        name: str,
        broker: SimulatedBroker,
        scheduler: Scheduler,
        faults: Faults,
        activities: HostActivities,
        uplink: Ways,
        queues: tuple[str, ...] | None,
    ) -> None:
        self._queues = queues
        self._name = name
        self._broker = broker
        self._scheduler = scheduler
        self._faults = faults
        self._activities = activities
        self._uplink = uplink
        self._dead = False
        broker.clients[name] = self._replied
        activities.executor.reply_to = ReplyTo(0, name)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that it serves."""
        return tuple(self._broker.queues) if self._queues is None else self._queues

    def poll(self, queue: str) -> bool:
        """Take one task, if there is one."""
        task = None if self._dead else self._broker.queue(queue).take(self._name)
        if task is None:
            return False
        taken = task
        self._scheduler.trace(f"{self._name} takes {task.run_id}/{task.id}#{task.attempt}")
        self._activities.enqueue(task, lambda report: self._report(taken, report))
        return True

    def kill(self) -> None:
        """End without committing: what was taken is given to another worker."""
        self._dead = True
        self._uplink.cut()
        self._broker.clients.pop(self._name, None)
        self.expelled()

    def expelled(self) -> None:
        """The group gives to others what this worker has taken; it may not know of it."""
        for queue in self.queues:
            self._broker.queue(queue).lost(self._name)
            self._broker.on_task(queue)

    def _report(self, task: ActivityTask, report: ActivityReport) -> None:
        if self._dead:
            return
        scheduler, faults = self._scheduler, self._faults
        answers = report.is_last
        if answers and scheduler.strikes(faults, "answer_late"):
            delay_ms = scheduler.random.randint(1, _LATE_MS_MAX)
            scheduler.after(
                delay_ms, f"{self._name} answers late", lambda: self._send(task, report)
            )
        else:
            self._send(task, report)
        if answers and scheduler.strikes(faults, "answer_twice"):
            self._send(task, report)

    def _send(self, task: ActivityTask, report: ActivityReport) -> None:
        if not self._dead:
            partition = self._broker.partition_of(report.workflow_id)
            self._uplink.send(f"results-{partition}", lambda: self._arrive(task, report))

    def _arrive(self, task: ActivityTask, report: ActivityReport) -> None:
        self._broker.report(report)
        if report.is_last:
            self._broker.queue(task.queue).done(self._name, task)

    def _replied(self, reply: Reply) -> None:
        if isinstance(reply.body, HeartbeatSeen | StopWanted) and not self._dead:
            self._activities.executor.heed(reply.body)
