"""The logs of a world as a reader of its own sees them: by the claim rule, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from processor.core.derive import effects_of
from processor.core.effects import Effect, SetTimer
from processor.core.events import (
    ActivityAttemptFailed,
    ActivityCompleted,
    ActivityFailed,
    ActivityHeartbeatRecorded,
    ActivityStarted,
)
from processor.core.evolve import evolve
from processor.core.state import RunState
from processor.core.turn import Positions, Turn
from processor.simulation.world import World
from tests import log_rules

__all__ = ("Reading", "Valid", "positions", "read")


Report = (
    ActivityStarted
    | ActivityHeartbeatRecorded
    | ActivityAttemptFailed
    | ActivityCompleted
    | ActivityFailed
)
"""What is recorded of one attempt."""


class Valid(NamedTuple):
    """A turn that counts, with what it makes leave the shard."""

    offset: int
    turn: Turn
    effects: list[Effect]


@dataclass
class Reading:
    """One log. ``timers`` has, for each timer that was set, the first turn that did.

    ``attempts`` has each event about an attempt, with the attempt that ran just then (0: none did).
    """

    partition: int
    turns: list[Valid] = field(default_factory=list)
    claims: int = 0
    ghosts: int = 0
    timers: dict[SetTimer, int] = field(default_factory=dict)
    attempts: list[tuple[str, Report, int]] = field(default_factory=list)

    @property
    def runs(self) -> dict[str, list[Valid]]:
        found: dict[str, list[Valid]] = {}
        for valid in self.turns:
            if valid.turn.events:  # a mark belongs to no run
                found.setdefault(valid.turn.run_id, []).append(valid)
        return found


def read(world: World, partition: int) -> Reading:
    logged = _logged(world, partition)
    reading = Reading(partition, claims=logged.claims, ghosts=logged.ghosts)
    states: dict[str, RunState] = {}
    for offset, turn in logged.turns:
        effects = _effects(reading, states, turn)
        reading.turns.append(Valid(offset, turn, effects))
        for effect in effects:
            if isinstance(effect, SetTimer):
                reading.timers.setdefault(effect, offset)
    return reading


def positions(world: World, partition: int) -> Positions:
    """Return where the inputs stand, as the last turn says that counts."""
    turns = _logged(world, partition).turns
    return turns[-1].turn.positions if turns else Positions()


def _logged(world: World, partition: int) -> log_rules.Reading:
    log = world.broker.logs[partition]
    records = log.read(log.first, log.end)
    return log_rules.read_log((offset, value) for offset, _, value in records)


def _effects(reading: Reading, states: dict[str, RunState], turn: Turn) -> list[Effect]:
    state = states.setdefault(turn.run_id, RunState(turn.workflow_id, turn.run_id))
    where = f"{turn.run_id} {turn.first} {state.events}"
    assert turn.first == state.events, f"histories are contiguous: {where}"
    effects: list[Effect] = []
    for event in turn.events:
        if isinstance(event, Report):
            reading.attempts.append((turn.run_id, event, _running(state, event)))
        effects += effects_of(state, event, turn.time_ms)
        evolve(state, event, turn.time_ms)
    return effects


def _running(state: RunState, event: Report) -> int:
    """Return which attempt of the activity may be reported on."""
    activity = state.activities.get(event.id)
    if activity is None:
        return 0
    waits = activity.retry_at_ms is not None
    over = isinstance(event, ActivityFailed) and event.failure.timeout_kind == "schedule_to_close"
    return 0 if waits and not over else activity.attempt
