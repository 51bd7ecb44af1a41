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

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from processor.codec.records import decode, decode_as, encode
from processor.config import Settings
from processor.core.decide import Context, Draft, decide, unpark
from processor.core.effects import (
    ActivityTask,
    CancelAttempt,
    ClearTimer,
    DeadLetter,
    Effect,
    Message,
    Publish,
    Refused,
    Reply,
    RunResult,
    SetTimer,
)
from processor.core.inputs import (
    CancelRun,
    ClientCommand,
    DescribeRun,
    Input,
    Origin,
    RaiseEvent,
    StartRun,
    TerminateRun,
)
from processor.core.replay import Instance, replay
from processor.core.runner import CodeError, Runners
from processor.core.state import Summary
from processor.core.turn import Claim, Positions, Source, Turn, turn_key
from processor.shard.cache import Cache, Entry
from processor.shard.eager import Eager
from processor.shard.outbox import Deliveries
from processor.shard.ports import (
    NEVER_MS,
    Checkpoint,
    Confirmed,
    InboxRecord,
    OutputRecord,
    ShardPorts,
)
from processor.shard.reads import Reads
from processor.shard.takeover import Taken, send_owed
from processor.shard.timers import Timers

__all__ = ("Shard", "ShardLost")

_INTAKE_MAX = 256
"""Inputs per step, so that acknowledgements and activities get their turn."""

_MARK_EVERY_MS = 60_000

_LOOK_AGAIN_MS = 10
"""How long commands wait for slots until it is asked again whether they should."""

_FLUSH_AFTER_MS = 200
"""How long a turn may be in the log, and in the tables in memory only."""

_LOT_MAX = 16
"""Inputs between two looks at how much is in flight."""


class ShardLost(Exception):
    """Somebody else owns the shard now: drop everything that is not confirmed."""


