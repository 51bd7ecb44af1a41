"""What the log still has, and whether a fold that stopped can go on there."""

from __future__ import annotations

import logging
import time
from typing import Final, NamedTuple

from processor.errors import LogTruncated
from processor.shard.turns.writer import ID_RETENTION_MS
from processor.views.place import LogPlace, ReadLog, changed
from processor.views.rows import Rows
from processor.views.tables.stored import TableRows

__all__ = ("LogBounds",)

_log = logging.getLogger("processor.views")

_DAY_MS: Final = 24 * 3600 * 1000


class LogBounds(NamedTuple):
    """The first offset that a partition of the log has, and its end."""

    first: int
    end: int

    def check(self, rows: Rows, read: ReadLog) -> None:
        """Raise ``LogTruncated`` where rows cannot go on. Those that are too old are made anew."""
        if why := self._unfit(rows.place, read):
            raise LogTruncated(
                f"partition {rows.partition}: {why}. Run `processor views rebuild`, and the view "
                "is made of what the log has"
            )
        away_ms = time.time_ns() // 1_000_000 - rows.place.time_ms
        if rows.place.time_ms and rows.position < self.end and away_ms > ID_RETENTION_MS:
            _log.warning(
                "partition %d: its rows are made anew: the last record that they took is %d days "
                "old, and the log tells of a run that was purged for %d days",
                *(rows.partition, away_ms // _DAY_MS, ID_RETENTION_MS // _DAY_MS),
            )
            rows.drop()
        if self.first and not rows.position:
            _log.warning(
                "partition %d: the log begins at offset %d: what was before was deleted, and is in "
                "no view. Its topic is to have no retention (`processor topics check`)",
                *(rows.partition, self.first),
            )

    def check_table(self, table: TableRows, read: ReadLog) -> None:
        """Let a table stand still that cannot go on."""
        if (why := self._unfit(table.place, read)) and not table.error:
            table.stand_still(f"{why}; it is made of what the log has if its version is raised")

    def lost(self, position: int) -> str:
        """Return why what ends at a position cannot go on; "": it can."""
        if 0 < position < self.first:
            return (
                f"the records of the log from offset {position} to {self.first - 1} were deleted "
                "before they were taken (retention?)"
            )
        if position > self.end:
            return f"it is at offset {position}, and the log ends at {self.end}: it lost records"
        return ""

    def _unfit(self, place: LogPlace, read: ReadLog) -> str:
        why = self.lost(place.position)
        return why if why or place.last < self.first else changed(place, read)
