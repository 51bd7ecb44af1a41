"""What a group of records makes of the histories of a view: the records of runs beside their rows.

A later record says what is given up: turns before a snapshot, and where an activity stood that is
over. So what is kept of a run does not depend on what the cleaner of the log has done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TypeAlias

from processor.core.nouns.activity import ActivityCancelled, ActivityCompleted, ActivityFailed
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Turn
from processor.views.fold import Row

__all__ = ("Kept", "KeptHistories")

Kept: TypeAlias = Turn | Snapshot | AttemptRecord
"""The records of a run that are kept."""


class KeptHistories:
    """By run id. ``None`` in the place of an attempt: its activity is over."""

    def __init__(self) -> None:
        self._turns: dict[str, dict[int, bytes]] = {}
        self._attempts: dict[str, dict[int, bytes | None]] = {}
        self._begins: dict[str, int] = {}
        self._closed: set[str] = set()

    def take(self, record: Kept, value: bytes, before: Row | None, after: Row) -> None:
        """Keep a record of a run, which makes the row ``after`` of that before it."""
        run_id = record.run_id
        attempts = self._attempts.setdefault(run_id, {})
        if isinstance(record, AttemptRecord):
            if after.status.is_open:
                attempts[record.state.id] = value
            return
        if before is not None and record.first < before.events:
            return  # a copy of what is there
        turns = self._turns.setdefault(run_id, {})
        if isinstance(record, Snapshot):
            self._begins[run_id] = record.first
            turns.clear()
        turns[record.first] = value
        for event in record.events:
            if isinstance(event, ActivityCompleted | ActivityFailed | ActivityCancelled):
                attempts[event.id] = None
        if not after.status.is_open:
            self._closed.add(run_id)
            attempts.clear()

    def forget(self, run_id: str) -> None:
        """Keep nothing of a run, since it is purged."""
        for of_run in (self._turns, self._attempts, self._begins):
            of_run.pop(run_id, None)
        self._closed.discard(run_id)

    def write(self, connection: sqlite3.Connection, numbers: Mapping[str, int]) -> None:
        """Write what is kept of each run, by the number of its row."""
        many = connection.executemany
        begins = [(numbers[run_id], first) for run_id, first in self._begins.items()]
        many("DELETE FROM turns WHERE run = ? AND first < ?", begins)
        turns = [
            (numbers[run_id], first, value)
            for run_id, each in self._turns.items()
            for first, value in each.items()
        ]
        many("INSERT OR REPLACE INTO turns VALUES (?, ?, ?)", turns)
        many("DELETE FROM attempts WHERE run = ?", [(numbers[each],) for each in self._closed])
        attempts = [
            (numbers[run_id], activity, value)
            for run_id, each in self._attempts.items()
            for activity, value in each.items()
        ]
        over = [(run, activity) for run, activity, value in attempts if value is None]
        many("DELETE FROM attempts WHERE run = ? AND activity = ?", over)
        stand = [each for each in attempts if each[2] is not None]
        many("INSERT OR REPLACE INTO attempts VALUES (?, ?, ?)", stand)
