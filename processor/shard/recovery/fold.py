"""The fold of the log into the tables, a group of records at a time.

What the cleaner has left may be half of something: it works by segments, so that turns 61 to 99 of
a run may be there without 0 to 60. A run without a beginning is skipped until its snapshot or the
record that purges it; of what is skipped only positions, floors and what has counted are taken.
Tables that know a beginning and miss what followed are no use: they are folded afresh, and so is a
log that was cleaned while it was read. A claim may be gone as well; then the first record that
names it says that it was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from processor.codec.records import LogRecordBody
from processor.core.nouns.activity import attempted, effects_of_attempt
from processor.core.nouns.run import Summary
from processor.core.records.effects import Effect, Forget
from processor.core.records.marks import Answered, Mark
from processor.core.records.purge import summary_of
from processor.core.records.snapshot import Snapshot, state_of
from processor.core.records.turn import AttemptRecord, Claim, Purged, Turn
from processor.core.state import RunState
from processor.shard.dedup import Requests, UnderClaim
from processor.shard.messages.border import Border
from processor.shard.ports import (
    Changes,
    Checkpoint,
    ClaimRow,
    Confirmed,
    LogRecord,
    Tables,
)
from processor.shard.recovery.claiming import Claiming
from processor.shard.recovery.owed import Owed, Owing
from processor.shard.recovery.states import States, folded, stored_state

__all__ = ("Fold", "Incomplete", "counts")

_GROUP_TURNS = 1_000


class Incomplete(Exception):
    """Records of a run are gone that nothing stands for."""


@dataclass(slots=True)
class _Headless:
    """What is left of a run whose beginning the cleaner has taken."""

    keys: list[bytes] = field(default_factory=list)
    attempts: dict[int, tuple[int, bytes, bytes, AttemptRecord]] = field(default_factory=dict)


class _Counted(NamedTuple):
    """A record that counts, with the state of its run, or what is left of that."""

    offset: int
    key: bytes
    record: UnderClaim
    value: bytes
    state: RunState | Summary | None
    effects: Sequence[Effect]


def counts(named: int, epoch: int) -> bool:
    """Return whether a record counts that names a claim, where ``epoch`` is the last one known.

    A later one than that was there, and has gone since: records name claims that exist.
    """
    return named >= epoch


class Fold:
    """``take`` every record in order, then ``finish``; ``owed`` says what is to be sent again.

    ``take`` and ``finish`` raise ``Incomplete``.
    """

    def __init__(
        self,
        tables: Tables,
        before: Checkpoint,
        published: int,
        border: Border = Border(),
    ) -> None:
        self.turns = 0
        self.time_ms = 0
        self.requests = Requests(tables.requests())
        self.claims = Claiming(tables, before)
        self._tables = tables
        self._before = before
        self._next_offset = before.next_offset
        self._positions = before.positions
        published = max(published, before.published)
        self._owing = Owing(tables, before.delivered, published, border)
        self._states = States()
        self._headless: dict[str, _Headless] = {}
        self._group: list[_Counted] = []
        self._changes = Changes()

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            self._next_offset,
            self.claims.last.offset,
            self.claims.level,
            self._positions,
            self._owing.delivered,
            self._owing.published,
            self._before.time_ms,
        )

    def take(self, record: LogRecord, entry: LogRecordBody) -> None:
        value = record.value
        assert value is not None, "a tombstone is no record"
        known = record.offset < self._before.next_offset
        if isinstance(entry, Claim):
            self.time_ms = max(self.time_ms, entry.time_ms)
            if not known:
                self._claimed(record.offset, record.key, entry.level)
        elif known:
            self._owing.collect_known(record.offset, record.key, value, entry)
        elif counts(entry.epoch, self.claims.last.offset):
            if entry.epoch > self.claims.last.offset:
                self._claimed(entry.epoch, b"", self.claims.level)
            self._apply(record.offset, record.key, value, entry)
        else:
            self._ghost(record)

    def stranger(self, record: LogRecord) -> bool:
        """Pass over what is no record of ours; return whether it was not known yet."""
        if record.offset < self._before.next_offset:
            return False
        self._ghost(record)
        return True

    def tombstone(self, record: LogRecord) -> None:
        """Note that a key has its tombstone already. It says nothing about the state."""
        if record.offset >= self._before.next_offset:
            self._changes.tombstones.append(record.key)
            self._next_offset = record.offset + 1

    def finish(self, epoch: int, key: bytes, level: int) -> None:
        """End with our own claim. Raises ``Incomplete`` for a run that has no beginning."""
        if self._headless:
            run_id = next(iter(self._headless))
            raise Incomplete(
                f"the log holds turns of run {run_id}, but neither its beginning nor a snapshot, "
                "nor that it was purged"
            )
        self._claimed(epoch, key, level)
        self._next_offset = epoch + 1
        self._flush()

    def drop_claim(self, row: ClaimRow) -> None:
        """Let a former claim go that exposes no ghost any more."""
        self._changes.claims[row.offset] = None
        self._changes.replaced.append(row.key)
        self._flush()

    def owed(self) -> list[Owed]:
        """Return what is not known to be delivered."""
        return self._owing.left()

    # --- claims and ghosts --------------------------------------------------------------------

    def _claimed(self, offset: int, key: bytes, level: int) -> None:
        self.claims.begin(offset, key, level, self._changes)
        self._next_offset = max(self._next_offset, offset + 1)

    def _ghost(self, record: LogRecord) -> None:
        self.claims.ghost(record.offset, record.key, self._changes)
        self._next_offset = record.offset + 1

    # --- records that count -------------------------------------------------------------------

    def _apply(self, offset: int, key: bytes, value: bytes, entry: UnderClaim) -> None:
        match entry:
            case Turn() | Snapshot():
                self._apply_turn(offset, key, value, entry)
            case AttemptRecord():
                self._apply_attempt(offset, key, value, entry)
            case Purged():
                self._apply_purged(offset, key, value, entry)
            case Mark():
                self._owing.published = max(self._owing.published, entry.published)
                self._add(offset, key, value, entry, None, [])
            case Answered():
                self._add(offset, key, value, entry, None, entry.effects)
        self._reached(offset, entry)
        if len(self._group) >= _GROUP_TURNS:
            self._flush()

    def _apply_turn(self, offset: int, key: bytes, value: bytes, turn: Turn | Snapshot) -> None:
        state = self._state_at(turn)
        if state is None:
            self._headless.setdefault(turn.run_id, _Headless()).keys.append(key)
            if isinstance(turn, Snapshot):
                self._apply_image(offset, key, value, turn)
            return
        self.turns += 1
        self._add(offset, key, value, turn, state, folded(state, turn))

    def _apply_image(self, offset: int, key: bytes, value: bytes, snapshot: Snapshot) -> None:
        """Begin with a snapshot, where nothing is left of what was before."""
        headless = self._headless.pop(snapshot.run_id)
        headless.keys.pop()
        state = state_of(snapshot)
        self._states.keep(state)
        self.turns += 1
        effects = [*state.armed(), *map(Forget, headless.keys)]
        self._group.append(_Counted(offset, key, snapshot, value, state, effects))
        for at, attempt_key, attempt_value, record in headless.attempts.values():
            if attempted(state, record.state, attempt_key):
                self._group.append(_Counted(at, attempt_key, record, attempt_value, state, ()))
            else:
                effects.append(Forget(attempt_key))

    def _apply_attempt(self, offset: int, key: bytes, value: bytes, entry: AttemptRecord) -> None:
        state = self._states.get(entry.run_id) or self._loaded(entry)
        if state is None:
            headless = self._headless.setdefault(entry.run_id, _Headless())
            headless.attempts[entry.state.id] = offset, key, value, entry
            return
        activity = state.activities.get(entry.state.id)
        if activity is None:
            raise _gap(state.run_id, state.events, f"activity {entry.state.id} begins")
        effects = effects_of_attempt(state, activity, entry.state)
        attempted(state, entry.state, key)
        self._add(offset, key, value, entry, state, effects)

    def _apply_purged(self, offset: int, key: bytes, value: bytes, purged: Purged) -> None:
        if self._before.next_offset:
            known = self._states.get(purged.run_id) or self._tables.run(purged.run_id)
            if known is not None and known.events != purged.events:
                raise _gap(purged.run_id, known.events, "it is purged")
        headless = self._headless.pop(purged.run_id, _Headless())
        keys = [*headless.keys, *(attempt[1] for attempt in headless.attempts.values())]
        self._add(offset, key, value, purged, summary_of(purged), [*map(Forget, keys)])

    def _add(
        self,
        offset: int,
        key: bytes,
        value: bytes,
        entry: UnderClaim,
        state: RunState | Summary | None,
        effects: Sequence[Effect],
    ) -> None:
        self._group.append(_Counted(offset, key, entry, value, state, effects))
        if effects:
            self._owing.collect(offset, effects)

    def _reached(self, offset: int, entry: UnderClaim) -> None:
        self.requests.take(entry, offset)
        self._next_offset, self._positions = offset + 1, entry.positions
        self._owing.delivered = entry.delivered
        if entry.time_ms > self.time_ms:
            self.time_ms = entry.time_ms

    def _state_at(self, turn: Turn | Snapshot) -> RunState | None:
        """Return the state of a run just before a turn; None where its beginning is gone.

        A run that is not in memory is in no record of the group: the tables have all of it.
        """
        if turn.run_id in self._headless:
            return None
        state = self._states.get(turn.run_id)
        if state is None:
            if turn.first == 0:
                state = RunState(turn.workflow_id, turn.run_id)
            else:
                state = stored_state(self._tables, turn.workflow_id, turn.run_id, turn.first)
        if state is not None:
            self._states.keep(state)
            if state.events != turn.first:
                raise _gap(turn.run_id, state.events, f"event {turn.first} follows")
        return state

    def _loaded(self, entry: AttemptRecord) -> RunState | None:
        """Return the state of a run that is not in memory."""
        summary = self._tables.run(entry.run_id)
        if summary is None:
            return None
        state = stored_state(self._tables, entry.workflow_id, entry.run_id, summary.events)
        if state is not None:
            self._states.keep(state)
        return state

    def _flush(self) -> None:
        self._changes.requests = self.requests.changes()
        self._tables.write(_confirmed(self._group), self.checkpoint, self._changes)
        for _, _, _, _, state, _ in self._group:
            if state is not None and state.closed_ms is not None:
                self._states.drop(state.run_id)
        self._group, self._changes = [], Changes()
        self._owing.left()
        self._states.trim()


def _confirmed(counted: Sequence[_Counted]) -> list[Confirmed]:
    """Return records for the tables; a run is summarised once, as it is at the end of the group."""
    summaries: dict[str, Summary] = {}
    group: list[Confirmed] = []
    for offset, key, entry, value, state, effects in counted:
        summary = state if isinstance(state, Summary) else None
        if isinstance(state, RunState):
            summary = summaries.get(state.run_id)
            if summary is None:
                summary = summaries[state.run_id] = state.summary()
        group.append(Confirmed(key, value, entry, summary, effects, offset))
    return group


def _gap(run_id: str, known: int, follows: str) -> Incomplete:
    return Incomplete(
        f"run {run_id} is known up to its event {known}, and the next that the log holds of it is "
        f"that {follows}"
    )
