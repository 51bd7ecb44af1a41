"""The instances of a shard: live in memory, or replayed from the tables when an input needs one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from processor.codec.records import decode
from processor.core.nouns.call import CallSent
from processor.core.nouns.run import Summary
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.core.replay import Instance, replay
from processor.core.runner import Runners
from processor.readable import readable
from processor.shard.ports import Tables
from processor.shard.turns.cache import Cache, Entry

__all__ = ("Instances", "recorded")

_log = logging.getLogger("processor.shard")

_EVENTS_MAX = 1 << 62

_WARNED_MAX = 10_000
"""Runs that are remembered, so that each is warned of once."""


class Instances:
    def __init__(self, tables: Tables, runners: Runners, cache: Cache) -> None:
        self._tables = tables
        self._runners = runners
        self._cache = cache
        self._warned: set[str] = set()

    def entry(self, workflow_id: str) -> Entry:
        """Return the workflow id's live entry, replayed from the tables if it was evicted."""
        entry = self._cache.get(workflow_id)
        if entry is not None:
            return entry
        latest = self._tables.latest(workflow_id)
        entry = Entry(workflow_id, latest=latest)
        if latest is not None and latest.status.is_open:
            entry.instance = self._replayed(latest, entry)
            self._cache.add(entry)
        return entry

    def sent(self, run_id: str, call: int) -> CallSent | None:
        """Return what a run asked of another one, as long as its history is there."""
        for _, record in recorded(self._tables, run_id):
            for event in record.events:
                if isinstance(event, CallSent) and event.id == call:
                    return event
        return None

    def drop(self, workflow_id: str) -> None:
        """Forget what is in memory of a workflow id: it is replayed when it is needed."""
        self._cache.drop(workflow_id)

    def _replayed(self, latest: Summary, entry: Entry) -> Instance:
        run_id, records = latest.run_id, list[Turn | Snapshot]()
        for value, record in recorded(self._tables, run_id, latest.base):
            entry.bytes += len(value)
            if not records and isinstance(record, Snapshot):
                entry.snapshot = len(value)
            records.append(record)
        attempts = [(row.state, row.key) for row in self._tables.open_attempts(run_id)]
        instance = replay(self._runners, records, attempts)
        if instance.difference and run_id not in self._warned:
            if len(self._warned) >= _WARNED_MAX:
                self._warned.clear()
            self._warned.add(run_id)
            _log.warning(
                "%s. The run goes on with what is recorded; make the values the same at each "
                "replay (strict_replay=True parks such runs)",
                readable(instance.difference),
            )
        return instance


def recorded(
    tables: Tables, run_id: str, first: int = 0, end: int = _EVENTS_MAX
) -> Iterator[tuple[bytes, Turn | Snapshot]]:
    """Yield the turns of a run from an event on, below another, as bytes and as records."""
    for number, value in tables.history(run_id, first):
        if number >= end:
            return
        record = decode(value)
        assert isinstance(record, Turn | Snapshot), f"history of {run_id} holds {record}"
        yield value, record
