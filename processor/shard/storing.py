"""Writes what is acknowledged into the tables, and knows how far that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from processor.core.records.marks import Mark
from processor.shard.flight import Appended, Flight, Tombstone
from processor.shard.ports import NEVER_MS, Changes, Checkpoint, Clock, Confirmed, Tables
from processor.shard.recovery.forgetting import Forgetting
from processor.shard.recovery.takeover import Taken

__all__ = ("Storing",)

_FLUSH_AFTER_MS: Final = 200
"""How long a turn may be in the log, and in the tables in memory only."""


class Storing:
    """``checkpoint`` is how far the tables are, and ``flush_due_ms`` when the disk catches up."""

    def __init__(
        self, tables: Tables, clock: Clock, taken: Taken, flight: Flight, forgetting: Forgetting
    ) -> None:
        self.checkpoint = taken.checkpoint
        self.flush_due_ms = NEVER_MS
        self._tables = tables
        self._clock = clock
        self._epoch = taken.epoch
        self._claim = taken.claim
        self._counted = taken.requests
        self._flight = flight
        self._forgetting = forgetting

    def store(self, confirmed: Sequence[Appended | Tombstone]) -> None:
        """Put acknowledged records into the tables, in one batch."""
        group: list[Confirmed] = []
        changes = Changes()
        before = self.checkpoint
        positions, delivered, published = before.positions, before.delivered, before.published
        for appended in confirmed:
            if isinstance(appended, Tombstone):
                changes.forgotten.append(appended.forgotten)
                continue
            group.append(appended)
            record = appended.record
            positions, delivered = record.positions, record.delivered
            if isinstance(record, Mark):
                published = record.published
                self._counted.take(record, appended.offset)
            elif record.cause is not None:
                self._counted.take(record, appended.offset)
        if self._flight.ghosts:
            self._store_ghosts(changes)
        changes.requests = self._counted.changes()
        self.checkpoint = Checkpoint(
            confirmed[-1].offset + 1,
            self._epoch,
            before.level,
            positions,
            delivered,
            published,
            self._clock.now_ms(),
        )
        self._tables.write(group, self.checkpoint, changes)
        if self.flush_due_ms == NEVER_MS:
            self.flush_due_ms = self.checkpoint.time_ms + _FLUSH_AFTER_MS

    def flush(self) -> None:
        """Let the tables on disk catch up with those in memory."""
        self._tables.flush()
        self.flush_due_ms = NEVER_MS

    def _store_ghosts(self, changes: Changes) -> None:
        """Note what an earlier owner wrote after our claim, which exposes it until it is gone."""
        ghosts, self._flight.ghosts = self._flight.ghosts, []
        self._claim = self._claim.exposing(ghost.offset for ghost in ghosts)
        changes.claims[self._claim.offset] = self._claim
        changes.replaced += [ghost.key for ghost in ghosts]
        self._forgetting.more = True
