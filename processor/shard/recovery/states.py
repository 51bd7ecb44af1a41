"""The states of runs while a log is folded: in memory the latest ones, else from the tables."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from processor.core.evolve import evolve
from processor.core.nouns.activity import attempted
from processor.core.nouns.call import taken
from processor.core.records.effects import Effect
from processor.core.records.snapshot import Snapshot, state_of
from processor.core.records.turn import Turn
from processor.core.state import RunState
from processor.errors import StoreCorrupt
from processor.shard.ports import Tables
from processor.shard.turns.instances import recorded

__all__ = ("States", "folded", "state_before", "stored_state")

_STATES_MAX: Final = 50_000
"""Runs whose state is kept meanwhile, the latest ones; else each of their turns is folded again."""


class States:
    """States by run id, those that were used last at the end."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, RunState] = OrderedDict()

    def get(self, run_id: str) -> RunState | None:
        return self._states.get(run_id)

    def keep(self, state: RunState) -> None:
        """Keep the state of a run as the one that was used last."""
        self._states[state.run_id] = state
        self._states.move_to_end(state.run_id)

    def drop(self, run_id: str) -> None:
        self._states.pop(run_id, None)

    def trim(self) -> None:
        """Forget those that were used least lately, where there are too many."""
        while len(self._states) > _STATES_MAX:
            self._states.popitem(last=False)


def state_before(tables: Tables, workflow_id: str, run_id: str, first: int) -> RunState | None:
    """Return the state of a run before an event, from what the tables keep of its history.

    None where its beginning is gone, and no snapshot stands for it. Raises ``StoreCorrupt`` where
    something in the middle is gone.
    """
    state = RunState(workflow_id, run_id)
    begins, run = False, tables.run(run_id)
    since = 0 if run is None or run.base >= first else run.base
    for _, turn in recorded(tables, run_id, since, first):
        if begins or turn.first == 0:
            begins = True
            if turn.first != state.events:
                raise StoreCorrupt(
                    f"the state directory has events {turn.first} and later of run {run_id}, and "
                    f"before them those below {state.events} only"
                )
            folded(state, turn)
        elif isinstance(turn, Snapshot):
            begins = True
            state = state_of(turn)
    return state if begins or first == 0 else None


def stored_state(tables: Tables, workflow_id: str, run_id: str, first: int) -> RunState | None:
    """Return the state of a run as the tables have it, which end before that event."""
    state = state_before(tables, workflow_id, run_id, first)
    if state is not None:
        for row in tables.open_attempts(run_id):
            attempted(state, row.state, row.key)
    return state


def folded(state: RunState, turn: Turn | Snapshot) -> list[Effect]:
    """Apply a turn to the state just before it; return its effects."""
    assert state.events == turn.first, f"{turn.run_id}: turn {turn.first} at {state.events}"
    effects: list[Effect] = []
    for event in turn.events:
        effects += event.effects(state, turn.time_ms)
        evolve(state, event, turn.time_ms)
    if turn.cause is not None:
        effects += taken(turn.cause, state, turn.events)
    if isinstance(turn, Snapshot):
        state.base = turn.first
    return effects
