"""The logs of a world as a reader of its own sees them: by the claim rule, and nothing else.

All that was ever appended is read, whatever cleaners have taken since.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from processor.core.evolve import evolve
from processor.core.nouns.activity import (
    ActivityCompleted,
    ActivityFailed,
    AttemptState,
    attempted,
    effects_of_attempt,
)
from processor.core.nouns.call import taken
from processor.core.records.effects import Effect, SetTimer
from processor.core.records.marks import Answered
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Claim, Positions, Purged, Turn
from processor.core.state import RunState
from processor.simulation.world import World
from tests import log_rules
from tests.log_rules import UnderClaim

__all__ = ("Outcome", "Reading", "Valid", "ValidTurn", "positions", "read")


class Valid(NamedTuple):
    """A record that counts, with what it makes leave the shard."""

    offset: int
    key: bytes
    record: UnderClaim
    effects: list[Effect]


class ValidTurn(NamedTuple):
    offset: int
    turn: Turn | Snapshot
    effects: list[Effect]


class Outcome(NamedTuple):
    """How an activity ended, and where it stood just before."""

    run_id: str
    event: ActivityCompleted | ActivityFailed
    state: AttemptState


@dataclass
class Reading:
    """One log. ``timers`` has, for each timer that was set, the first record that did.

    ``purged`` are the records by which runs were given up.

    ``changes`` are the states of each activity, one after the other, by run and id.
    """

    partition: int
    records: list[Valid] = field(default_factory=list)
    claimed: list[tuple[int, Claim]] = field(default_factory=list)
    purged: dict[str, Purged] = field(default_factory=dict)
    ghosts: list[tuple[int, bytes]] = field(default_factory=list)
    timers: dict[SetTimer, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    changes: dict[tuple[str, int], list[AttemptState]] = field(default_factory=dict)
    attempts: dict[tuple[str, int], tuple[AttemptState, bytes]] = field(default_factory=dict)

    @property
    def turns(self) -> list[ValidTurn]:
        return [
            ValidTurn(offset, record, effects)
            for offset, _, record, effects in self.records
            if isinstance(record, Turn | Snapshot)
        ]

    @property
    def runs(self) -> dict[str, list[ValidTurn]]:
        found: dict[str, list[ValidTurn]] = {}
        for valid in self.turns:
            found.setdefault(valid.turn.run_id, []).append(valid)
        return found


def read(world: World, partition: int) -> Reading:
    logged = _logged(world, partition)
    reading = Reading(partition, claimed=logged.claimed, ghosts=logged.ghosts)
    states: dict[str, RunState] = {}
    for offset, key, record in logged.records:
        effects = _effects(reading, states, key, record)
        reading.records.append(Valid(offset, key, record, effects))
        for effect in effects:
            if isinstance(effect, SetTimer):
                reading.timers.setdefault(effect, offset)
    return reading


def positions(world: World, partition: int) -> Positions:
    """Return where the inputs stand, as the last record says that counts."""
    records = _logged(world, partition).records
    return records[-1].record.positions if records else Positions()


def _logged(world: World, partition: int) -> log_rules.Reading:
    return log_rules.read_log(world.broker.logs[partition].written)


def _effects(
    reading: Reading, states: dict[str, RunState], key: bytes, record: UnderClaim
) -> list[Effect]:
    match record:
        case Turn() | Snapshot():
            return _turn_effects(reading, states, record)
        case AttemptRecord():
            return _attempt_effects(reading, states[record.run_id], key, record)
        case Answered():
            return [*record.effects]
        case Purged():
            reading.purged[record.run_id] = record
            return []
        case _:
            return []


def _turn_effects(
    reading: Reading, states: dict[str, RunState], turn: Turn | Snapshot
) -> list[Effect]:
    state = states.setdefault(turn.run_id, RunState(turn.workflow_id, turn.run_id))
    where = f"{turn.run_id} {turn.first} {state.events}"
    assert turn.first == state.events, f"histories are contiguous: {where}"
    effects: list[Effect] = []
    for event in turn.events:
        if isinstance(event, ActivityCompleted | ActivityFailed):
            activity = state.activities[event.id]
            reading.outcomes.append(Outcome(turn.run_id, event, activity.state))
        effects += event.effects(state, turn.time_ms)
        evolve(state, event, turn.time_ms)
    return [*effects, *taken(turn.cause, state, turn.events)]


def _attempt_effects(
    reading: Reading, state: RunState, key: bytes, record: AttemptRecord
) -> list[Effect]:
    activity = state.activities.get(record.state.id)
    assert activity is not None, f"an attempt belongs to an open activity: {record}"
    place = record.run_id, activity.id
    reading.changes.setdefault(place, [activity.state]).append(record.state)
    reading.attempts[place] = record.state, key
    effects = effects_of_attempt(state, activity, record.state)
    attempted(state, record.state, key)
    return effects
