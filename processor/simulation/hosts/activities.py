"""The activities of one simulated host: the executor of every worker, on a loop in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from processor.activities.executor import Executor, Report
from processor.config import Settings
from processor.core.data.options import ActivityOptions
from processor.core.inputs import ActivityReport
from processor.core.records.effects import ActivityTask
from processor.registry import Registry
from processor.shard.ports import Clock
from processor.simulation.hosts.perils import Peril, port_call
from processor.simulation.hosts.processes import VirtualProcess
from processor.simulation.scheduler import Scheduler
from processor.simulation.threads import Threads
from processor.simulation.virtual_loop import VirtualLoop

__all__ = ("EagerStarts", "HostActivities", "ShardActivities", "Started")


class HostActivities:
    """One process's executor with its loop; both end when the process does."""

    def __init__(
        self,
        scheduler: Scheduler,
        registry: Registry,
        settings: Settings,
        name: str,
        clock: Clock,
        begins: Callable[[ActivityTask], None],
        threads: Threads | None,
    ) -> None:
        self.loop = VirtualLoop(scheduler, f"{name} loop", threads)
        with self.loop.entered():
            self._executor = _Executor(registry, settings, name, clock)
        if threads is None:
            self._executor.runs_in_place()
        self._executor.begins = begins

    @property
    def executor(self) -> Executor:
        return self._executor

    def enqueue(self, task: ActivityTask, report: Callable[[ActivityReport], None]) -> None:
        with self.loop.entered():
            self._executor.enqueue(task, report)

    def kill(self) -> None:
        self._executor.abandon()
        self.loop.kill()


class _Executor(Executor):
    begins: Callable[[ActivityTask], None]

    def runs_in_place(self) -> None:
        """Have no other processes: time does not pass in them."""
        self._processes.made = VirtualProcess

    def abandon(self) -> None:
        """Begin nothing any more: the process is dead."""
        self._stopping = True
        self._backlog.clear()
        self._left.shutdown()
        self._processes.shutdown()

    def _run(self, task: ActivityTask, report: Report, *, announces: bool = False) -> None:
        self.begins(task)
        super()._run(task, report, announces=announces)


class Started(NamedTuple):
    """An eager attempt that began; its turn has to be in the log below ``confirmed_end``."""

    partition: int
    run_id: str
    id: int
    attempt: int
    confirmed_end: int


EagerStarts = list[Started]


class ShardActivities:
    """Implements the ``Activities`` port of one shard and notes what it starts."""

    def __init__(
        self,
        host: HostActivities,
        partition: int,
        confirmed_end: Callable[[], int],
        starts: EagerStarts | None = None,
        peril: Peril | None = None,
    ) -> None:
        self._host = host
        self._peril = peril
        self._partition = partition
        self._confirmed_end = confirmed_end
        self._starts = starts

    @port_call
    def place(self, name: str, options: ActivityOptions, taken: int) -> bool:
        return self._host.executor.place(name, options, taken)

    def reserve(self, count: int) -> None:
        self._host.executor.reserve(count)

    def release(self, count: int) -> None:
        self._host.executor.release(count)

    def room(self) -> int:
        return self._host.executor.room()

    @port_call
    def start(self, task: ActivityTask, report: Callable[[ActivityReport], None]) -> None:
        if self._starts is not None:
            end = self._confirmed_end()
            self._starts.append(Started(self._partition, task.run_id, task.id, task.attempt, end))
        with self._host.loop.entered():
            self._host.executor.start(task, report)

    @port_call
    def cancel(self, run_id: str, id: int, waits: bool = False) -> None:
        with self._host.loop.entered():
            self._host.executor.cancel(run_id, id, waits)
