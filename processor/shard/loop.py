"""The loop of a shard that is ours. One ``step`` does, in this order:

    1. acknowledge   match acknowledged appends with the turns in flight; a gap in their offsets
                     means that somebody else wrote: a claim in it ends our ownership (``flight``)
    2. store         the acknowledged turns go into the tables, in one batch (``storing``)
    3. release       their effects leave, in log order (``effects``)
    4. intake        for each input: prefetch its run, decide, append the turn; go on at once
                     (``intake``, ``turns``)
    5. timers        what is due is an input too (``timers``)

Nothing of a turn leaves before step 3, and nothing waits for it in step 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from processor.codec.records import later_events
from processor.config import Settings
from processor.core.data.cause import Origin
from processor.core.draft import Context
from processor.core.records.marks import Mark
from processor.core.runner import Runners
from processor.schedules.cron import next_ms
from processor.shard.eager import Eager
from processor.shard.effects import Effects
from processor.shard.flight import Appended, Flight, RunRecord, ShardLost, Tombstone
from processor.shard.gate import LETTER, Gate
from processor.shard.intake.commands import Commands
from processor.shard.intake.handover import Handover
from processor.shard.intake.intake import INTAKE_MAX, Intake
from processor.shard.intake.overflow import Overflow
from processor.shard.intake.room import Room
from processor.shard.marks import Marks
from processor.shard.outbox import Deliveries
from processor.shard.ports import NEVER_MS, ShardPorts
from processor.shard.purging import Purging
from processor.shard.reads import Reads
from processor.shard.recovery.forgetting import Forgetting
from processor.shard.recovery.takeover import Taken, send_owed
from processor.shard.storing import Storing
from processor.shard.timers import Timers
from processor.shard.turns.asking import Asking
from processor.shard.turns.cache import Cache
from processor.shard.turns.deciding import Deciding, bounds_of
from processor.shard.turns.instances import Instances
from processor.shard.turns.querying import Querying
from processor.shard.turns.resuming import Resuming
from processor.shard.turns.updating import Updating
from processor.shard.turns.valuing import Valuing
from processor.shard.turns.writer import Writer

__all__ = ("Shard", "ShardLost")


class Shard:
    def __init__(
        self,
        partition: int,
        ports: ShardPorts,
        runners: Runners,
        settings: Settings,
        taken: Taken,
        wake: Callable[[], None],
    ) -> None:
        level, now_ms = taken.checkpoint.level, ports.clock.now_ms()
        outbox, tables, activities = ports.outbox, ports.tables, ports.activities
        requests = taken.requests.copy()
        self._ports = ports
        self._deliveries = Deliveries(taken.epoch + 1)
        self._gate = Gate(taken.checkpoint.positions, outbox)
        self._flight = Flight(partition, ports.log, taken.epoch, ports.log_topic)
        self._forgetting = Forgetting(tables, self._flight.append)
        self._storing = Storing(tables, ports.clock, taken, self._flight, self._forgetting)
        self._eager = Eager(activities, taken.lost, wake)
        self._cache = Cache(settings.cached_runs_max, settings.cached_bytes_max)
        instances = Instances(tables, runners, self._cache)
        writer = Writer(
            partition,
            taken.epoch,
            self._flight,
            self._deliveries,
            requests,
            self._cache,
            self._eager,
            ports.clock,
            ports.record_bytes_max,
        )
        reads = Reads(partition, tables, outbox, ports.clock, settings, ports.producer)
        self._timers = Timers(tables, outbox, now_ms)
        clock, flight = ports.clock, self._flight
        waits = tables, outbox, clock, flight, instances, reads, settings
        updating, valuing = Updating(*waits), Valuing(*waits)
        origin = Origin(ports.log.id, partition, 0, 0)
        written = self._gate, self._flight, self._deliveries
        overflow = Overflow(partition, ports.log_topic, ports.log, tables, ports.border)
        handover = Handover(ports.is_own, ports.border, outbox, *written, overflow)
        told = self._timers, reads, updating, valuing, activities, handover, ports.border
        self._effects = Effects(origin, self._eager, outbox, *told)
        given = activities.place, ports.entropy, ports.log.id, bounds_of(settings)
        context = Context(0, runners, *given, later_events(level))
        context.record_bytes_max, context.next_ms = ports.record_bytes_max, next_ms
        self._deciding = deciding = Deciding(
            partition,
            level,
            context,
            clock,
            self._gate,
            flight,
            self._deliveries,
            instances,
            writer,
            reads,
            updating,
        )
        self._marks = Marks(
            partition, outbox, *written, writer, self._storing, self._forgetting, now_ms
        )
        unpublished = self._effects.unpublished
        room = Room(partition, settings, ports, *written, unpublished, self._storing, handover)
        left = partition, tables.parked(), taken.successors
        resuming = Resuming(*left, deciding, self._gate, self._deliveries, instances, writer)
        self._querying = Querying(tables, outbox, runners, flight, instances, deciding, reads)
        asked = reads, self._querying, updating, valuing
        asking = Asking(self._gate, flight, deciding, writer, *asked)
        takers = instances, deciding, *asked, asking, self._marks
        commands = Commands(partition, ports, requests, self._flight, *takers)
        sources = self._eager, handover, self._timers, commands, deciding, resuming
        self._intake = Intake(ports, room, self._gate, self._flight, *sources)
        self._purging = Purging(tables, self._gate, instances, writer)
        floor = ports.log.id, partition, taken.checkpoint.delivered
        outlets = outbox, handover, ports.border, self._deliveries
        send_owed(taken.owed, taken.successors, *outlets, *floor)
        ports.inbox.open(self._gate.positions)

    def step(self) -> bool:
        """Do what can be done now; return whether more can be done at once."""
        if confirmed := self._flight.acknowledged():
            self._storing.store(confirmed)
            self._release(confirmed)
        for token in self._ports.outbox.delivered():
            if token == LETTER:
                self._gate.is_buried()
            else:
                self._deliveries.delivered(token)
        more = self._intake.step()
        now_ms = self._ports.clock.now_ms()
        if now_ms >= self._timers.next_ms():
            room = self._intake.room.inputs
            self._timers.fire(now_ms, INTAKE_MAX, room, self._deciding.decide)
        self._cache.evict()
        if now_ms >= self._marks.due_ms:
            self._marks.step(now_ms)
        if self._forgetting.more:
            self._forgetting.step()
        if now_ms >= self._storing.flush_due_ms:
            self.flush()
            self._intake.room.look_at_published()
        return more

    def _release(self, confirmed: Sequence[Appended | Tombstone]) -> None:
        for appended in confirmed:
            if isinstance(appended, Tombstone):
                self._forgetting.forgotten(appended.forgotten)
            else:
                self._deliveries.released(appended.offset, self._effects.release(appended))
                if isinstance(appended, RunRecord):
                    self._cache.settled(appended.entry)
                elif isinstance(appended.record, Mark):
                    self._forgetting.covered(appended.record, appended.offset)
            for callback in appended.after:
                callback()

    def has_work(self, now_ms: int) -> bool:
        """Return whether ``step`` may find something to do."""
        ports, intake = self._ports, self._intake
        waiting = self._flight.waiting or ports.inbox.waiting or ports.outbox.waiting
        own = self._eager.reports or intake.handover.waiting
        left = intake.more or own or intake.resuming.parked
        forgets = self._forgetting.more
        return bool(waiting or left or forgets or now_ms >= self.next_timer_ms())

    def next_timer_ms(self) -> int:
        """Return when ``step`` wants to be called even if nothing arrives."""
        look_again_ms = self._intake.room.look_again_ms
        return min(self._timers.next_ms(), self._storing.flush_due_ms, look_again_ms)

    @property
    def settled(self) -> bool:
        """Whether ``step`` wants to be called for timers only."""
        return min(self._storing.flush_due_ms, self._intake.room.look_again_ms) == NEVER_MS

    @property
    def idle(self) -> bool:
        """Whether everything that was decided is confirmed and delivered."""
        undelivered = self._deliveries.outstanding + self._intake.handover.records
        left = bool(self._intake.handover.overflow)
        waits = undelivered or left or self._gate.held or self._intake.unread
        decides = self._eager.reports or self._intake.resuming.parked or self._forgetting.more
        return not (self._flight or decides or waits)

    def flush(self) -> None:
        """Let the tables on disk catch up with those in memory."""
        self._storing.flush()

    def purge(self, workflow_id: str, run_id: str) -> bool:
        """Give up the history of a closed run; False where there is none, or it is open."""
        return self._purging.purge(workflow_id, run_id)

    def close(self) -> None:
        """Drop everything in memory; what is confirmed is in the log, the rest never happened."""
        self._ports.inbox.close()
        self._ports.outbox.close()
        self._intake.handover.overflow.close()
        self._eager.close()
        self._cache.close()
        self._querying.close()
        self._ports.tables.close()
