"""What must hold for every log, whoever wrote it: read by the claim rule, and checked.

Written without the code that it checks: the rule that a record counts if and only if it names the
last claim before it is stated here once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import ge
from typing import NamedTuple

from processor.codec.records import decode
from processor.core.data.cause import Origin
from processor.core.event import Event
from processor.core.nouns.activity import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
)
from processor.core.nouns.call import MessageSent
from processor.core.nouns.external import EventReceived
from processor.core.nouns.run import Closing, WorkflowCompleted, WorkflowStarted
from processor.core.records.marks import Answered, Mark
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Claim, Purged, Turn

__all__ = (
    "Reading",
    "UnderClaim",
    "Valid",
    "ValidTurn",
    "check_histories",
    "check_messages",
    "check_positions",
    "read_log",
)

UnderClaim = Turn | AttemptRecord | Snapshot | Purged | Mark | Answered


class Valid(NamedTuple):
    offset: int
    key: bytes
    record: UnderClaim


class ValidTurn(NamedTuple):
    offset: int
    turn: Turn | Snapshot


@dataclass
class Reading:
    """One log, read by the claim rule. ``records`` are those that count.

    Of the others, ``ghosts`` has the offsets and keys.
    """

    records: list[Valid] = field(default_factory=list)
    claimed: list[tuple[int, Claim]] = field(default_factory=list)
    ghosts: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def turns(self) -> list[ValidTurn]:
        return [
            ValidTurn(offset, record)
            for offset, _, record in self.records
            if isinstance(record, Turn | Snapshot)
        ]

    @property
    def runs(self) -> dict[str, list[ValidTurn]]:
        found: dict[str, list[ValidTurn]] = {}
        for valid in self.turns:
            found.setdefault(valid.turn.run_id, []).append(valid)
        return found


def read_log(records: Iterable[tuple[int, bytes, bytes | None]]) -> Reading:
    """Read the offsets, keys and values of one partition of ``events``."""
    reading, epoch = Reading(), -1
    for offset, key, value in records:
        if value is None:
            continue
        record = decode(value)
        if isinstance(record, Claim):
            epoch = offset
            reading.claimed.append((offset, record))
            continue
        assert isinstance(record, UnderClaim), record
        if record.epoch >= epoch:  # a later one: its claim was there, and a cleaner took it
            epoch = record.epoch
            reading.records.append(Valid(offset, key, record))
        else:
            reading.ghosts.append((offset, key))
    return reading


def check_histories(reading: Reading) -> None:
    """Histories are contiguous, begin with the start, and have one end, which is the last."""
    for run_id, turns in reading.runs.items():
        number = 0
        for _, turn in turns:
            assert turn.first == number, f"{run_id}: {turn.first} follows {number}"
            number += len(turn.events)
        history = [event for _, turn in turns for event in turn.events]
        assert isinstance(history[0], WorkflowStarted)
        ends = [event for event in history if isinstance(event, Closing)]
        assert ends == [history[-1]], f"{run_id}: {ends}"
        _one_outcome_each(run_id, history)


def _one_outcome_each(run_id: str, history: list[Event]) -> None:
    outcomes = Counter(
        event.id
        for event in history
        if isinstance(event, ActivityCompleted | ActivityFailed | ActivityCancelled)
    )
    scheduled = {event.id for event in history if isinstance(event, ActivityScheduled)}
    assert all(count == 1 for count in outcomes.values()), f"{run_id}: {outcomes}"
    assert set(outcomes) <= scheduled
    if isinstance(history[-1], WorkflowCompleted):
        assert set(outcomes) == scheduled, f"{run_id}: {scheduled - set(outcomes)} has no outcome"


def check_positions(reading: Reading) -> None:
    """No input counts twice: positions only grow, and what an input caused moves its own.

    Nor does a request, or a message: each is the cause of one record at the most.
    """
    before = (0, 0, 0)
    fields = {"commands": 0, "results": 1, "timers": 2}
    causes: Counter[object] = Counter()
    for offset, _, record in reading.records:
        after = tuple(record.positions)
        assert all(map(ge, after, before)), f"{offset}: {before} {after}"
        if record.source in fields:
            moved = fields[record.source]
            assert after[moved] > before[moved], f"{offset}: {record.source} stands at {before}"
        before = after  # type: ignore[assignment]
        if not isinstance(record, Mark) and record.cause is not None:
            causes[record.cause] += 1
    assert not causes or max(causes.values()) == 1, causes.most_common(3)


def check_messages(readings: Iterable[Reading]) -> None:
    """Each message between workflows arrives once."""
    turns = [valid.turn for reading in readings for valid in reading.turns]
    sent = Counter(
        (event.to.workflow_id, event.name)
        for turn in turns
        for event in turn.events
        if isinstance(event, MessageSent)
    )
    received = Counter(
        (turn.workflow_id, event.name)
        for turn in turns
        for event in turn.events
        if isinstance(event, EventReceived) and isinstance(turn.cause, Origin)
    )
    assert received == sent
