"""What must hold for every log, whoever wrote it: read by the claim rule, and checked.

Written without the code that it checks: the rule that a turn counts if and only if it names the
last claim before it is stated here once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import ge
from typing import NamedTuple

from processor.codec.records import decode
from processor.core import events
from processor.core.events import CLOSING
from processor.core.turn import Claim, Turn

__all__ = ("Reading", "Valid", "check_histories", "check_messages", "check_positions", "read_log")


class Valid(NamedTuple):
    offset: int
    turn: Turn


@dataclass
class Reading:
    """One log, read by the claim rule."""

    turns: list[Valid] = field(default_factory=list)
    claims: int = 0
    ghosts: int = 0

    @property
    def runs(self) -> dict[str, list[Valid]]:
        found: dict[str, list[Valid]] = {}
        for valid in self.turns:
            if not valid.turn.events:
                continue  # a mark belongs to no run
            found.setdefault(valid.turn.run_id, []).append(valid)
        return found


def read_log(records: Iterable[tuple[int, bytes | None]]) -> Reading:
    """Read the offsets and values of one partition of ``events``."""
    reading, epoch = Reading(), -1
    for offset, value in records:
        if value is None:
            continue
        record = decode(value)
        if isinstance(record, Claim):
            epoch = offset
            reading.claims += 1
        elif isinstance(record, Turn) and record.epoch == epoch:
            reading.turns.append(Valid(offset, record))
        else:
            reading.ghosts += 1
    return reading


def check_histories(reading: Reading) -> None:
    """Histories are contiguous, begin with the start, and have one end, which is the last."""
    for run_id, turns in reading.runs.items():
        number = 0
        for _, turn in turns:
            assert turn.first == number, f"{run_id}: {turn.first} follows {number}"
            number += len(turn.events)
        history = [event for _, turn in turns for event in turn.events]
        assert isinstance(history[0], events.WorkflowStarted)
        ends = [event for event in history if isinstance(event, CLOSING)]
        assert ends == [history[-1]], f"{run_id}: {ends}"
        _one_outcome_each(run_id, history)


def _one_outcome_each(run_id: str, history: list[events.Event]) -> None:
    outcomes = Counter(
        event.id
        for event in history
        if isinstance(
            event, events.ActivityCompleted | events.ActivityFailed | events.ActivityCancelled
        )
    )
    scheduled = {event.id for event in history if isinstance(event, events.ActivityScheduled)}
    assert all(count == 1 for count in outcomes.values()), f"{run_id}: {outcomes}"
    assert set(outcomes) <= scheduled
    if isinstance(history[-1], events.WorkflowCompleted):
        assert set(outcomes) == scheduled, f"{run_id}: {scheduled - set(outcomes)} has no outcome"


def check_positions(reading: Reading) -> None:
    """No input counts twice: positions only grow, and each turn of an input moves its own."""
    before = (0, 0, 0)
    fields = {"commands": 0, "activity-results": 1, "timers": 2}
    for offset, turn in reading.turns:
        after = tuple(turn.positions)
        assert all(map(ge, after, before)), f"{offset}: {before} {after}"
        if turn.source in fields:
            moved = fields[turn.source]
            assert after[moved] > before[moved], f"{offset}: {turn.source} stands at {before}"
        before = after  # type: ignore[assignment]


def check_messages(readings: Iterable[Reading]) -> None:
    """Each message between workflows arrives once."""
    turns = [valid.turn for reading in readings for valid in reading.turns]
    sent = Counter(
        (event.workflow_id, event.name)
        for turn in turns
        for event in turn.events
        if isinstance(event, events.MessageSent)
    )
    received = Counter(
        (turn.workflow_id, event.name)
        for turn in turns
        for event in turn.events
        if isinstance(event, events.EventReceived) and turn.origin is not None
    )
    assert received == sent
