"""A simulated process: owns shards, runs activities, can die or stand still at any moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from processor.codec.records import LEVEL
from processor.core.runner import Runners
from processor.node.membership import Assignments
from processor.registry import Registry
from processor.simulation.hosts.activities import HostActivities
from processor.simulation.hosts.ownership import Ownership, Setting
from processor.simulation.hosts.perils import Peril
from processor.simulation.hosts.ports import SimulatedClock
from processor.simulation.hosts.publisher import Publisher
from processor.simulation.hosts.workers import QueueWorker
from processor.simulation.scheduler import Ways
from processor.store.keyvalue import Memory

__all__ = ("Code", "Host")


_HEARS_MS = 10_000
"""A member that the group refuses hears of it within so long."""


@dataclass(frozen=True)
class Code:
    """What a host runs: the user's workflows and activities, the queues it serves, and a release.

    ``queues`` is None for all that there are. ``level`` is the highest that the release knows.
    """

    registry: Registry
    runners: Runners
    queues: tuple[str, ...] | None = ("default",)
    level: int = LEVEL


class Host:
    """``disks`` are its state directories, which outlive the process; ``alive``, ``paused``."""

    def __init__(self, setting: Setting, name: str, code: Code) -> None:
        self.name = name
        self.alive = False
        self.paused = False
        self.disks: dict[int, Memory] = {}
        self.ownerships: dict[int, Ownership] = {}
        self.clock = SimulatedClock(setting.scheduler)
        self.setting = setting
        self._code = code
        self.lives = 0
        self._waiting: list[Callable[[], None]] = []
        self._assignments = Assignments()
        self._activities: HostActivities | None = None
        self._worker: QueueWorker | None = None
        self._peril: Peril | None = None
        self._publisher: Publisher | None = None

    # --- the process --------------------------------------------------------------------------

    def start(self) -> None:
        assert not self.alive, f"{self.name} runs already"
        self.alive, self.paused = True, False
        self.lives += 1
        life = f"{self.name}.{self.lives}"
        setting = self.setting
        self._activities = HostActivities(
            setting.scheduler,
            self._code.registry,
            setting.settings,
            life,
            self.clock,
            setting.attempt_begins,
            setting.threads,
        )
        self._peril = Peril(setting.perils, self)
        self._publisher = Publisher(
            self.name,
            setting.broker,
            setting.scheduler,
            setting.faults,
            lambda: self._assignments.standing,
            lambda partition: setting.generation(self.name, partition),
            self._when_running,
            self._refused,
        )
        uplink = Ways(setting.scheduler, f"{life} reports", setting.faults)
        self._worker = QueueWorker(
            life,
            setting.broker,
            setting.scheduler,
            setting.faults,
            self._activities,
            uplink,
            self._code.queues,
        )

    def crash(self) -> None:
        """End at once: what is in memory is gone, what is on the way may still arrive."""
        if not self.alive:
            return
        self.setting.scheduler.trace(f"{self.name} crashes")
        assert self._worker is not None and self._activities is not None, "a live host has these"
        self.alive = False
        self._waiting.clear()
        for ownership in list(self.ownerships.values()):
            ownership.drop()
        self.ownerships.clear()
        self._assignments = Assignments()
        self._worker.kill()
        self.publisher.kill()
        self._activities.kill()
        self.setting.crashed(self.name)

    def pause(self) -> None:
        """Stand still: nothing is noticed, nothing is forgotten."""
        self.setting.scheduler.trace(f"{self.name} pauses")
        self.paused = True
        self.activities.loop.hold()

    def resume(self) -> None:
        self.setting.scheduler.trace(f"{self.name} resumes")
        self.paused = False
        self.activities.loop.release()
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            self.setting.scheduler.soon(f"{self.name} catches up", wake)
        for queue in self.worker.queues:
            self.setting.broker.on_task(queue)

    def once_running(self, wake: Callable[[], None]) -> None:
        self._waiting.append(wake)

    def _when_running(self, run: Callable[[], None]) -> None:
        if self.paused:
            self.once_running(lambda: self._when_running(run))
        else:
            run()

    @property
    def activities(self) -> HostActivities:
        assert self._activities is not None, "a host that was started has activities"
        return self._activities

    @property
    def worker(self) -> QueueWorker:
        assert self._worker is not None, "a host that was started has a worker"
        return self._worker

    @property
    def peril(self) -> Peril:
        assert self._peril is not None, "a host that was started has perils"
        return self._peril

    @property
    def publisher(self) -> Publisher:
        assert self._publisher is not None, "a host that was started has a publisher"
        return self._publisher

    @property
    def runners(self) -> Runners:
        return self._code.runners

    @property
    def level(self) -> int:
        return self._code.level

    # --- shards -------------------------------------------------------------------------------

    def assign(self, partition: int) -> None:
        """Own a shard from now on; what is held already goes on, if it can."""
        if self.paused:
            self.once_running(lambda: self._assign_late(partition))
            return
        generation = self.setting.generation(self.name, partition)
        group = self._assignments.standing.group
        generations = group if isinstance(group, Mapping) else {}
        if generations.get(partition) != generation:
            self.revoke(partition)  # somebody else had it meanwhile
        ownership = self.ownerships.get(partition)
        if ownership is None:
            self._assignments.assigned({**generations, partition: generation}, [partition])
            self.ownerships[partition] = Ownership(self, partition)
        else:
            ownership.assigned()

    def _assign_late(self, partition: int) -> None:
        if self.alive and self.may_own(partition):
            self.assign(partition)

    def revoke(self, partition: int) -> None:
        """Give a shard up, once it runs."""
        if self.paused:
            self.once_running(lambda: self._revoke_late(partition))
            return
        self._assignments.given_up([partition])
        ownership = self.ownerships.pop(partition, None)
        if ownership is not None:
            ownership.drop()

    def _revoke_late(self, partition: int) -> None:
        if not self.may_own(partition):
            self.revoke(partition)

    def _refused(self) -> None:
        """Hear from the group, a little later, what it says of the shards."""
        scheduler, life = self.setting.scheduler, self.lives

        def hear() -> None:
            for partition in list(self.ownerships) if self.alive and self.lives == life else ():
                if self.may_own(partition):
                    self.assign(partition)
                else:
                    self.revoke(partition)

        delay_ms = scheduler.random.randint(0, _HEARS_MS)
        scheduler.after(delay_ms, f"{self.name} hears of its group", hear)

    def may_own(self, partition: int) -> bool:
        return self.setting.generation(self.name, partition) is not None

    def disk(self, partition: int) -> Memory:
        return self.disks.setdefault(partition, Memory())
