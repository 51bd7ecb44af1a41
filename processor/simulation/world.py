"""A simulated world: a broker, hosts that come and go, clients, and a seed that decides it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from processor.config import Settings
from processor.core.records.effects import ActivityTask
from processor.shard.recovery.survey import raises
from processor.simulation.broker import SimulatedBroker
from processor.simulation.clients import SimulatedClient
from processor.simulation.faults import CALM, Faults
from processor.simulation.hosts.activities import EagerStarts
from processor.simulation.hosts.host import Code, Host
from processor.simulation.hosts.outbox import Departures
from processor.simulation.hosts.ownership import Setting
from processor.simulation.hosts.perils import Perils
from processor.simulation.mirror import MIRRORED
from processor.simulation.scheduler import START_MS, Scheduler
from processor.simulation.threads import Threads

__all__ = ("Stuck", "World")

_STEPS_MAX: Final = 1_000_000


class Stuck(AssertionError):
    """Nothing can happen any more, or too much did, and what was waited for did not come."""


class World:
    """``owners`` is the consumer group: which host a shard is given to.

    ``perils`` is what can happen inside of port calls. Where ``watched``, ``starts`` has the eager
    attempts that began, and ``departures`` what else left the shards. ``threads`` are for a world
    of one host that a ``Driver`` moves: real ones, in which plain functions run. ``mirrored``: the
    world is also the other namespace, ``elsewhere``; else there is none but its own.
    """

    def __init__(
        self,
        seed: int,
        partitions: int = 1,
        faults: Faults = CALM,
        settings: Settings | None = None,
        now_ms: int = START_MS,
        *,
        watched: bool = False,
        mirrored: bool = False,
        threads: Threads | None = None,
    ) -> None:
        scheduler = self.scheduler = Scheduler(seed, now_ms)
        self.broker = SimulatedBroker(partitions, lambda: scheduler.now_ms)
        self.perils = Perils(scheduler, faults)
        self.faults = faults
        self.hosts: dict[str, Host] = {}
        self.owners: dict[int, str] = {}
        self._generations: Counter[int] = Counter()
        self.on_crash: Callable[[str], None] = lambda name: None
        self.on_leave: Callable[[str], None] = lambda name: None
        self.on_attempt: Callable[[ActivityTask], None] = lambda task: None
        self.starts: EagerStarts = []
        self.departures: Departures = []
        self._setting = Setting(
            scheduler,
            self.broker,
            faults,
            self.perils,
            settings or Settings(),
            self._generation,
            lambda name: self.on_crash(name),
            lambda name: self.on_leave(name),
            lambda task: self.on_attempt(task),
            threads,
            self.starts if watched else None,
            self.departures if watched else None,
            MIRRORED if mirrored else replace(MIRRORED, is_open=False),
        )
        self.broker.on_task = self._task_waits

    @property
    def injected(self) -> Counter[str]:
        """How many faults of each kind there were."""
        return self.scheduler.injected

    @property
    def rebuilt(self) -> int:
        """How many state directories were refused by a shard, and built again from the log."""
        return self._setting.rebuilt

    @property
    def trace_hash(self) -> str:
        return self.scheduler.trace_hash

    def host(self, name: str, code: Code) -> Host:
        """Make a host and start it. It gets no shard yet."""
        host = self.hosts[name] = Host(self._setting, name, code)
        self._start(host)
        return host

    def client(self, name: str, ask_again_ms: int | None = 10_000) -> SimulatedClient:
        return SimulatedClient(name, self.broker, self.scheduler, self.faults, ask_again_ms)

    def assign(self, partition: int, name: str) -> None:
        """Give a shard to a host; an earlier owner may or may not hear of it."""
        self.scheduler.trace(f"shard {partition} goes to {name}")
        if self.owners.get(partition) != name:
            self._generations[partition] += 1
        self.owners[partition] = name
        self.hosts[name].assign(partition)

    def upgrade(self, level: int) -> None:
        """Raise the level of the namespace, as ``processor upgrade`` does: claim every shard."""
        for log in self.broker.logs:
            nonce = f"{self.scheduler.random.getrandbits(64):016x}"
            log.append(*raises(nonce, level, self.scheduler.now_ms))
        self.scheduler.trace(f"the namespace is at level {level}")

    def restart(self, name: str) -> None:
        """Start a crashed host again, and give it back what the group has for it."""
        host = self.hosts[name]
        self._start(host)
        for partition, owner in self.owners.items():
            if owner == name:
                host.assign(partition)

    def run(self, done: Callable[[], bool], steps_max: int = _STEPS_MAX) -> None:
        """Let things happen until ``done``. Raises ``Stuck`` where that does not come."""
        end = self.scheduler.steps + steps_max
        while not done():
            if not self.scheduler.step():
                raise Stuck("nothing is left that could happen")
            if self.scheduler.steps > end:
                raise Stuck(f"it is not done after {steps_max:,} steps")

    def settle(self) -> None:
        """Let everything happen that does not wait for a later time."""
        while self.scheduler.step(self.scheduler.now_ms):
            pass

    def close(self) -> None:
        self.on_crash = lambda name: None
        for host in self.hosts.values():
            if host.alive:
                host.crash()

    def _start(self, host: Host) -> None:
        host.start()
        for queue in host.worker.queues:
            self._task_waits(queue)

    def _generation(self, name: str, partition: int) -> int | None:
        return self._generations[partition] if self.owners.get(partition) == name else None

    def _task_waits(self, queue: str) -> None:
        self.scheduler.soon(f"queue {queue}", lambda: self._hand_out(queue))

    def _hand_out(self, queue: str) -> None:
        """Give a waiting task to one of the hosts that serve the queue."""
        able = [
            host
            for host in self.hosts.values()
            if host.alive and not host.paused and queue in host.worker.queues
        ]
        if able:
            worker = able[int(self.scheduler.random.random() * len(able))].worker
            if worker.poll(queue) and len(self.broker.queue(queue)):
                self._task_waits(queue)
