"""Taking over a shard: claim it, fold the log up to the claim, find out what is still owed.

    1. append a claim; the offset of its acknowledgement is the epoch
    2. fold the log from where the tables end up to the claim: a turn counts if and only if it
       names the last claim before it
    3. collect what a dead owner may not have delivered: queued tasks, messages, results
    4. collect the eager attempts that died with it

Only then does the shard read its inputs, from the positions in the last turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from processor.codec.records import decode, decode_as, encode
from processor.core.derive import effects_of
from processor.core.effects import (
    ActivityTask,
    DeadLetter,
    Effect,
    Message,
    Publish,
    RunResult,
)
from processor.core.evolve import evolve
from processor.core.failure import Failure
from processor.core.inputs import ActivityReport, Origin
from processor.core.state import RunState, Summary
from processor.core.turn import Claim, Turn, claim_key
from processor.errors import LogTruncated, StoreCorrupt
from processor.shard.outbox import Deliveries
from processor.shard.ports import (
    TOMBSTONES_MS,
    Checkpoint,
    Confirmed,
    Log,
    LogRecord,
    OpenAttempt,
    Outbox,
    OutputRecord,
    Sendable,
    Tables,
)

__all__ = ("Owed", "Taken", "Takeover", "is_current", "send_owed")

_GROUP_TURNS = 1_000
_STATES_MAX = 20_000
_HOUR_MS = 3600 * 1000


@dataclass(frozen=True, slots=True)
class Owed:
    """An effect that may not have been delivered: ``index`` is its place in the turn."""

    offset: int
    index: int
    effect: Sendable | OutputRecord


@dataclass(slots=True)
class Taken:
    """A shard that is ours: what the loop begins with. ``time_ms``: the latest that was folded."""

    epoch: int
    checkpoint: Checkpoint
    owed: list[Owed]
    lost: list[ActivityReport]
    turns: int
    ghosts: int
    time_ms: int


def is_current(turn: Turn, epoch: int) -> bool:
    """Return whether a turn counts: it names the last claim before it in the log."""
    return turn.epoch == epoch


class Takeover:
    """``begin``, then ``claimed`` until it returns the epoch, then ``fold`` (which blocks)."""

    def __init__(
        self,
        partition: int,
        log: Log,
        tables: Tables,
        owner: str,
        tombstones_ms: int = TOMBSTONES_MS,
    ) -> None:
        self._tombstones_ms = tombstones_ms
        self._partition = partition
        self._log = log
        self._tables = tables
        self._owner = owner
        self._claims = 0
        self._now_ms = 0

    def begin(self, nonce: str, now_ms: int) -> None:
        self._claims += 1
        self._now_ms = now_ms
        nonce = f"{nonce}-{self._claims}"
        self._log.append(claim_key(nonce), encode(Claim(self._owner, nonce, now_ms)))

    def claimed(self, nonce: str, now_ms: int) -> int | None:
        """Return the epoch once the claim is acknowledged."""
        for offset in self._log.acknowledged():
            if offset >= 0:
                return offset
            self.begin(nonce, now_ms)
        return None

    def fold(self, epoch: int, published: int) -> Taken:
        """Bring the tables up to the claim and return what the loop needs to begin.

        Raises ``LogTruncated`` where the log has lost what the tables hold, and ``StoreCorrupt``
        where the tables may have missed a deletion.
        """
        before = self._tables.checkpoint()
        first_kept, end = self._log.bounds()
        if published > end:
            raise LogTruncated(
                f"shard {self._partition}: everything below log offset {published} was published, "
                f"but the log ends at {end}: it lost its end, or the topic was made again. Nothing "
                "was changed. If the loss is intended, use a new namespace"
            )
        if before.next_offset > epoch or first_kept > before.next_offset:
            raise LogTruncated(
                f"shard {self._partition}: the state directory is at log offset "
                f"{before.next_offset}, but the log was [{first_kept}, {epoch}) when it was "
                "claimed: records were deleted, or the topic was made again. Nothing was changed. "
                "If the loss is intended, delete the state directory and use a new namespace"
            )
        self._check_age(before, epoch)
        fold = _Fold(self._tables, replace(before, time_ms=self._now_ms), published)
        begin = max(min(before.next_offset, before.delivered, published), first_kept)
        for record in self._log.read(begin, epoch):
            fold.take(record)
        fold.finish(epoch)
        self._tables.flush()
        lost = [_lost(attempt) for attempt in self._tables.open_attempts() if attempt.eager]
        owed = list(fold.owed())
        return Taken(epoch, fold.checkpoint, owed, lost, fold.turns, fold.ghosts, fold.time_ms)

    def _check_age(self, before: Checkpoint, epoch: int) -> None:
        """Refuse tables that others have written past, for longer than tombstones are kept.

        A tenth of that time is left for the fold that follows and for clocks that differ.
        """
        away_ms = self._now_ms - before.time_ms
        if 0 < before.next_offset < epoch and away_ms > self._tombstones_ms * 9 // 10:
            raise StoreCorrupt(
                f"the state directory ends at log offset {before.next_offset} and was left "
                f"{away_ms / _HOUR_MS:.1f} hours ago, and the log keeps tombstones for "
                f"{self._tombstones_ms / _HOUR_MS:.1f} hours (delete.retention.ms)"
            )


class _Fold:
    """The fold of the log into the tables, a group of turns at a time."""

    def __init__(self, tables: Tables, before: Checkpoint, published: int) -> None:
        self.turns = 0
        self.ghosts = 0
        self.time_ms = 0
        self._tables = tables
        self._before = before
        self._next_offset = before.next_offset
        self._epoch = before.epoch
        self._positions = before.positions
        self._delivered = before.delivered
        self._seen = dict(before.seen)
        self._published = published
        self._states: dict[str, RunState] = {}
        self._group: list[tuple[int, Turn, bytes, RunState, list[Effect]]] = []
        self._owed: list[Owed] = []

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            self._next_offset,
            self._epoch,
            self._positions,
            self._delivered,
            self._seen,
            self._before.time_ms,
        )

    def take(self, record: LogRecord) -> None:
        if record.value is None:
            return
        entry = decode(record.value)
        known = record.offset < self._before.next_offset
        if isinstance(entry, Claim):
            if not known:
                self._epoch = record.offset
            self.time_ms = max(self.time_ms, entry.time_ms)
            return
        assert isinstance(entry, Turn), f"events offset {record.offset} holds {entry}"
        if known:
            self._collect_known(record.offset, record.value, entry)
        elif is_current(entry, self._epoch):
            self._apply(record.offset, record.value, entry)
        else:
            self.ghosts += 1

    def finish(self, epoch: int) -> None:
        self._next_offset, self._epoch = epoch + 1, epoch
        self._flush()

    def owed(self) -> Iterator[Owed]:
        """Yield what is not known to be delivered and still matters."""
        for owed in self._owed:
            if self._still_matters(owed):
                yield owed

    def _apply(self, offset: int, value: bytes, turn: Turn) -> None:
        if not turn.events:
            self._reached(offset, turn)
            return
        self.turns += 1
        state = self._states.get(turn.run_id) or self._opened(turn)
        effects = _folded(state, turn)
        self._group.append((offset, turn, value, state, effects))
        self._reached(offset, turn)
        if effects:
            self._collect(offset, effects)
        if state.closed_ms is not None:
            self._states.pop(turn.run_id, None)
        if len(self._group) >= _GROUP_TURNS:
            self._flush()

    def _reached(self, offset: int, turn: Turn) -> None:
        if turn.origin is not None:
            self._seen[turn.origin.shard] = turn.origin
        self._next_offset, self._positions = offset + 1, turn.positions
        self._delivered = turn.delivered
        if turn.time_ms > self.time_ms:
            self.time_ms = turn.time_ms

    def _opened(self, turn: Turn) -> RunState:
        """Return the state of a run just before this turn, which is the first one of it here."""
        if turn.first:
            self._flush()
            state = _state_before(self._tables, turn)
        else:
            state = RunState(turn.workflow_id, turn.run_id)
        self._states[turn.run_id] = state
        return state

    def _flush(self) -> None:
        """Write the group; of each run only what it comes to at the end of the group is needed."""
        summaries: dict[str, Summary] = {}
        group: list[Confirmed] = []
        for offset, turn, value, state, effects in self._group:
            summary = summaries.get(turn.run_id)
            if summary is None:
                summary = summaries[turn.run_id] = state.summary()
            group.append(Confirmed(offset, turn, value, summary, effects))
        self._tables.write(group, self.checkpoint)
        self._group = []
        self._owed = [o for o in self._owed if self._undelivered(o)]
        if len(self._states) > _STATES_MAX:
            self._states.clear()

    def _collect_known(self, offset: int, value: bytes, turn: Turn) -> None:
        """Collect the effects of a turn that is in the tables already (or was a ghost)."""
        for first, stored in self._tables.history(turn.run_id, turn.first):
            if first == turn.first and stored == value:
                self._collect(offset, _folded(_state_before(self._tables, turn), turn))
            return

    def _collect(self, offset: int, effects: Iterable[Effect]) -> None:
        for index, effect in enumerate(effects):
            if isinstance(effect, ActivityTask) and effect.eager:
                continue  # what became of it is asked of the attempts that are still open
            if isinstance(effect, ActivityTask | Message | DeadLetter | RunResult | Publish):
                owed = Owed(offset, index, effect)
                if self._undelivered(owed):
                    self._owed.append(owed)

    def _undelivered(self, owed: Owed) -> bool:
        if isinstance(owed.effect, RunResult | Publish):
            return owed.offset >= self._published
        return owed.offset >= self._delivered

    def _still_matters(self, owed: Owed) -> bool:
        task = owed.effect
        if not self._undelivered(owed):
            return False
        if not isinstance(task, ActivityTask):
            return True
        return any(
            row.id == task.id and row.attempt == task.attempt and not row.eager
            for row in self._tables.open_attempts(task.run_id)
        )


def send_owed(owed: Iterable[Owed], outbox: Outbox, deliveries: Deliveries, partition: int) -> None:
    """Send again what the owner before us may not have delivered, in log order."""
    sends: dict[int, int] = {}
    outputs: dict[int, list[OutputRecord]] = {}
    for each in owed:
        if isinstance(each.effect, RunResult | Publish):
            outputs.setdefault(each.offset, []).append(each.effect)
            continue
        origin = None
        if isinstance(each.effect, Message):
            origin = Origin(partition, each.offset, each.index)
        outbox.send(each.effect, each.offset, origin)
        sends[each.offset] = sends.get(each.offset, 0) + 1
    for offset, count in sends.items():
        deliveries.released(offset, count)
    for offset, records in outputs.items():
        outbox.publish(offset, records)


def _state_before(tables: Tables, turn: Turn) -> RunState:
    state = RunState(turn.workflow_id, turn.run_id)
    for first, value in tables.history(turn.run_id):
        if first >= turn.first:
            break
        _folded(state, decode_as(Turn, value))
    return state


def _folded(state: RunState, turn: Turn) -> list[Effect]:
    """Apply a turn to the state just before it; return its effects."""
    assert state.events == turn.first, f"{turn.run_id}: turn {turn.first} at {state.events}"
    effects: list[Effect] = []
    for event in turn.events:
        effects += effects_of(state, event, turn.time_ms)
        evolve(state, event, turn.time_ms)
    return effects


def _lost(attempt: OpenAttempt) -> ActivityReport:
    failure = Failure(
        "activity_timed_out",
        "ActivityTimedOut",
        f"activity {attempt.name!r}: attempt {attempt.attempt} was lost with the process that "
        "ran it",
        timeout_kind="lost",
        activity=attempt.name,
        attempts=attempt.attempt,
    )
    return ActivityReport(
        attempt.workflow_id, attempt.run_id, attempt.id, attempt.attempt, "failed", failure=failure
    )
