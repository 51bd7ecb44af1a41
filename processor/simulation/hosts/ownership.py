"""One shard of a simulated process: taken over, stepped, and given up as ``processor.node`` does.

The same takeover, the same loop, the same reactions to errors, with steps of the scheduler instead
of tasks and threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from processor.config import Settings
from processor.core.records.effects import ActivityTask
from processor.core.runner import Runners
from processor.shard.loop import Shard
from processor.shard.ports import ShardPorts
from processor.shard.reactions import reaction_to
from processor.shard.recovery.takeover import Taken, Takeover
from processor.simulation.broker import Broker
from processor.simulation.faults import Faults
from processor.simulation.hosts.activities import EagerStarts, HostActivities, ShardActivities
from processor.simulation.hosts.outbox import Departures, SimulatedOutbox
from processor.simulation.hosts.perils import Crashed, Peril, Perils
from processor.simulation.hosts.ports import (
    SimulatedClock,
    SimulatedInbox,
    SimulatedLog,
    SimulatedStore,
)
from processor.simulation.hosts.publisher import Publisher
from processor.simulation.hosts.runners import SessionRunners
from processor.simulation.scheduler import Scheduler, Step
from processor.simulation.threads import Threads
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables

__all__ = ("Ownership", "Process", "Setting")

_RETRY_FIRST_MS: Final = 100
_RETRY_MAX_MS: Final = 5_000


@dataclass
class Setting:
    """What all hosts of a world share.

    ``generation`` is the consumer group's view: in which of its generations a host has a shard.
    ``left`` hears of a process that leaves because its release is too old, ``attempt_begins`` of
    each attempt of an activity. ``threads`` run plain functions (None: the world itself does).

    ``starts`` and ``departures`` note what has left the shards, for the invariants (None where
    nobody looks). ``rebuilt`` counts the state directories that were refused, and wiped.
    """

    scheduler: Scheduler
    broker: Broker
    faults: Faults
    perils: Perils
    settings: Settings
    generation: Callable[[str, int], int | None]
    crashed: Callable[[str], None] = lambda host: None
    left: Callable[[str], None] = lambda host: None
    attempt_begins: Callable[[ActivityTask], None] = lambda task: None
    threads: Threads | None = None
    starts: EagerStarts | None = None
    departures: Departures | None = None
    rebuilt: int = 0


class Process(Protocol):
    """The host, as its shards know it."""

    name: str
    paused: bool
    clock: SimulatedClock
    disks: dict[int, Memory]
    setting: Setting

    @property
    def runners(self) -> Runners: ...

    @property
    def level(self) -> int: ...

    @property
    def activities(self) -> HostActivities: ...

    @property
    def peril(self) -> Peril: ...

    @property
    def publisher(self) -> Publisher: ...

    def may_own(self, partition: int) -> bool: ...

    def disk(self, partition: int) -> Memory: ...

    def crash(self) -> None: ...

    def once_running(self, wake: Callable[[], None]) -> None: ...


class Ownership:
    """All the time that a host believes that a shard is its own, whatever happens to it."""

    def __init__(self, host: Process, partition: int) -> None:
        self.partition = partition
        self.session: Session | None = None
        self._host = host
        self._name = f"{host.name} shard-{partition}"
        self._scheduler = host.setting.scheduler
        self._dropped = False
        self._scheduled = False
        self._timer: Step | None = None
        self._delay_ms = _RETRY_FIRST_MS
        self._claims = True
        self.wake()

    @property
    def shard(self) -> Shard | None:
        return None if self.session is None else self.session.shard

    @property
    def at_rest(self) -> bool:
        """Whether it runs, and everything that it decided is confirmed, delivered and published."""
        return self.session is not None and self.session.at_rest

    def wake(self) -> None:
        if not self._scheduled and not self._dropped:
            self._scheduled = True
            self._scheduler.soon(self._name, self._step)

    def assigned(self) -> None:
        """The group means this host again, which may have given up hope."""
        self._claims = True
        self._host.publisher.reassigned()
        self.wake()

    def do(self, action: Callable[[Shard], object]) -> None:
        """Let the shard do something, if it runs here now."""
        if self.shard is None or self._host.paused:
            return
        try:
            action(self.shard)
        except Crashed:
            self._host.crash()
        except Exception as error:
            self._react(error)
        else:
            self.wake()

    def drop(self) -> None:
        """Forget everything in memory."""
        self._dropped = True
        self._end_session()

    def _end_session(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        session, self.session = self.session, None
        if session is not None:
            session.close()

    def _step(self) -> None:
        self._scheduled = False
        if self._dropped:
            return
        if self._host.paused:
            self._host.once_running(self.wake)
            return
        try:
            if self.session is None and not self._claims:
                return
            if self.session is None:
                self.session = Session(self._host, self, self.partition)
                self.session.open()
                self.wake()
            elif self.session.step():
                self.wake()
        except Crashed:
            self._host.crash()
        except Exception as error:
            self._react(error)
        else:
            self._wake_for_timers()

    def _react(self, error: Exception) -> None:
        """Do what ``Node`` does; but a bug ends the simulation."""
        self._scheduler.trace(f"{self._name}: {error}")
        match reaction_to(error):
            case "claim again":
                self._end_session()
            case "rebuild":
                self._end_session()
                self._host.setting.rebuilt += 1
                del self._host.disks[self.partition]
            case "leave":
                self._end_session()
                self._claims = False
                self._host.setting.left(self._host.name)
                return
            case "stop" | "try again":
                raise error
        self._claims = False
        self._scheduler.after(self._delay_ms, f"{self._name} again", self._again)
        self._delay_ms = min(self._delay_ms * 2, _RETRY_MAX_MS)

    def _again(self) -> None:
        """Claim the shard again, if the group still means us; else it says so when it does."""
        if self._host.may_own(self.partition):
            self.assigned()

    def _wake_for_timers(self) -> None:
        """Wake when a timer is due; steps that would only look further ahead are left out."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        session = self.session
        if session is None or session.shard is None:
            return
        clock = self._host.clock
        due_ms = session.next_timer_ms(clock.now_ms())
        if due_ms is not None:
            self._timer = self._scheduler.at(
                due_ms - clock.offset_ms, f"{self._name} timers", self.wake
            )


