"""The loop of a shard that is ours. One ``step`` does, in this order:

    1. acknowledge   match acknowledged appends with the turns in flight; a gap in their offsets
                     means that somebody else wrote: a claim in it ends our ownership
    2. store         the acknowledged turns go into the tables, in one batch
    3. release       their effects leave, in log order
    4. intake        for each input: prefetch its run, decide, append the turn; go on at once
    5. timers        what is due is an input too: see ``timers``

Nothing of a turn leaves before step 3, and nothing waits for it in step 4.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from processor.codec.records import later_events
from processor.codec.views import to_json
from processor.config import Settings
from processor.core.data.cause import Origin
from processor.core.data.run_id import run_id_of
from processor.core.draft import Context
from processor.core.inputs import ClientCommand
from processor.core.nouns.run import StartRun
from processor.core.operation import Operation
from processor.core.questions import DescribeRun, ReadShard
from processor.core.records.answers import Page, Refused
from processor.core.records.effects import DeadLetter, Reply
from processor.core.records.marks import Mark
from processor.core.records.turn import (
    Positions,
)
from processor.core.runner import Runners
from processor.shard.cache import Cache, Entry
from processor.shard.deciding import Deciding
from processor.shard.eager import Eager
from processor.shard.effects import Effects
from processor.shard.flight import Appended, Flight, ShardLost, Tombstone
from processor.shard.instances import Instances
from processor.shard.outbox import Deliveries
from processor.shard.ports import (
    NEVER_MS,
    Changes,
    Checkpoint,
    Confirmed,
    InboxRecord,
    ShardPorts,
)
from processor.shard.reads import Reads
from processor.shard.recovery.forgetting import Forgetting
from processor.shard.recovery.takeover import Taken, send_owed
from processor.shard.timers import Timers
from processor.shard.writer import Writer

__all__ = ("Shard", "ShardLost")

_log = logging.getLogger("processor.shard")

_INTAKE_MAX = 256
"""Inputs per step, so that acknowledgements and activities get their turn."""

_MARK_EVERY_MS = 60_000

_LOOK_AGAIN_MS = 10
"""How long commands wait for slots until it is asked again whether they should."""

_PUBLISHED_AGAIN_MS = 1_000
"""How long intake waits for the publisher until it is asked again how far that has come."""

_FLUSH_AFTER_MS = 200
"""How long a turn may be in the log, and in the tables in memory only."""

_LOT_MAX = 16
"""Inputs between two looks at how much is in flight."""

_GHOSTS_MAX = 64
"""Ghosts under one claim that are looked after, so that the claim can go when they are gone."""


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
        self.partition = partition
        self.level = taken.checkpoint.level
        self._log_id = ports.log.id
        self._inbox, self._outbox = ports.inbox, ports.outbox
        self._tables, self._activities, self._clock = ports.tables, ports.activities, ports.clock
        self._settings = settings
        self._epoch = taken.epoch
        self._claim = taken.claim
        self._confirmed = taken.checkpoint
        self._counted, self._requests = taken.requests, taken.requests.copy()
        self._deliveries = Deliveries(taken.epoch + 1)
        self._flight = Flight(partition, ports.log, taken.epoch, ports.log_topic)
        self._forgetting = Forgetting(self._tables, self._flight.append)
        self._unread: Sequence[InboxRecord] = ()
        self._eager = Eager(ports.activities, taken.lost, wake)
        self._cache = Cache(settings.cached_runs_max, settings.cached_bytes_max)
        self._instances = Instances(self._tables, runners, self._cache)
        self._writer = Writer(
            partition,
            taken.epoch,
            self._flight,
            self._deliveries,
            self._requests,
            self._cache,
            self._eager,
            self._clock,
            ports.record_bytes_max,
        )
        self._reads = Reads(partition, self._tables, self._outbox, self._clock, settings)
        self._timers = Timers(self._tables, self._outbox, self._clock.now_ms())
        self._effects = Effects(
            Origin(ports.log.id, partition, 0, 0),
            self._eager,
            self._outbox,
            self._timers,
            self._reads,
            self._activities,
        )
        later, unread_max = later_events(self.level), settings.unread_events_max
        self._deciding = Deciding(
            partition,
            self.level,
            taken.checkpoint.positions,
            Context(0, runners, ports.activities.place, ports.entropy, unread_max, later),
            self._flight,
            self._deliveries,
            self._instances,
            self._cache,
            self._writer,
            ports.activities,
            self._reads,
            self._outbox,
            self._clock,
        )
        self._mark_due_ms = self._clock.now_ms() + _MARK_EVERY_MS
        self._marked: tuple[Positions, int, int] | None = None
        self._flush_due_ms = self._look_again_ms = NEVER_MS
        self._behind = True
        self._says_behind = False
        self._parked = deque(self._tables.parked())
        self._successors = deque(taken.successors)
        self._purging: set[str] = set()
        owed = taken.owed, taken.successors
        floor = taken.checkpoint.delivered
        send_owed(*owed, self._outbox, self._deliveries, ports.log.id, partition, floor)
        self._inbox.open(self._deciding.positions)

    # --- the step ---------------------------------------------------------------------------

    def step(self) -> bool:
        """Do what can be done now; return whether more can be done at once."""
        if confirmed := self._flight.acknowledged():
            self._store(confirmed)
            self._release(confirmed)
        for token in self._outbox.delivered():
            if token < 0:
                self._deciding.is_buried()
            else:
                self._deliveries.delivered(token)
        self._behind = self._intake()
        now_ms = self._clock.now_ms()
        if now_ms >= self._timers.next_ms():
            self._timers.fire(now_ms, _INTAKE_MAX, self._room, self._deciding.decide)
        self._cache.evict()
        if now_ms >= self._mark_due_ms:
            self._mark_due_ms = now_ms + _MARK_EVERY_MS
            self._mark_if_needed()
        if self._forgetting.more:
            self._forgetting.step()
        if now_ms >= self._flush_due_ms:
            self.flush()
            self._look_at_published()
        return self._behind

    def has_work(self, now_ms: int) -> bool:
        """Return whether ``step`` may find something to do."""
        waiting = self._flight.waiting or self._inbox.waiting or self._outbox.waiting
        left = bool(self._behind or self._eager or self._parked or self._successors)
        left = left or self._forgetting.more
        return bool(waiting or left or now_ms >= self.next_timer_ms())

    def next_timer_ms(self) -> int:
        """Return when ``step`` wants to be called even if nothing arrives."""
        return min(self._timers.next_ms(), self._flush_due_ms, self._look_again_ms)

    def flush(self) -> None:
        """Let the tables on disk catch up with those in memory."""
        self._tables.flush()
        self._flush_due_ms = NEVER_MS

    @property
    def settled(self) -> bool:
        """Whether ``step`` wants to be called for timers only."""
        return min(self._flush_due_ms, self._look_again_ms) == NEVER_MS

    @property
    def idle(self) -> bool:
        """Whether everything that was decided is confirmed and delivered."""
        undelivered = self._deliveries.outstanding or self._deciding.held or self._unread
        decides = self._eager or self._parked or self._successors or self._forgetting.more
        return not (self._flight or decides or undelivered)

    def close(self) -> None:
        """Drop everything in memory; what is confirmed is in the log, the rest never happened."""
        self._inbox.close()
        self._outbox.close()
        self._eager.close()
        self._cache.close()
        self._tables.close()

    # --- 2. store -----------------------------------------------------------------------------

    def _store(self, confirmed: Sequence[Appended | Tombstone]) -> None:
        group: list[Confirmed] = []
        changes = Changes()
        before = self._confirmed
        positions, delivered, published = before.positions, before.delivered, before.published
        for appended in confirmed:
            if isinstance(appended, Tombstone):
                changes.forgotten.append(appended.forgotten)
                continue
            group.append(appended)
            record = appended.record
            positions, delivered = record.positions, record.delivered
            if isinstance(record, Mark):
                published = record.published
            if isinstance(record, Mark) or record.cause is not None:
                self._counted.take(record, appended.offset)
        if self._flight.ghosts:
            self._store_ghosts(changes)
        changes.requests = self._counted.changes()
        self._confirmed = Checkpoint(
            confirmed[-1].offset + 1,
            self._epoch,
            self.level,
            positions,
            delivered,
            published,
            self._clock.now_ms(),
        )
        self._tables.write(group, self._confirmed, changes)
        if self._flush_due_ms == NEVER_MS:
            self._flush_due_ms = self._confirmed.time_ms + _FLUSH_AFTER_MS

    def _store_ghosts(self, changes: Changes) -> None:
        """Note what an earlier owner wrote after our claim, which exposes it until it is gone."""
        ghosts, self._flight.ghosts = self._flight.ghosts, []
        known = (*self._claim.ghosts, *(ghost.offset for ghost in ghosts))
        more = self._claim.more or len(known) > _GHOSTS_MAX
        self._claim = self._claim._replace(ghosts=known[:_GHOSTS_MAX], more=more)
        changes.claims[self._claim.offset] = self._claim
        changes.replaced += [ghost.key for ghost in ghosts]
        self._forgetting.more = True

    # --- 3. release ---------------------------------------------------------------------------

    def _release(self, confirmed: Sequence[Appended | Tombstone]) -> None:
        for appended in confirmed:
            if isinstance(appended, Tombstone):
                self._forgetting.forgotten(appended.forgotten)
            else:
                self._deliveries.released(appended.offset, self._effects.release(appended))
                if appended.entry is not None:
                    self._cache.settled(appended.entry)
                elif isinstance(appended.record, Mark):
                    self._forgetting.covered(appended.record, appended.offset)
            for callback in appended.after:
                callback()

    # --- 4. intake ----------------------------------------------------------------------------

    def _intake(self) -> bool:
        left = _INTAKE_MAX
        self._look_again_ms = NEVER_MS
        while self._successors:
            self._deciding.begin_successor(*self._successors.popleft())
        while left > 0 and (room := min(left, _LOT_MAX, self._room())) > 0:
            if self._parked:
                for _ in range(min(len(self._parked), _LOT_MAX)):
                    self._deciding.retry_parked(self._parked.popleft())
            lot = min(len(self._eager), room)
            for _ in range(lot):
                self._deciding.decide("eager", self._eager.next())
                if self._deciding.failed is not None:
                    return False
            if not lot:
                room = min(room, self._activities.room())
                if room == 0 and self._inbox.waiting:
                    self._look_again_ms = self._clock.now_ms() + _LOOK_AGAIN_MS
                    return False
                records = self._unread or self._inbox.take(room)
                lot = self._read_all(records)
                self._unread = records[lot:]
            if not lot:
                return bool(self._parked)
            left -= lot
        return self._room() > 0

    def _room(self) -> int:
        settings, unpublished = self._settings, self._effects.unpublished
        if self._deciding.failed is not None:
            return 0
        if self._flight.bytes >= settings.bytes_in_flight_max:
            return 0
        outstanding = self._deliveries.outstanding
        if outstanding >= settings.turns_in_flight_max:
            if outstanding - self._outbox.stuck >= settings.turns_in_flight_max:
                return 0
        if unpublished.bytes >= settings.unpublished_bytes_max and self._is_behind():
            return 0
        return settings.turns_in_flight_max - max(len(self._flight), self._flight.answers)

    def _read_all(self, records: Sequence[InboxRecord]) -> int:
        """Read inputs as far as those before them let it; return how many that were."""
        for count, record in enumerate(records):
            if self._deciding.held:
                if not (isinstance(record.input, DeadLetter) and self._deciding.takes_letters):
                    return count
            self._read(record)
        return len(records)

    def _look_at_published(self) -> None:
        """Forget what was handed over and is published by now."""
        floor = self._outbox.published_floor(self._confirmed.next_offset)
        self._effects.unpublished.published(floor)

    def _is_behind(self) -> bool:
        """Return whether too much waits to be published; then it is asked again soon."""
        self._look_at_published()
        unpublished, limit = self._effects.unpublished, self._settings.unpublished_bytes_max
        was, self._says_behind = self._says_behind, unpublished.bytes >= limit
        if self._says_behind:
            self._look_again_ms = self._clock.now_ms() + _PUBLISHED_AGAIN_MS
            if not was:
                _log.warning(
                    "shard %d takes no input for now: %d bytes of results and published records "
                    "are not published yet; the limit is %d (unpublished_bytes_max)",
                    self.partition,
                    unpublished.bytes,
                    limit,
                )
        return self._says_behind

    def _read(self, record: InboxRecord) -> None:
        source, offset, input, reply_to = record
        positions = self._deciding.read.past(source, offset)
        if isinstance(input, DeadLetter):
            self._deciding.bury(input, positions)
            if reply_to is not None:
                told = Reply(reply_to, Refused("TooNew", input.reason))
                self._flight.then(partial(self._outbox.reply, told))
        elif isinstance(input, ClientCommand):
            self._command(input, offset, positions)
        else:
            if not self._timers.came_early(input, self._clock.now_ms()):
                self._deciding.decide(source, input, positions=positions, offset=offset)
            self._timers.came_back(input)
        self._deciding.passed(positions)

    def _command(self, command: ClientCommand, offset: int, positions: Positions) -> None:
        body = command.body
        if isinstance(body, Operation):
            self._change(command, offset, positions)
        elif command.reply_to is None:
            return
        elif isinstance(body, DescribeRun):
            self._reads.guarded(command, partial(self._describe, command, body))
        elif isinstance(body, ReadShard):
            self._mark()
            told = Reply(command.reply_to, Page(to_json(self._view())))
            self._flight.then(partial(self._outbox.reply, told))
        else:
            serve = partial(self._reads.serve, command, body)
            self._flight.then(partial(self._reads.guarded, command, serve))

    def _describe(self, command: ClientCommand, body: DescribeRun) -> None:
        entry = self._instances.entry(command.workflow_id)
        answer = self._reads.describe(command, body, entry)
        self._flight.then(partial(self._outbox.reply, answer))

    def _change(self, command: ClientCommand, offset: int, positions: Positions) -> None:
        """Let a command that may change something count, unless it has."""
        cause, run_id, entry = command.cause, "", None
        standing = self._requests.standing(cause, again=command.again)
        if isinstance(command.body, StartRun):
            run_id = run_id_of(self._log_id, command.workflow_id, cause, self.partition, offset)
            if standing == "new":
                entry = self._instances.entry(command.workflow_id)
                if self._is_known(entry, run_id):
                    standing = "known"
        if standing == "new":
            self._deciding.decide("commands", command, run_id, positions, offset, entry)
        elif command.reply_to is not None:
            answer = self._requests.answer(cause)
            again = partial(self._reads.again, command, run_id, standing, answer)
            self._flight.then(again)

    def _is_known(self, entry: Entry, run_id: str) -> bool:
        """Return whether the run that a start makes is there: what made it came once before."""
        latest = entry.latest()
        if latest is None:
            return False
        in_memory = latest.run_id == run_id or run_id in entry.begun
        return in_memory or self._tables.run(run_id) is not None

    # --- marks and purges ---------------------------------------------------------------------

    def purge(self, workflow_id: str, run_id: str) -> bool:
        """Give up the history of a closed run; False where there is none, or it is open."""
        summary = self._tables.run(run_id)
        if summary is None or summary.workflow_id != workflow_id or run_id in self._purging:
            return False
        if summary.closed_ms is None or summary.purged_ms is not None:
            return False
        latest = self._instances.entry(workflow_id).latest()
        is_latest = latest is not None and latest.run_id == run_id
        appended = self._writer.purge(
            summary, summary.closed_ms, is_latest, self._deciding.positions
        )
        self._purging.add(run_id)
        appended.after.append(partial(self._purging.discard, run_id))
        return True

    def _mark_if_needed(self) -> None:
        """Write down what inputs left no record: an idle week must not lose their positions."""
        moved = self._deciding.positions != self._confirmed.positions
        if (moved and not self._flight) or self._forgetting.is_waiting():
            says = self._deciding.positions, self._deliveries.floor, self._published_floor()
            if says != self._marked:
                self._mark()

    def _mark(self) -> None:
        self._marked = self._deciding.positions, self._deliveries.floor, self._published_floor()
        self._writer.mark(*self._marked)

    def _published_floor(self) -> int:
        return self._outbox.published_floor(self._deliveries.floor)

    def _view(self) -> dict[str, object]:
        """Return what the shard says of itself."""
        return {
            "shard": self.partition,
            "level": self.level,
            "epoch": self._epoch,
            "positions": self._deciding.positions._asdict(),
            "delivered": self._deliveries.floor,
        }
