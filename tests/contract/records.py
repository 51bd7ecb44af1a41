"""Confirmed records of several runs by hand, as a shard hands them to its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from processor.codec.records import encode
from processor.core.data.address import ReplyTo
from processor.core.data.cause import Cause
from processor.core.data.failure import Failure
from processor.core.data.options import ActivityOptions
from processor.core.event import Event
from processor.core.evolve import evolve
from processor.core.nouns.activity import (
    ActivityScheduled,
    AttemptState,
    attempted,
    effects_of_attempt,
)
from processor.core.nouns.run import WorkflowStarted
from processor.core.records.answers import Refused
from processor.core.records.effects import Effect
from processor.core.records.marks import Answered, Mark, answered_key, mark_key
from processor.core.records.purge import summary_of
from processor.core.records.snapshot import Snapshot, image_of
from processor.core.records.turn import (
    AttemptRecord,
    Positions,
    Purged,
    Turn,
    attempt_key,
    purged_key,
    turn_key,
)
from processor.core.state import RunState
from processor.shard.ports import Changes, Checkpoint, Confirmed
from processor.store.tables import StateTables

NOW = 1_000
STARTED = WorkflowStarted("order", b"[]", b"16 random bytes.")
DOWN = Failure("application", "Down", "down")
Happened = Sequence[Event] | AttemptState
"""The events of a turn, or where an activity stands from now on."""


def scheduled(id: int, eager: bool = True) -> Event:
    return ActivityScheduled(id, "pay", b"[]", eager, ActivityOptions())


def waits(id: int, due_ms: int) -> AttemptState:
    """Return where an eager activity stands whose first attempt failed."""
    failed = {"failures": 1, "first_failure": DOWN, "last_failure": DOWN}
    return AttemptState(id, 1, True, NOW, retry_at_ms=due_ms, **failed)


def again(id: int, attempt: int = 2) -> AttemptState:
    """Return where an eager activity stands whose next attempt is out."""
    return AttemptState(id, attempt, True, NOW + 70, failures=1, last_failure=DOWN)


class Writer:
    """Writes groups into tables. The workflow id of the run ``a-1`` is ``a``.

    ``cause`` is that of the next records, ``delivered`` and ``published`` are what they say.
    """

    def __init__(self, tables: StateTables, offset: int = 10, epoch: int = 0) -> None:
        self.tables = tables
        self.offset = offset
        self.epoch = epoch
        self.delivered = self.published = 0
        self.cause: Cause | None = None
        self.reply_to: ReplyTo | None = None
        self.states: dict[str, RunState] = {}

    def write(self, *records: tuple[str, Happened], **changes: Any) -> None:
        """Write what happened to several runs as one group."""
        self.put(*(self.record(run_id, happened) for run_id, happened in records), **changes)

    def put(self, *group: Confirmed, **changes: Any) -> None:
        positions = Positions(self.offset, 1, 2)
        checkpoint = Checkpoint(self.offset, 0, 1, positions, self.offset)
        self.tables.write(group, checkpoint, Changes(**changes))

    def record(self, run_id: str, happened: Happened) -> Confirmed:
        if isinstance(happened, AttemptState):
            return self.attempt(run_id, happened)
        return self.turn(run_id, list(happened))

    def turn(self, run_id: str, happened: Sequence[Event]) -> Confirmed:
        state = self._state(run_id)
        key, first = turn_key(run_id, state.events, self.epoch), state.events
        place = (state.workflow_id, run_id, self.epoch, first, NOW, *self._said)
        made = Turn(*place, self.cause, tuple(happened))
        effects: list[Effect] = []
        for event in happened:
            effects += event.effects(state, NOW)
            evolve(state, event, NOW)
        return self._confirmed(key, made, state.summary(), effects)

    def snapshot(self, run_id: str, happened: Sequence[Event]) -> Confirmed:
        """Return a turn at which replay may begin."""
        turn = self.turn(run_id, happened)
        made, state = turn.record, self.states[run_id]
        assert isinstance(made, Turn)
        state.base = made.first
        place = (made.workflow_id, run_id, self.epoch, made.first, NOW, made.source, made.positions)
        rest = (made.delivered, made.cause, made.events, image_of(state), b"1")
        record = Snapshot(*place, *rest)
        return replace(turn, record=record, value=encode(record), summary=state.summary())

    def attempt(self, run_id: str, after: AttemptState) -> Confirmed:
        state = self._state(run_id)
        activity = state.activities[after.id]
        effects = effects_of_attempt(state, activity, after)
        key = attempt_key(run_id, after.id, self.offset, self.epoch)
        attempted(state, after, key)
        place = (state.workflow_id, run_id, self.epoch, NOW, *self._said, self.cause)
        record = AttemptRecord(*place, activity.name, after)
        return self._confirmed(key, record, state.summary(), effects)

    def mark(self, forgotten_ms: int = 0) -> Confirmed:
        place = (self.epoch, NOW, *self._said, self.published)
        record = Mark(*place, forgotten_ms=forgotten_ms)
        return self._confirmed(mark_key(self.offset, self.epoch), record, None, [])

    def answered(self) -> Confirmed:
        told = Refused("WorkflowNotFound", "none")
        place = ("a", self.epoch, NOW, *self._said, self.cause, self.reply_to)
        record = Answered(*place, told)
        key = answered_key(self.offset, self.epoch)
        return self._confirmed(key, record, None, record.effects)

    def purged(self, run_id: str, time_ms: int, *, latest: bool = True) -> Confirmed:
        state = self.states.pop(run_id)
        assert state.closed_ms is not None, "a run is purged once it is closed"
        place = (state.workflow_id, run_id, self.epoch, time_ms, *self._said, None)
        rest = (state.first_run_id, "order", state.status.value, NOW, NOW, state.events, latest)
        record = Purged(*place, *rest)
        return self._confirmed(purged_key(run_id, self.epoch), record, summary_of(record), [])

    @property
    def _said(self) -> tuple[Any, ...]:
        """Source, positions and floor of the next record."""
        return "commands", Positions(self.offset + 1, 1, 2), self.delivered

    def _state(self, run_id: str) -> RunState:
        workflow_id = run_id.partition("-")[0]
        return self.states.setdefault(run_id, RunState(workflow_id, run_id))

    def _confirmed(self, key: bytes, record: Any, summary: Any, effects: list[Effect]) -> Confirmed:
        self.offset += 1
        return Confirmed(key, encode(record), record, summary, effects, self.offset - 1)


def tell(tables: StateTables) -> Any:
    """Return all that the tables say."""
    runs = list(tables.runs(""))
    return (
        tables.checkpoint(),
        runs,
        [(run.run_id, list(tables.history(run.run_id))) for run in runs],
        list(tables.parked()),
        list(tables.open_attempts()),
        tables.timers(-1, 100),
        list(tables.requests()),
        list(tables.claims()),
        tables.replaced(1 << 40, 1_000),
    )