class Session:
    """From one opening of the ports to their closing: one claim, and the shard under it."""

    def __init__(self, host: Process, ownership: Ownership, partition: int) -> None:
        setting = host.setting
        self.shard: Shard | None = None
        self._host = host
        self._wake = ownership.wake
        self._partition = partition
        self._disk = host.disk(partition)
        shared = (setting.scheduler, setting.faults, ownership.wake)
        peril = host.peril
        self.log = SimulatedLog(setting.broker, partition, *shared, host.name, peril)
        self._inbox = SimulatedInbox(setting.broker, partition, *shared, peril)
        self._outbox = SimulatedOutbox(
            setting.broker,
            self.log,
            partition,
            *shared,
            host.name,
            peril,
            host.publisher,
            setting.departures,
        )
        self._activities = ShardActivities(
            host.activities, partition, lambda: self.log.confirmed_end, setting.starts, peril
        )
        self._runners = SessionRunners(host.runners, setting.scheduler, setting.faults)
        self._ports: ShardPorts | None = None
        self._takeover: Takeover
        self._nonce = f"{setting.scheduler.random.getrandbits(64):016x}"
        self._epoch: int | None = None
        self._taken: Taken | None = None

    @property
    def at_rest(self) -> bool:
        shard = self.shard
        at_rest = shard is not None and shard.idle and shard.settled
        return at_rest and self._inbox.idle and self._outbox.idle

    @property
    def positions(self) -> tuple[int, ...]:
        """The next offset that it reads of each input; 0 before they are open."""
        return self._inbox.positions

    @property
    def tables(self) -> StateTables:
        """The tables, for whoever looks from outside: nothing befalls the process meanwhile."""
        return StateTables(self._disk, f"events-{self._partition}")

    def open(self) -> None:
        """Open the tables and claim the shard."""
        store = SimulatedStore(self._disk, self._host.peril)
        tables = StateTables(store, f"events-{self._partition}")
        clock = self._host.clock
        random = self._host.setting.scheduler.random
        entropy = partial(random.randbytes, 16)
        self._ports = ShardPorts(
            self.log, self._inbox, self._outbox, tables, self._activities, clock, entropy
        )
        self._takeover = Takeover(
            self._partition, self.log, tables, self._host.name, level_max=self._host.level
        )
        self._takeover.survey()
        self._takeover.begin(self._nonce, clock.now_ms())

    def step(self) -> bool:
        """Do the next thing; return whether more can be done at once."""
        if self.shard is not None:
            now_ms = self._host.clock.now_ms()
            return self.shard.has_work(now_ms) and self.shard.step()
        ports, host = self._ports, self._host
        assert ports is not None, "opened before"
        if self._epoch is None:
            self._epoch = self._takeover.claimed(self._nonce, host.clock.now_ms())
            return self._epoch is not None
        if self._taken is None:
            if host.publisher.busy:
                host.publisher.once_free(self._wake)
                return False
            self._taken = self._takeover.fold(self._epoch, ports.outbox.published())
        else:
            settings = host.setting.settings
            self.shard = Shard(
                self._partition, ports, self._runners, settings, self._taken, self._wake
            )
        return True

    def next_timer_ms(self, now_ms: int) -> int | None:
        """Return when a timer comes due, by the host's clock; None where none is set."""
        assert self.shard is not None, "a shard that runs has timers"
        if not self.shard.settled:
            return self.shard.next_timer_ms()
        for timer in self.tables.timers(now_ms, 1):
            return max(self.shard.next_timer_ms(), timer.due_ms)
        return None

    def close(self) -> None:
        self.log.cut()
        if self.shard is not None:
            self.shard.close()
        else:
            self._inbox.close()
            self._outbox.close()
        self._runners.close()
