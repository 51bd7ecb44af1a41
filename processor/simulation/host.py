"""A simulated process: it takes shards over, steps them, and can die or stand still at any moment.

It does what ``processor.node`` does for a real process, with steps of the scheduler instead of
tasks and threads: the same takeover, the same loop, the same reactions to errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from processor.config import Settings
from processor.core.runner import Runners
from processor.errors import StoreCorrupt
from processor.registry import Registry
from processor.shard.loop import Shard, ShardLost
from processor.shard.ports import ShardPorts
from processor.shard.takeover import Taken, Takeover
from processor.simulation.activities import EagerStarts, HostActivities, ShardActivities
from processor.simulation.broker import Broker
from processor.simulation.faults import Faults
from processor.simulation.ports import (
    SimulatedClock,
    SimulatedInbox,
    SimulatedLog,
    SimulatedOutbox,
)
from processor.simulation.scheduler import Channel, Scheduler, Step
from processor.simulation.workers import QueueWorker
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables

__all__ = ("Code", "Host", "Ownership", "Setting")


@dataclass(frozen=True)
class Code:
    """The user's code that a host runs: workflows, activities, and the queues it serves."""

    registry: Registry
    runners: Runners
    queues: tuple[str, ...] = ("default",)


@dataclass
class Setting:
    """What all hosts of a world share. ``may_own`` is the consumer group's view."""

    scheduler: Scheduler
    broker: Broker
    faults: Faults
    settings: Settings
    may_own: Callable[[str, int], bool]
    starts: EagerStarts = field(default_factory=list)


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
        self._lives = 0
        self._waiting: list[Callable[[], None]] = []
        self._activities: HostActivities | None = None
        self._worker: QueueWorker | None = None

    # --- the process --------------------------------------------------------------------------

    def start(self) -> None:
        assert not self.alive, f"{self.name} runs already"
        self.alive, self.paused = True, False
        self._lives += 1
        life = f"{self.name}.{self._lives}"
        setting = self.setting
        self._activities = HostActivities(
            setting.scheduler, self._code.registry, setting.settings, life, self.clock
        )
        uplink = Channel(setting.scheduler, f"{life} reports")
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
        self.setting.scheduler.trace(f"{self.name} crashes")
        assert self._worker is not None and self._activities is not None, "a live host has these"
        self.alive = False
        self._waiting.clear()
        for ownership in list(self.ownerships.values()):
            ownership.drop()
        self.ownerships.clear()
        self._worker.kill()
        self._activities.kill()

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
            wake()
        for queue in self.worker.queues:
            self.setting.broker.on_task(queue)

    def once_running(self, wake: Callable[[], None]) -> None:
        self._waiting.append(wake)

    @property
    def activities(self) -> HostActivities:
        assert self._activities is not None, "a host that was started has activities"
        return self._activities

    @property
    def worker(self) -> QueueWorker:
        assert self._worker is not None, "a host that was started has a worker"
        return self._worker

    @property
    def runners(self) -> Runners:
        return self._code.runners

    # --- shards -------------------------------------------------------------------------------

    def assign(self, partition: int) -> None:
        """Begin to take a shard over, from scratch where it is held already."""
        if self.paused:
            self.once_running(lambda: self._assign_late(partition))
            return
        self.revoke(partition)
        self.ownerships[partition] = Ownership(self, partition)

    def _assign_late(self, partition: int) -> None:
        if self.setting.may_own(self.name, partition):
            self.assign(partition)

    def revoke(self, partition: int) -> None:
        """Give a shard up at once."""
        ownership = self.ownerships.pop(partition, None)
        if ownership is not None:
            ownership.drop()

    def lost(self, ownership: Ownership) -> None:
        """Somebody else claimed the shard: claim it again if the group still gives it to us."""
        self.revoke(ownership.partition)
        if self.setting.may_own(self.name, ownership.partition):
            self.assign(ownership.partition)

    def disk(self, partition: int) -> Memory:
        return self.disks.setdefault(partition, Memory())


class Ownership:
    """One time that a host owns (or thinks that it owns) a shard."""

    def __init__(self, host: Host, partition: int) -> None:
        self.partition = partition
        self.shard: Shard | None = None
        self._host = host
        self._name = f"{host.name} shard-{partition}"
        self._scheduler = host.setting.scheduler
        self._dropped = False
        self._scheduled = False
        self._timer: Step | None = None
        self._ports, self._log = self._open()
        self._takeover = Takeover(partition, self._log, self._ports.tables, host.name)
        self._nonce = f"{self._scheduler.random.getrandbits(64):016x}"
        self._epoch: int | None = None
        self._taken: Taken | None = None
        self._takeover.begin(self._nonce, host.clock.now_ms())

    @property
    def tables(self) -> StateTables:
        tables = self._ports.tables
        assert isinstance(tables, StateTables)
        return tables

    def wake(self) -> None:
        if not self._scheduled and not self._dropped:
            self._scheduled = True
            self._scheduler.soon(self._name, self._step)

    def drop(self) -> None:
        """Forget everything in memory."""
        self._dropped = True
        if self._timer is not None:
            self._timer.cancel()
        self._log.cut()
        if self.shard is not None:
            self.shard.close()
        else:
            self._ports.inbox.close()
            self._ports.outbox.close()
            self._ports.tables.close()

    def _open(self) -> tuple[ShardPorts, SimulatedLog]:
        host, setting, partition = self._host, self._host.setting, self.partition
        shared = (setting.scheduler, setting.faults, self.wake)
        log = SimulatedLog(setting.broker, partition, *shared, host.name)
        inbox = SimulatedInbox(setting.broker, partition, *shared)
        outbox = SimulatedOutbox(setting.broker, log, partition, *shared, host.name)
        activities = ShardActivities(
            host.activities, partition, lambda: log.confirmed_end, setting.starts
        )
        try:
            tables = StateTables(host.disk(partition), f"events-{partition}")
        except StoreCorrupt:
            del host.disks[partition]
            tables = StateTables(host.disk(partition), f"events-{partition}")
        return ShardPorts(log, inbox, outbox, tables, activities, host.clock), log

    def _step(self) -> None:
        self._scheduled = False
        if self._dropped:
            return
        if self._host.paused:
            self._host.once_running(self.wake)
            return
        try:
            if self.shard is None:
                self._take_over()
            elif self.shard.step():
                self.wake()
        except ShardLost as error:
            self._scheduler.trace(f"{self._name} is lost: {error}")
            self._host.lost(self)
        else:
            self._wake_for_timers()

    def _take_over(self) -> None:
        """Do the next thing of the takeover; the world goes on between any two of them."""
        ports, host = self._ports, self._host
        if self._epoch is None:
            self._epoch = self._takeover.claimed(self._nonce, host.clock.now_ms())
            if self._epoch is None:
                return
        elif self._taken is None:
            self._taken = self._takeover.fold(self._epoch, ports.outbox.published())
        else:
            self.shard = Shard(
                self.partition,
                ports,
                host.runners,
                host.setting.settings,
                self._taken,
                self.wake,
            )
        self.wake()

    def _wake_for_timers(self) -> None:
        """Wake when a timer is due; steps that would only look further ahead are left out."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.shard is None:
            return
        clock = self._host.clock
        rows = self._ports.tables.timers(clock.now_ms(), 1)
        if rows:
            due_ms = max(self.shard.next_timer_ms(), rows[0].due_ms) - clock.offset_ms
            self._timer = self._scheduler.at(due_ms, f"{self._name} timers", self.wake)
