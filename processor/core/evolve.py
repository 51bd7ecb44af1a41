"""evolve: (state, event) -> state, in place. The fold of the log, and nothing else, calls it."""

from __future__ import annotations

from processor.core.event import Event
from processor.core.state import RunState

__all__ = ("evolve",)


def evolve(state: RunState, event: Event, now_ms: int) -> None:
    """Apply one event that became true at ``now_ms`` (the time of its turn).

    A closed run takes none. An event that moves the status needs one of those that it moves.
    """
    assert state.closed_ms is None, f"run {state.run_id} is closed and takes no {event}"
    assert now_ms >= state.updated_ms, f"run {state.run_id}: time goes back to {now_ms}"
    if event.moves:
        after = event.moves.get(state.status)
        assert after is not None, f"run {state.run_id} is {state.status.value} and takes no {event}"
        state.status = after
    state.events += 1
    state.updated_ms = now_ms
    event.apply(state, now_ms)