@dataclass(slots=True)
class _Appended:
    """A record on its way into the log: a turn, a mark (a turn of no run), or a ghost's tombstone.

    ``turn`` is None for the tombstone; ``entry`` and ``summary`` are None for both of these.
    """

    key: bytes
    value: bytes | None
    turn: Turn | None = None
    entry: Entry | None = None
    summary: Summary | None = None
    effects: Sequence[Effect] = ()
    after: list[Callable[[], None]] = field(default_factory=list)


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
        self._log, self._inbox, self._outbox = ports.log, ports.inbox, ports.outbox
        self._tables, self._activities, self._clock = ports.tables, ports.activities, ports.clock
        self._runners = runners
        self._settings = settings
        self._epoch = taken.epoch
        self._expected = taken.epoch + 1
        self._positions = taken.checkpoint.positions
        self._confirmed = taken.checkpoint
        self._seen = dict(taken.checkpoint.seen)
        self._deliveries = Deliveries(self._expected)
        self._in_flight: deque[_Appended] = deque()
        self._bytes_in_flight = 0
        self._buried: Positions | None = None
        self._unread: Sequence[InboxRecord] = ()
        self._eager = Eager(ports.activities, taken.lost, wake)
        self._cache = Cache(settings.cached_runs_max, settings.cached_bytes_max)
        self._reads = Reads(partition, self._tables, self._outbox, self._clock, settings)
        self._timers = Timers(self._tables, self._outbox, self._clock.now_ms())
        self._context = Context(0, runners, self._eager.place)
        self._mark_due_ms = self._clock.now_ms() + _MARK_EVERY_MS
        self._flush_due_ms = self._look_again_ms = NEVER_MS
        self._behind = True
        self._marks: list[bytes] = []
        self._parked = deque(self._tables.parked())
        send_owed(taken.owed, self._outbox, self._deliveries, partition)
        self._inbox.open(self._positions)

    # --- the step ---------------------------------------------------------------------------

    def step(self) -> bool:
        """Do what can be done now; return whether more can be done at once."""
        if offsets := self._log.acknowledged():
            confirmed = self._acknowledge(offsets)
            self._store(confirmed)
            self._release(confirmed)
        for token in self._outbox.delivered():
            if token < 0:
                assert self._buried is not None, "one dead letter at a time"
                self._positions, self._buried = self._buried, None
            else:
                self._deliveries.delivered(token)
        self._behind = self._intake()
        now_ms = self._clock.now_ms()
        if now_ms >= self._timers.next_ms():
            self._timers.fire(now_ms, min(self._room(), _INTAKE_MAX), self._decide)
        self._cache.evict()
        if now_ms >= self._mark_due_ms:
            self._mark_positions(now_ms)
        if now_ms >= self._flush_due_ms:
            self.flush()
        return self._behind

    def has_work(self, now_ms: int) -> bool:
        """Return whether ``step`` may find something to do."""
        waiting = self._log.waiting or self._inbox.waiting or self._outbox.waiting
        left = self._behind or self._eager or self._parked
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
        undelivered = self._deliveries.outstanding or self._buried is not None or self._unread
        return not (self._in_flight or self._eager or self._parked or undelivered)

    def close(self) -> None:
        """Drop everything in memory; what is confirmed is in the log, the rest never happened."""
        self._inbox.close()
        self._outbox.close()
        self._eager.close()
        self._cache.close()
        self._tables.close()

    # --- 1. acknowledge -----------------------------------------------------------------------

    def _acknowledge(self, offsets: Sequence[int]) -> list[tuple[int, _Appended]]:
        confirmed: list[tuple[int, _Appended]] = []
        in_flight = self._in_flight
        for offset in offsets:
            if offset != self._expected:
                offset = self._check_gap(offset, in_flight[0])
            confirmed.append((offset, in_flight.popleft()))
            self._expected = offset + 1
        return confirmed

    def _check_gap(self, offset: int, appended: _Appended) -> int:
        """Find out who else wrote; return the offset of our record, or raise ``ShardLost``."""
        end = offset + 1 if offset >= 0 else self._log.bounds()[1]
        for record in self._log.read(self._expected, end):
            if record.key == appended.key and record.value == appended.value:
                return record.offset
            if record.value is None:
                continue
            written = decode(record.value)
            if isinstance(written, Claim):
                raise ShardLost(
                    f"shard {self.partition}: {written.owner} claimed it at log offset "
                    f"{record.offset}, after our claim at {self._epoch}"
                )
            self._append(_Appended(record.key, None))
        raise ShardLost(f"shard {self.partition}: our record is not in the log below {end}")

    # --- 2. store -----------------------------------------------------------------------------

    def _store(self, confirmed: Sequence[tuple[int, _Appended]]) -> None:
        group: list[Confirmed] = []
        last: Turn | None = None
        for offset, appended in confirmed:
            turn = appended.turn
            last = turn or last
            if turn is None or appended.summary is None:
                continue
            assert appended.value is not None, "a turn has a value"
            group.append(
                Confirmed(offset, turn, appended.value, appended.summary, appended.effects)
            )
            if turn.origin is not None:
                self._confirmed.seen[turn.origin.shard] = turn.origin
        self._confirmed = Checkpoint(
            confirmed[-1][0] + 1,
            self._epoch,
            last.positions if last is not None else self._confirmed.positions,
            last.delivered if last is not None else self._confirmed.delivered,
            self._confirmed.seen,
            self._clock.now_ms(),
        )
        self._tables.write(group, self._confirmed)
        if self._flush_due_ms == NEVER_MS:
            self._flush_due_ms = self._confirmed.time_ms + _FLUSH_AFTER_MS

    # --- 3. release ---------------------------------------------------------------------------

    def _release(self, confirmed: Sequence[tuple[int, _Appended]]) -> None:
        for offset, appended in confirmed:
            if appended.turn is not None:
                self._bytes_in_flight -= len(appended.value or b"")
                self._deliveries.released(offset, self._release_effects(offset, appended))
                if appended.entry is not None:
                    appended.entry.in_flight -= 1
                    self._cache.settled(appended.entry)
            for callback in appended.after:
                callback()

    def _release_effects(self, offset: int, appended: _Appended) -> int:
        """Release the effects of one turn; return how many of them are sends to wait for."""
        sends = 0
        outputs: list[OutputRecord] = []
        for index, effect in enumerate(appended.effects):
            match effect:
                case ActivityTask():
                    if effect.eager:
                        self._eager.start(effect)
                    else:
                        self._outbox.send(effect, offset)
                        sends += 1
                case SetTimer():
                    self._timers.set(effect)
                case ClearTimer():
                    self._timers.clear(effect)
                case RunResult():
                    outputs.append(effect)
                    self._reads.closed(effect)
                case Publish():
                    outputs.append(effect)
                case CancelAttempt():
                    self._activities.cancel(effect.run_id, effect.id)
                case Message():
                    origin = Origin(self.partition, offset, index)
                    self._outbox.send(effect, offset, origin)
                    sends += 1
                case DeadLetter():
                    self._outbox.send(effect, offset)
                    sends += 1
                case Reply():
                    self._outbox.reply(effect)
        if outputs or appended.entry is None:  # a mark moves the published position on as well
            self._outbox.publish(offset, outputs)
        return sends

    # --- 4. intake ----------------------------------------------------------------------------

    def _intake(self) -> bool:
        left = _INTAKE_MAX
        self._look_again_ms = NEVER_MS
        while left > 0 and (room := min(left, _LOT_MAX, self._room())) > 0:
            if self._parked:
                self._retry_parked()
            lot = min(len(self._eager), room)
            for _ in range(lot):
                self._decide("eager", self._eager.next())
            if not lot and self._buried is None:
                room = min(room, self._activities.room())
                if room == 0 and self._inbox.waiting:
                    self._look_again_ms = self._clock.now_ms() + _LOOK_AGAIN_MS
                    return False
                records, self._unread = self._unread or self._inbox.take(room), ()
                for lot, (source, offset, input) in enumerate(records, 1):
                    self._read(source, offset, input)
                    if self._buried is not None:
                        self._unread = records[lot:]
                        break
            if not lot:
                return bool(self._parked)
            left -= lot
        return self._room() > 0

    def _room(self) -> int:
        settings = self._settings
        if self._bytes_in_flight >= settings.bytes_in_flight_max:
            return 0
        if self._deliveries.outstanding >= settings.turns_in_flight_max:
            return 0
        return settings.turns_in_flight_max - len(self._in_flight)

    def _read(self, source: Source, offset: int, input: Input | DeadLetter) -> None:
        positions = self._positions.past(source, offset)
        if isinstance(input, DeadLetter):
            self._bury(input, positions)
        elif isinstance(input, ClientCommand):
            self._command(input, offset, positions)
        else:
            self._decide(source, input, positions=positions)
            self._timers.came_back(input)
        if self._buried is None:
            self._positions = positions

    def _command(self, command: ClientCommand, offset: int, positions: Positions) -> None:
        body = command.body
        if isinstance(body, StartRun | RaiseEvent | CancelRun | TerminateRun):
            if self._is_new(command.origin):
                run_id = f"{self.partition}-{offset}"
                refused = self._decide("commands", command, run_id, positions, command.origin)
                if refused is not None and command.reply_to is None:
                    key, value = command.workflow_id.encode(), encode(command)
                    reason = f"{refused.error}: {refused.message}"
                    place = (self.partition, offset)
                    self._bury(DeadLetter("commands", *place, key, value, reason), positions)
            return
        if command.reply_to is None:
            return
        if isinstance(body, DescribeRun):
            entry = self._entry(command.workflow_id)
            answer = self._reads.describe(command, body, entry)
            self._then(partial(self._outbox.reply, answer))
        else:
            self._then(partial(self._reads.serve, command, body))

    def _is_new(self, origin: Origin | None) -> bool:
        if origin is None:
            return True
        seen = self._seen.get(origin.shard)
        return seen is None or (origin.offset, origin.index) > (seen.offset, seen.index)

    def _bury(self, letter: DeadLetter, positions: Positions) -> None:
        """Send to ``dead-letters``; until it is there no input is read, and no turn is past it."""
        self._buried = positions
        self._outbox.send(letter, -1)

    def _decide(
        self,
        source: Source,
        input: Input,
        run_id: str = "",
        positions: Positions | None = None,
        origin: Origin | None = None,
    ) -> Refused | None:
        entry = self._entry(input.workflow_id)
        self._context.now_ms = self._clock.now_ms()
        latest = entry.latest() if isinstance(input, ClientCommand) else None
        outcome = decide(input, entry.instance, latest, run_id, self._context)
        for draft in outcome.turns[:-1]:
            self._write(draft, entry, source, self._positions, None)
        for draft in outcome.turns[-1:]:
            self._write(draft, entry, source, positions or self._positions, origin)
        if outcome.replies or outcome.awaited is not None:
            self._then(partial(self._reads.answer, input, outcome.replies, outcome.awaited))
        return outcome.refused

    def _entry(self, workflow_id: str) -> Entry:
        """Return the workflow id's live entry, replayed from the tables if it was evicted."""
        entry = self._cache.get(workflow_id)
        if entry is not None:
            return entry
        entry = Entry(workflow_id)
        latest = self._tables.latest(workflow_id)
        if latest is not None and latest.status.is_open:
            entry.instance = self._replayed(latest.run_id, entry)
            self._cache.add(entry)
        else:
            entry.closed = latest
        return entry

    def _replayed(self, run_id: str, entry: Entry) -> Instance:
        turns = []
        for _, value in self._tables.history(run_id):
            entry.bytes += len(value)
            turns.append(decode_as(Turn, value))
        return replay(self._runners, turns)

    def _retry_parked(self) -> None:
        """Try the code of parked runs again: this process may have newer code."""
        for _ in range(min(len(self._parked), _LOT_MAX)):
            entry = self._entry(self._parked.popleft())
            self._context.now_ms = self._clock.now_ms()
            draft = None if entry.instance is None else unpark(entry.instance, self._context)
            if draft is not None:
                self._write(draft, entry, "takeover", self._positions, None)

    def _write(
        self,
        draft: Draft,
        entry: Entry,
        source: Source,
        positions: Positions,
        origin: Origin | None,
    ) -> None:
        """Append a turn and note what follows once it is acknowledged."""
        state = draft.instance.state
        turn = Turn(
            state.workflow_id,
            state.run_id,
            self._epoch,
            draft.first,
            draft.now_ms,
            source,
            positions,
            self._deliveries.floor,
            origin,
            tuple(draft.events),
        )
        value = encode(turn)
        summary = state.summary()
        if origin is not None:
            self._seen[origin.shard] = origin
        if self._cache.get(entry.workflow_id) is None:
            self._cache.add(entry)
        entry.in_flight += 1
        if summary.status.is_open:
            entry.instance, entry.closed = draft.instance, None
            self._cache.grew(entry, len(value))
        else:
            entry.instance, entry.closed = None, summary
            if not isinstance(draft.instance.runner, CodeError):
                draft.instance.runner.close()
        key = turn_key(turn.run_id, turn.first, turn.epoch)
        self._append(_Appended(key, value, turn, entry, summary, draft.effects))

    def _mark_positions(self, now_ms: int) -> None:
        """Write down the positions of inputs that left no turn: an idle week must not lose them."""
        if self._in_flight:
            return
        self._mark_due_ms = now_ms + _MARK_EVERY_MS
        if self._positions == self._confirmed.positions:
            return
        floor, positions = self._deliveries.floor, self._positions
        mark = Turn("", "", self._epoch, 0, now_ms, "mark", positions, floor, None, ())
        # A key of its own: under compaction a ghost must not replace a mark that counts.
        key = turn_key("mark", self._expected, self._epoch)
        appended = _Appended(key, encode(mark), mark)
        appended.after += [partial(self._append, _Appended(old, None)) for old in self._marks]
        self._marks = [key]
        self._append(appended)

    def _append(self, appended: _Appended) -> None:
        self._bytes_in_flight += len(appended.value or b"")
        self._log.append(appended.key, appended.value)
        self._in_flight.append(appended)

    def _then(self, callback: Callable[[], None]) -> None:
        """Call back once every turn before now is acknowledged."""
        if self._in_flight:
            self._in_flight[-1].after.append(callback)
        else:
            callback()
