"""The rows of one partition in an SQLite file, and how far in the log they are.

Rows, position and epoch change in one transaction, so that what is there is the fold of the log
below the position, whatever was killed. The file can be dropped at any time: it is folded anew. Its
name has the version of the fold, and one of another version is deleted.

Where histories are kept, the records of each run stand beside its row (``histories``).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any, Final

from processor.attributes import decode
from processor.core.records.turn import Purged
from processor.errors import SchemaMismatch
from processor.policy import Status
from processor.views.files import opened, prepare, read_only, transaction
from processor.views.fold import VERSION, Folded, Row, folded
from processor.views.histories import KeptHistories
from processor.views.place import SET_PLACE, LogEntry, LogPlace, untaken
from processor.views.schema import COLUMNS, INDEXES, SCHEMA, attribute_rows

__all__ = ("ANOTHER_LOG", "Rows", "open_rows", "read_rows")

ANOTHER_LOG: Final = "what is in it comes of another log, which was deleted and made again"

_CACHE_KIB: Final = 32_000


def open_rows(folder: Path | None, partition: int, log: str, *, histories: bool = False) -> Rows:
    """Open (or make) the rows of a partition in a folder; None: in memory.

    ``log`` names the log. ``histories``: whether the records of runs are kept, too. Rows of another
    log, of another version of the fold, those that keep histories otherwise, and files that SQLite
    cannot read, are dropped: their position is 0 again.
    """
    path = None
    if folder is not None:
        path = folder / f"runs-{partition}.v{VERSION}.sqlite"
        for other in folder.glob(f"runs-{partition}.v*.sqlite*"):
            if not other.name.startswith(path.name):
                other.unlink(missing_ok=True)

    def made(connection: sqlite3.Connection) -> Rows:
        meta = (VERSION, log, secrets.token_hex(8), histories, *LogPlace())
        prepare(connection, (*SCHEMA, *INDEXES), meta, f"cache_size=-{_CACHE_KIB}")
        return Rows(connection, partition)

    def misfit(rows: Rows) -> str:
        if rows.log != log:
            return ANOTHER_LOG
        return "" if rows.histories == histories else "it is to keep histories, or to keep none"

    return opened(path, made, misfit)


def read_rows(folder: Path) -> list[Rows]:
    """Open the rows of all partitions in a folder, to read them, while others write them.

    A file whose tables are not made yet is passed over.
    """
    found = []
    for path in folder.glob(f"runs-*.v{VERSION}.sqlite"):
        partition = path.name.removeprefix("runs-").partition(".")[0]
        if partition.isdecimal() and (connection := read_only(path)) is not None:
            found.append(Rows(connection, int(partition)))
    return sorted(found, key=lambda rows: rows.partition)


class Rows:
    """Use one thread at a time, or ``lock``.

    ``built`` is another one each time that the rows are made anew. ``error``: they never stand
    still.
    """

    error = ""

    def __init__(self, connection: sqlite3.Connection, partition: int) -> None:
        self.connection = connection
        self.partition = partition
        self.lock = Lock()
        self.look()

    def look(self) -> None:
        """See where somebody else has brought the rows."""
        found = self.connection.execute("SELECT * FROM meta").fetchone()
        _, _, self.log, self.built, histories, *place = found
        self.histories, self.place = bool(histories), LogPlace(*place)

    @property
    def position(self) -> int:
        return self.place.position

    def take(self, entries: Iterable[LogEntry], end: int | None = None) -> None:
        """Fold records in the order of the log, in one transaction.

        ``end`` is the offset after the last one that was looked at, where that is later. What is
        below the position is folded already.
        """
        group, place = _Group(self.connection, self.histories), self.place
        for entry in untaken(entries, place):
            place, record = place.after(entry)
            if record is not None:
                group.take(record, entry.value)
        place = place.ended(end)
        if place.position == self.position:
            return
        with transaction(self.connection):
            group.write(self.partition)
            self.connection.execute(f"UPDATE meta SET {SET_PLACE}", place)
        self.place = place

    def drop(self) -> None:
        """Forget all rows: they are folded anew from the begin of the log."""
        with transaction(self.connection):
            for table in ("runs", "attributes", "counts", "turns", "attempts"):
                self.connection.execute(f"DELETE FROM {table}")
            self.connection.execute(
                f"UPDATE meta SET built = ?, {SET_PLACE}", (secrets.token_hex(8), *LogPlace())
            )
        self.look()

    def row(self, run_id: str) -> Row | None:
        """Return the row of a run."""
        return _Group(self.connection, self.histories).row(run_id)

    def close(self) -> None:
        self.connection.close()


class _Group:
    """What a group of records makes of the rows that are written."""

    def __init__(self, connection: sqlite3.Connection, histories: bool) -> None:
        self._connection = connection
        self._before: dict[str, tuple[int, Row] | None] = {}
        self._rows: dict[str, Row | None] = {}
        self._histories = KeptHistories() if histories else None

    def take(self, record: Folded, value: bytes | None) -> None:
        run_id = record.run_id
        before = self.row(run_id)
        after = self._rows[run_id] = folded(before, record)
        if self._histories is None:
            return
        if isinstance(record, Purged):
            self._histories.forget(run_id)
        elif after is not None:
            assert value is not None, f"a record of run {run_id} has bytes"
            self._histories.take(record, value, before, after)

    def row(self, run_id: str) -> Row | None:
        if run_id in self._rows:
            return self._rows[run_id]
        found = self._before[run_id] = self._read(run_id)
        return None if found is None else found[1]

    def write(self, partition: int) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        numbers: dict[str, int] = {}
        for run_id, row in self._rows.items():
            before = self._before[run_id]
            if before is not None:
                numbers[run_id] = before[0]
                if row == before[1]:
                    continue
                counts[before[1].status, before[1].workflow] -= 1
            if row is None:
                if before is not None:
                    self._delete(before[0])
                continue
            counts[row.status, row.workflow] += 1
            number = numbers[run_id] = self._put(row, numbers.get(run_id), partition)
            if row.attributes != (None if before is None else before[1].attributes):
                self._put_attributes(number, row)
        if self._histories is not None:
            self._histories.write(self._connection, numbers)
        self._connection.executemany(
            "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
            [(*key, by) for key, by in counts.items() if by],
        )

    def _put(self, row: Row, number: int | None, partition: int) -> int:
        """Write a row, a new one without a number; return its number."""
        closed_ms = row.closed_ms
        values = (
            number,
            *(row.workflow_id, row.run_id, row.first_run_id, row.workflow, row.status.value),
            *(row.started_ms, row.begins_ms, closed_ms),
            None if closed_ms is None else closed_ms - row.started_ms,
            *(row.events, row.attempt, row.parent_workflow_id, row.parent_run_id),
            *(row.root_workflow_id, row.root_run_id, partition, row.problem, row.attributes),
            *(row.parked, json.dumps(row.failing) if row.failing else None),
        )
        marks = ", ".join("?" * len(values))
        put = self._connection.execute(f"INSERT OR REPLACE INTO runs VALUES ({marks})", values)
        assert put.lastrowid is not None, "a row has a number"
        return put.lastrowid

    def _put_attributes(self, number: int, row: Row) -> None:
        self._connection.execute("DELETE FROM attributes WHERE run = ?", (number,))
        try:
            found = decode(row.attributes)
        except SchemaMismatch:  # none of ours wrote it: a start is checked before it counts
            found = {}
        self._connection.executemany(
            "INSERT INTO attributes VALUES (?, ?, ?, ?, ?)", attribute_rows(number, found)
        )

    def _delete(self, number: int) -> None:
        for table in ("attributes", "turns", "attempts", "runs"):
            self._connection.execute(f"DELETE FROM {table} WHERE run = ?", (number,))

    def _read(self, run_id: str) -> tuple[int, Row] | None:
        found = self._connection.execute(
            f"SELECT {', '.join(COLUMNS)} FROM runs WHERE run_id = ?", (run_id,)
        ).fetchone()
        return None if found is None else (found[0], row_of(found))


def row_of(found: tuple[Any, ...]) -> Row:
    """Return the row that the columns of ``runs`` say."""
    workflow_id, run_id, first_run_id, workflow, status, started_ms, begins_ms = found[1:8]
    closed_ms, _, events, attempt, *ancestors = found[8:16]
    parent_workflow_id, parent_run_id, root_workflow_id, root_run_id = ancestors
    attributes, parked, failing = found[18:]
    return Row(
        workflow_id,
        run_id,
        first_run_id,
        workflow,
        Status(status),
        started_ms,
        begins_ms,
        closed_ms,
        events,
        attempt,
        parent_workflow_id,
        parent_run_id,
        root_workflow_id,
        root_run_id,
        attributes,
        parked,
        tuple((id, text) for id, text in json.loads(failing)) if failing else (),
    )
