"""What befalls the hosts of a world: crashes, pauses, and shards that get a second owner."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Final

from processor.simulation.host import Host
from processor.simulation.scheduler import START_MS
from processor.simulation.world import Stuck, World
from processor.store.keyvalue import Memory

__all__ = ("Chaos",)

_DAYS_MAX: Final = 30
_DAY_MS: Final = 24 * 3600 * 1000


class Chaos:
    """Use ``run`` instead of the world's. After the last blow every host recovers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._left = world.faults.blows_max
        self._earlier: dict[tuple[str, int], Memory] = {}

    def run(self, done: Callable[[], bool], steps_max: int = 200_000) -> None:
        world, scheduler, faults = self._world, self._scheduler, self._world.faults
        time_max_ms = scheduler.now_ms + _DAYS_MAX * _DAY_MS
        while not done():
            if self._left > 0 and scheduler.chance(faults.blow):
                self._left -= 1
                self._blow()
            if not scheduler.step():
                raise Stuck("nothing is left that could happen")
            if scheduler.steps > steps_max or scheduler.now_ms > time_max_ms:
                days = (scheduler.now_ms - START_MS) / _DAY_MS
                raise Stuck(f"it is not done after {scheduler.steps:,} steps and {days:.0f} days")
        self._recover()
        world.settle()

    def _blow(self) -> None:
        random = self._scheduler.random
        alive = [host for host in self._world.hosts.values() if host.alive]
        host = random.choice(alive) if alive else None
        kind = random.choice(("crash", "pause", "rebalance", "rebalance unheard", "back up"))
        if host is None:
            return
        match kind:
            case "crash":
                self._crash(host)
            case "pause" if not host.paused:
                self._pause(host)
            case "rebalance" | "rebalance unheard":
                self._rebalance(heard=kind == "rebalance")
            case "back up":
                for partition, disk in host.disks.items():
                    self._earlier[host.name, partition] = deepcopy(disk)

    def _crash(self, host: Host) -> None:
        random, faults = self._scheduler.random, self._world.faults
        host.crash()
        for partition in list(host.disks):
            earlier = self._earlier.get((host.name, partition))
            if self._scheduler.chance(faults.wiped):
                del host.disks[partition]
            elif earlier is not None and self._scheduler.chance(faults.stale):
                host.disks[partition] = deepcopy(earlier)
        delay_ms = random.randint(0, 20_000)
        self._scheduler.after(delay_ms, f"{host.name} starts", lambda: self._restart(host))
        if random.random() < 0.5:
            self._take_away(host)

    def _restart(self, host: Host) -> None:
        if not host.alive:
            self._world.restart(host.name)

    def _pause(self, host: Host) -> None:
        host.pause()
        delay_ms = self._scheduler.random.randint(0, self._world.faults.pause_ms_max)
        self._scheduler.after(delay_ms, f"{host.name} resumes", lambda: self._resume(host))
        if self._scheduler.random.random() < 0.7:
            self._take_away(host)

    def _resume(self, host: Host) -> None:
        if host.alive and host.paused:
            host.resume()

    def _take_away(self, host: Host) -> None:
        """The group gives the shards of a silent host to others."""
        for partition, owner in list(self._world.owners.items()):
            others = [h for h in self._world.hosts.values() if h.alive and not h.paused]
            if owner == host.name and others:
                self._world.assign(partition, self._scheduler.random.choice(others).name)

    def _rebalance(self, *, heard: bool) -> None:
        random, world = self._scheduler.random, self._world
        partition = random.randrange(world.broker.partitions)
        others = [host for host in world.hosts.values() if host.alive]
        before = world.hosts[world.owners[partition]]
        world.assign(partition, random.choice(others).name)
        if heard and before.alive and world.owners[partition] != before.name:
            delay_ms = random.randint(0, 1_000)
            self._scheduler.after(delay_ms, "a revocation", lambda: self._revoke(before, partition))

    def _revoke(self, host: Host, partition: int) -> None:
        if not host.alive or self._world.owners[partition] == host.name:
            return
        if host.paused:
            host.once_running(lambda: self._revoke(host, partition))
        else:
            host.revoke(partition)

    def _recover(self) -> None:
        self._left = 0
        for host in self._world.hosts.values():
            self._restart(host)
            self._resume(host)
