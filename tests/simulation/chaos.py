"""What befalls the hosts of a world between their steps, and what the group makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from processor.codec.records import LEVEL, decode, encode
from processor.core.data.address import Address, Caller, ReplyTo
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.questions import AwaitResult, ReadShard
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Claim, Turn, claim_key
from processor.errors import SchemaMismatch
from processor.simulation.faults import PER_HOST
from processor.simulation.hosts.host import Host
from processor.simulation.hosts.perils import DAY_MS
from processor.simulation.partitions import InputPartition
from processor.simulation.scheduler import START_MS
from processor.simulation.world import Stuck, World
from processor.store.keyvalue import Memory

from . import reading
from .programs import Release

__all__ = ("Chaos",)

_LATER_LOG: Final = b"a later log's id"
_DAYS_MAX: Final = 120
_EVENTS_MAX: Final = 1_000
"""Of one run: those of 230 seeds had 137 at the most."""

_STEPS_MAX: Final = 300_000
"""Those of 200 seeds took 6,400 at the most, and seed 451 takes over 100,000: a process is gone for
long there. A story that is stuck takes all of them."""

_LOOK_EVERY: Final = 100
"""Steps between two looks for a run that has more."""

_HOUR_MS: Final = 3_600_000
_LOOK_AGAIN_MS: Final = 30_000
"""After a jump of its clock a real process finds out at its next look ahead."""

_REST_MS: Final = 2 * _HOUR_MS
"""Longer than until the next mark, also by a clock that has jumped back an hour."""

_RESTS_MAX: Final = 5

_BESIDES: Final = (
    *("back_up", "clock_jump", "compaction", "look", "purge", "retention", "unreadable"),
)


class Chaos:
    """Use ``run`` instead of the world's. After it every host has recovered and is at rest.

    What befalls hosts is bounded by ``perils.blows_left``, the rest is not. Workers are hosts
    whose name begins with "worker": they get no shards. ``earlier`` has copies of their disks.
    """

    def __init__(self, world: World) -> None:
        self.removed = 0
        self.purgeable: list[tuple[str, str]] = []
        self.unreadable: set[tuple[int, int]] = set()
        self.later_calls: list[Origin] = []
        self._world = world
        self._scheduler = world.scheduler
        self._steps_max = 0
        self.earlier: dict[tuple[str, int], Memory] = {}
        self._kinds = (*PER_HOST, *_BESIDES)
        self._weights = [getattr(world.faults, kind) for kind in self._kinds]
        self._per_step = sum(self._weights)
        self._ahead_ms = world.scheduler.random.choice((-_HOUR_MS, _HOUR_MS))

    def run(self, done: Callable[[], bool], steps_max: int = _STEPS_MAX) -> None:
        world, scheduler = self._world, self._scheduler
        self._steps_max = steps_max
        scheduler.before_step = self._before_step
        world.on_crash = self._crashed
        world.on_leave = self._left
        world.perils.silent = self._silent
        while not done():
            if not scheduler.step():
                raise Stuck("nothing is left that could happen")
        self._recover()

    def _before_step(self) -> None:
        scheduler = self._scheduler
        if scheduler.steps > self._steps_max or scheduler.now_ms > START_MS + _DAYS_MAX * DAY_MS:
            days = (scheduler.now_ms - START_MS) / DAY_MS
            raise Stuck(f"it is not done after {scheduler.steps:,} steps and {days:.0f} days")
        if scheduler.steps % _LOOK_EVERY == 0:
            self._look_for_one_that_goes_on_and_on()
        if scheduler.random.random() < self._per_step:
            [kind] = scheduler.random.choices(self._kinds, self._weights)
            bounded = kind in PER_HOST
            if bounded and self._world.perils.blows_left <= 0:
                return
            happens: Callable[[], bool] = getattr(self, f"_{kind}")
            if happens():
                scheduler.injected[kind] += 1
                self._world.perils.blows_left -= bounded

    def _look_for_one_that_goes_on_and_on(self) -> None:
        """Find the run that waits in a loop for what never comes: each turn takes it longer."""
        for log in self._world.broker.logs:
            for record in log.read(log.end - 1, log.end):
                entry = None if record.value is None else _turn_of(record.value)
                if entry is not None and entry.first > _EVENTS_MAX:
                    raise Stuck(
                        f"it is not done after {self._scheduler.steps:,} steps: run "
                        f"{entry.run_id} of {entry.workflow_id!r} has {entry.first:,} events, and "
                        "goes on and on"
                    )

    # --- blows --------------------------------------------------------------------------------

    def _host_crash(self) -> bool:
        return self._crash(self._some(lambda host: host.alive and not _is_worker(host)))

    def _worker_death(self) -> bool:
        return self._crash(self._some(lambda host: host.alive and _is_worker(host)))

    def _crash(self, host: Host | None) -> bool:
        if host is None:
            return False
        host.crash()
        return True

    def _host_pause(self) -> bool:
        host = self._some(lambda host: host.alive and not host.paused)
        if host is None:
            return False
        host.pause()
        life = host.lives
        self._scheduler.after(
            self._world.perils.outage_ms(),
            f"{host.name} resumes",
            lambda: self._resume(host, life),
        )
        self._silent(host.name)
        return True

    def _rebalance(self) -> bool:
        before = self._moved()
        if before is None:
            return False
        host, partition = before
        delay_ms = self._scheduler.random.randint(0, 1_000)
        self._scheduler.after(delay_ms, "a revocation", lambda: self._revoke(host, partition))
        return True

    def _second_owner(self) -> bool:
        return self._moved() is not None

    def _claimed(self) -> bool:
        """Let the claim of somebody arrive whom nobody has heard of since."""
        log = self._scheduler.random.choice(self._world.broker.logs)
        nonce = f"{self._scheduler.random.getrandbits(64):016x}"
        claim = Claim("somebody", nonce, LEVEL, self._scheduler.now_ms)
        log.append(claim_key(nonce), encode(claim))
        return True

    def _moved(self) -> tuple[Host, int] | None:
        """Give a shard to another host; return who had it."""
        world, random = self._world, self._scheduler.random
        partition = random.randrange(world.broker.partitions)
        before = world.hosts[world.owners[partition]]
        after = self._some(lambda host: host.alive and host is not before and not _is_worker(host))
        if after is None:
            return None
        world.assign(partition, after.name)
        return before, partition

    def _revoke(self, host: Host, partition: int) -> None:
        if host.alive and self._world.owners[partition] != host.name:
            host.revoke(partition)

    # --- besides ------------------------------------------------------------------------------

    def _back_up(self) -> bool:
        host = self._some(lambda host: bool(host.disks))
        if host is None:
            return False
        for partition, disk in host.disks.items():
            self.earlier[host.name, partition] = disk.copy()
        return True

    def _clock_jump(self) -> bool:
        host = self._some(lambda host: host.alive)
        if host is None:
            return False
        host.clock.offset_ms = 0 if host.clock.offset_ms else self._ahead_ms
        self._scheduler.trace(f"{host.name}: its clock is {host.clock.offset_ms} ms off")
        for ownership in host.ownerships.values():
            self._scheduler.after(_LOOK_AGAIN_MS, f"{host.name} looks ahead", ownership.wake)
        return True

    def _compaction(self) -> bool:
        random = self._scheduler.random
        log = random.choice(self._world.broker.logs)
        below = log.cleanable()
        if random.random() < 0.3:
            below = random.randint(0, below)
        rewritten = random.randint(0, below) if random.random() < 0.5 else None
        removed = log.compact(below, rewritten)
        self._scheduler.trace(f"a cleaner removes {removed}")
        self.removed += removed
        return removed > 0

    def _purge(self) -> bool:
        """Let the owner give up a run that is over, and whose client knows how it ended."""
        if not self.purgeable:
            return False
        workflow_id, run_id = self._scheduler.random.choice(self.purgeable)
        partition = self._world.broker.partition_of(workflow_id)
        ownership = self._owner(partition).ownerships.get(partition)
        if ownership is None or ownership.shard is None:
            return False
        self._scheduler.trace(f"run {run_id} is purged")
        ownership.do(lambda shard: shard.purge(workflow_id, run_id))
        return True

    def _look(self) -> bool:
        """Somebody asks a shard about itself, and does not wait for the answer."""
        broker = self._world.broker
        partition = self._scheduler.random.randrange(broker.partitions)
        broker.command(ClientCommand("", ReadShard(), reply_to=ReplyTo(0, "nobody", 0)), partition)
        return True

    def upgrade_after(self, delay_ms: int) -> None:
        """Raise the level once the last old process is gone; it may come back, and has to leave."""
        self._scheduler.after(delay_ms, "an upgrade", self._upgrade)

    def _upgrade(self) -> None:
        for host in self._world.hosts.values():
            if host.level == LEVEL and not _is_worker(host):
                host.crash()
                self._take_away(host)
        for partition in self._partitions:
            able = self._some(lambda host: host.alive and host.level > LEVEL)
            if able is not None and not _is_worker(able):  # may look before, and claim after it
                self._world.assign(partition, able.name)
        self._scheduler.soon("an upgrade", lambda: self._world.upgrade(LEVEL + 1))

    def release_after(self, delay_ms: int, release: Release) -> None:
        """Let all hosts have code without its bug from then on. They start again with it."""

        def mend() -> None:
            release.mended = True
            for host in self._world.hosts.values():
                if host.alive:
                    host.crash()

        self._scheduler.after(delay_ms, "a release", mend)

    def _retention(self) -> bool:
        """Remove inputs up to where the log stands, or the slowest of those who read them."""
        world = self._world
        partition = self._scheduler.random.randrange(world.broker.partitions)
        places = [reading.positions(world, partition)]
        for host in world.hosts.values():
            ownership = host.ownerships.get(partition)
            if ownership is not None and ownership.session is not None:
                places.append(ownership.session.positions)
        removed = 0
        for index, inputs in enumerate(world.broker.inputs[partition].values()):
            below = min(place[index] for place in places)
            removed += max(below - inputs.first, 0)
            inputs.truncate(max(below, inputs.first))
        return removed > 0

    def _unreadable(self) -> bool:
        partition = self._scheduler.random.randrange(self._world.broker.partitions)
        commands = self._world.broker.inputs[partition]["commands"]
        for _ in range(1 + commands.end % 3):  # some travel to the dead letters together
            if commands.end % 4 == 1:
                self._later_call(partition, commands)
                continue
            self.unreadable.add((partition, commands.end))
            commands.append_bytes(b"no record, %d" % commands.end)
        return True

    def _later_call(self, partition: int, commands: InputPartition) -> None:
        """Let a later release of another namespace ask something, and wait for the answer.

        What stands before the body is the same in all releases. It is sent twice.
        """
        caller = Caller(Address(None, f"later-{commands.end}"), "of a later release", 1)
        origin = Origin(_LATER_LOG, partition, commands.end, 0)
        command = ClientCommand(f"asked-{commands.end}", AwaitResult(), origin, caller=caller)
        value = encode(command)
        for _ in range(2):
            commands.append_bytes(value[:2] + b"later..." + value[10:])
        self.later_calls.append(origin)

    # --- what follows -------------------------------------------------------------------------

    def _crashed(self, name: str) -> None:
        host, scheduler, faults = self._world.hosts[name], self._scheduler, self._world.faults
        for partition in list(host.disks):
            earlier = self.earlier.get((name, partition))
            if scheduler.strikes(faults, "wiped"):
                del host.disks[partition]
            elif earlier is not None and scheduler.strikes(faults, "stale"):
                host.disks[partition] = earlier.copy()
        delay_ms = self._world.perils.outage_ms()
        scheduler.after(delay_ms, f"{name} starts", lambda: self._restart(host))
        if scheduler.random.random() < 0.5:
            self._take_away(host)

    def _silent(self, name: str) -> None:
        if self._scheduler.random.random() < 0.7:
            host = self._world.hosts[name]
            self._take_away(host)
            host.worker.expelled()

    def _left(self, name: str) -> None:
        """The group gives the shards of a process that leaves to those that know the level."""
        host = self._world.hosts[name]
        for partition, owner in list(self._world.owners.items()):
            if owner != name:
                continue
            able = self._some(lambda h: h.alive and h.level > host.level and not _is_worker(h))
            if able is not None:
                self._world.assign(partition, able.name)
                host.revoke(partition)
            else:  # whoever starts next gets them
                self._scheduler.after(_LOOK_AGAIN_MS, f"{name} is gone", lambda: self._left(name))
                return

    def _take_away(self, host: Host) -> None:
        """The group gives the shards of a silent host to others."""
        for partition, owner in list(self._world.owners.items()):
            able = self._some(lambda h: h.alive and not h.paused and not _is_worker(h))
            if owner == host.name and able is not None:
                self._world.assign(partition, able.name)

    def _restart(self, host: Host) -> None:
        if not host.alive:
            self._world.restart(host.name)

    def _resume(self, host: Host, life: int) -> None:
        if host.alive and host.paused and host.lives == life:
            host.resume()

    def _some(self, able: Callable[[Host], bool]) -> Host | None:
        hosts = [host for host in self._world.hosts.values() if able(host)]
        return self._scheduler.random.choice(hosts) if hosts else None

    # --- the end ------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Let everybody come back, the group agree on owners, and the shards come to rest."""
        world = self._world
        world.perils.blows_left = 0
        self._scheduler.before_step = None
        for host in world.hosts.values():
            self._restart(host)
            self._resume(host, host.lives)
        world.settle()
        for partition in self._partitions:
            if self._scheduler.random.random() < 0.5:
                self._hand_over(partition)
        for _ in range(_RESTS_MAX):
            if all(map(self._in_step, self._partitions)):
                break
            for partition in self._partitions:
                if not self._in_step(partition):
                    self._hand_over(partition)
            self._run_until(self._at_rest)
            self._pass_time(world.faults.pause_ms_max)  # strays of the owners before arrive
        self._run_until(self._in_step)
        self.rest()

    def rest(self) -> None:
        """Let hours pass in which nothing happens: what was read and left no turn is marked.

        A real process looks every 30 s whether a mark is due; here the owners are woken once.
        """
        for _ in range(_RESTS_MAX):
            if all(map(self._marked, self._partitions)):
                return
            self._pass_time(_REST_MS)
            for partition in self._partitions:
                self._owner(partition).ownerships[partition].wake()
            self._world.settle()
            self._run_until(self._at_rest)

    def _pass_time(self, ms: int) -> None:
        over: list[bool] = []
        self._scheduler.after(ms, "a rest is over", lambda: over.append(True))
        self._world.run(lambda: bool(over), 100_000)

    @property
    def _partitions(self) -> range:
        return range(self._world.broker.partitions)

    def _owner(self, partition: int) -> Host:
        return self._world.hosts[self._world.owners[partition]]

    def _run_until(self, holds: Callable[[int], bool]) -> None:
        self._world.run(lambda: all(map(holds, self._partitions)), 100_000)

    def _at_rest(self, partition: int) -> bool:
        ownership = self._owner(partition).ownerships.get(partition)
        return ownership is not None and ownership.at_rest

    def _marked(self, partition: int) -> bool:
        """Whether the positions in the log are the ends of the inputs, and nothing waits.

        A timer may wait for an hour: it was set by an owner whose clock was ahead.
        """
        session = self._owner(partition).ownerships[partition].session
        assert session is not None, "the owner is in step"
        ends = tuple(held.end for held in self._world.broker.inputs[partition].values())
        waits = session.tables.replaced(1 << 62, 1) or session.tables.timers(-1, 1, 1 << 62)
        return tuple(session.tables.checkpoint().positions) == ends and not waits

    def _hand_over(self, partition: int) -> None:
        for host in self._world.hosts.values():
            host.revoke(partition)
        able = self._some(lambda host: not _is_worker(host))
        assert able is not None, "a world has a host for its shards"
        self._world.assign(partition, able.name)

    def _in_step(self, partition: int) -> bool:
        """Whether the owner knows the whole log, and is at rest."""
        if not self._at_rest(partition):
            return False
        session = self._owner(partition).ownerships[partition].session
        assert session is not None, "what is at rest has a session"
        return session.log.confirmed_end == self._world.broker.logs[partition].end


def _turn_of(value: bytes) -> Turn | Snapshot | None:
    """Return the turn that a record is; None for any other one, also of a stranger's."""
    try:
        entry = decode(value)
    except SchemaMismatch:
        return None
    return entry if isinstance(entry, Turn | Snapshot) else None


def _is_worker(host: Host) -> bool:
    return host.name.startswith("worker")
