"""One shard of a simulated process: its life (``processor.node.life``), on the scheduler.

What the node does on a loop and in threads, steps of the scheduler do here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, assert_never

from processor.config import Settings
from processor.core.records.effects import ActivityTask, SetTimer
from processor.core.runner import Runners
from processor.node.life import Blocking, Leave, Life, Owner, Serve, Stopped, Until, Wait
from processor.node.life import Step as Next
from processor.node.publishing.faults import PublishingFailed
from processor.shard.loop import Shard
from processor.shard.messages.border import Border
from processor.shard.ports import NEVER_MS, ShardPorts
from processor.shard.reactions import reaction_to
from processor.simulation.broker import SimulatedBroker
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
from processor.store.projections.timers import TimerRows
from processor.store.tables import StateTables

__all__ = ("Ownership", "OwningProcess", "Setting")


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
    broker: SimulatedBroker
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
    border: Border = field(default_factory=Border)
    rebuilt: int = 0


class OwningProcess(Protocol):
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
    """All the time that a host believes that a shard is its own, whatever happens to it.

    ``session`` is what connects the shard, from one opening of its ports to their closing.
    """

    def __init__(self, host: OwningProcess, partition: int) -> None:
        self.partition = partition
        self.session: Session | None = None
        self._host = host
        self._name = f"{host.name} shard-{partition}"
        self._scheduler = host.setting.scheduler
        self._dropped = False
        self._scheduled = False
        self._timer: Step | None = None
        self._begin()

    @property
    def shard(self) -> Shard | None:
        return self._next.shard if isinstance(self._next, Serve) else None

    @property
    def at_rest(self) -> bool:
        """Whether it runs, and everything that it decided is confirmed, delivered and published."""
        shard = self.shard
        settled = shard is not None and shard.idle and shard.settled
        return settled and self.session is not None and self.session.idle

    def wake(self) -> None:
        if not self._scheduled and not self._dropped:
            self._scheduled = True
            self._scheduler.soon(self._name, self._step)

    def assigned(self) -> None:
        """The group means this host again, which may have given up hope, or left the group."""
        if isinstance(self._next, Stopped):
            self._steps.close()
            self._begin()
        elif isinstance(self._next, Wait) and not self._next.is_ours:
            self._go_on(self._steps.send(None))

    def do(self, action: Callable[[Shard], object]) -> None:
        """Let the shard do something, if it runs here now."""
        shard = self.shard
        if shard is not None and not self._host.paused:
            self._guarded(lambda: action(shard))
            self.wake()

    def drop(self) -> None:
        """Forget everything in memory."""
        self._dropped = True
        self._cancel_timer()
        self._steps.close()
        self._end_session()

    # --- for the life of the shard ----------------------------------------------------------------

    def open(self, partition: int, wake: Callable[[], None]) -> ShardPorts:
        self.session = Session(self._host, wake, partition)
        return self.session.ports

    def wipe(self, partition: int) -> None:
        self._host.setting.rebuilt += 1
        del self._host.disks[partition]

    def may_own(self, partition: int) -> bool:
        return self._host.may_own(partition)

    # --- steps ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        host, scheduler = self._host, self._scheduler
        self._runners = SessionRunners(host.runners, scheduler, host.setting.faults)
        owner = Owner(
            host.name,
            self._runners,
            host.setting.settings,
            self.wake,
            self.wake,
            lambda: f"{scheduler.random.getrandbits(64):016x}",
            lambda: scheduler.now_ms / 1000,
            host.level,
        )
        self._steps = Life(self.partition, self, owner).steps()
        self._next: Next = next(self._steps)
        self.wake()

    def _step(self) -> None:
        self._scheduled = False
        if self._dropped:
            return
        if self._host.paused:
            self._host.once_running(self.wake)
            return
        self._guarded(self._do)
        if not self._dropped:
            self._wake_for_timers()

    def _do(self) -> None:
        """Do what is to be done next."""
        todo = self._next
        match todo:
            case Blocking():
                if not self._waits_for_publisher(todo):
                    found = todo.function()
                    self._go_on(self._steps.send(found))
            case Until():
                found = todo.look()
                if found is not None:
                    self._go_on(self._steps.send(found))
            case Serve():
                if todo.shard.has_work(self._host.clock.now_ms()) and todo.shard.step():
                    self.wake()
            case Leave():
                self._go_on(self._steps.send(None))
                self._host.setting.left(self._host.name)
            case Wait() | Stopped():
                pass
            case _:
                assert_never(todo)

    def _waits_for_publisher(self, call: Blocking) -> bool:
        """Whether it is asked what is published, and that is not known yet."""
        if self.session is None or call.function != self.session.outbox.published:
            return False
        return not self.session.outbox.asked_published()

    def _go_on(self, todo: Next) -> None:
        self._next = todo
        if not isinstance(todo, Wait):
            self.wake()
        elif todo.is_ours:
            delay_ms = int(todo.seconds * 1000)
            self._scheduler.after(delay_ms, f"{self._name} again", lambda: self._end_pause(todo))

    def _end_pause(self, pause: Wait) -> None:
        if self._next is pause and not self._dropped:
            self._go_on(self._steps.send(None))

    def _guarded(self, action: Callable[[], object]) -> None:
        """Let the life react to an error as in a real process; but a bug ends the simulation."""
        try:
            action()
        except Crashed:
            if not self._dropped:
                self._host.crash()
        except Exception as error:
            self._scheduler.trace(f"{self._name}: {error}")
            is_a_bug = reaction_to(error) in ("stop", "try again")
            if is_a_bug and not isinstance(error, PublishingFailed):
                raise
            self._go_on(self._steps.throw(error))
            self._end_session()

    def _end_session(self) -> None:
        self._cancel_timer()
        session, self.session = self.session, None
        if session is not None:
            session.log.cut()
        self._runners.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_for_timers(self) -> None:
        """Wake when a timer is due; steps that would only look further ahead are left out."""
        self._cancel_timer()
        shard, session, clock = self.shard, self.session, self._host.clock
        if shard is None or session is None:
            return
        due_ms = shard.next_timer_ms()
        if shard.settled:
            timers = session.timers(clock.now_ms())
            if not timers:
                return
            due_ms = max(due_ms, timers[0].due_ms)
        self._timer = self._scheduler.at(
            due_ms - clock.offset_ms, f"{self._name} timers", self.wake
        )


class Session:
    """From one opening of the ports to their closing."""

    def __init__(self, host: OwningProcess, wake: Callable[[], None], partition: int) -> None:
        setting = host.setting
        self._partition = partition
        self._broker = setting.broker
        self._disk = host.disk(partition)
        shared = (setting.scheduler, setting.faults, wake)
        peril = host.peril
        self.log = SimulatedLog(setting.broker, partition, *shared, host.name, peril)
        self._inbox = SimulatedInbox(setting.broker, partition, *shared, peril)
        self.outbox = SimulatedOutbox(
            setting.broker,
            self.log,
            partition,
            *shared,
            host.name,
            peril,
            host.publisher,
            setting.departures,
        )
        activities = ShardActivities(
            host.activities, partition, lambda: self.log.confirmed_end, setting.starts, peril
        )
        tables = StateTables(SimulatedStore(self._disk, peril), f"events-{partition}")
        entropy = partial(setting.scheduler.random.randbytes, 16)
        sent = self._inbox, self.outbox, tables, activities, host.clock, entropy
        self.ports = ShardPorts(self.log, *sent, self._is_own, border=setting.border)

    def _is_own(self, workflow_id: str) -> bool:
        return self._broker.partition_of(workflow_id) == self._partition

    @property
    def idle(self) -> bool:
        """Whether nothing is left to read, to publish, or on its way."""
        return self._inbox.idle and self.outbox.idle

    @property
    def positions(self) -> tuple[int, ...]:
        """The next offset that it reads of each input; 0 before they are open."""
        return self._inbox.positions

    def timers(self, after_ms: int) -> list[SetTimer]:
        """Return the timers that are written and due next, as ``tables`` has them."""
        return TimerRows(self._disk).due(after_ms, 1, NEVER_MS)

    @property
    def tables(self) -> StateTables:
        """The tables, for whoever looks from outside: nothing befalls the process meanwhile."""
        return StateTables(self._disk, f"events-{self._partition}")
