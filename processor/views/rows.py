"""The rows of one partition in an SQLite file, and how far in the log they are.

Rows, position and epoch change in one transaction, so that what is there is the fold of the log
below the position, whatever was killed. The file can be dropped at any time: it is folded anew. Its
name has the version of the fold, and one of another version is deleted.

A record counts if and only if it names the last claim before it; what does not is skipped.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

from processor.attributes import decode
from processor.codec.records import LogRecordBody
from processor.core.records.marks import Answered, Mark
from processor.core.records.turn import Claim
from processor.errors import SchemaMismatch
from processor.policy import Status
from processor.views.fold import VERSION, Row, folded
from processor.views.schema import COLUMNS, INDEXES, SCHEMA, attribute_rows

__all__ = ("LogEntry", "Rows", "counts", "open_rows", "read_rows")

_CACHE_KIB: Final = 32_000


class LogEntry(NamedTuple):
    """A record of the log; ``record`` is None for what is no record of ours, or a tombstone."""

    offset: int
    record: LogRecordBody | None


def open_rows(folder: Path | None, partition: int, log: str) -> Rows:
    """Open (or make) the rows of a partition in a folder; None: in memory.

    ``log`` names the log. Rows of another log, of another version of the fold, and files that
    SQLite cannot read, are dropped: their position is 0 again.
    """
    if folder is None:
        return _made(sqlite3.connect(":memory:", check_same_thread=False), partition, log)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"runs-{partition}.v{VERSION}.sqlite"
    for other in folder.glob(f"runs-{partition}.v*.sqlite*"):
        if not other.name.startswith(path.name):
            other.unlink(missing_ok=True)
    for _ in range(2):
        found = None
        try:
            connection = sqlite3.connect(path, check_same_thread=False)
            found = _made(connection, partition, log)
            if found.log == log:
                return found
        except sqlite3.DatabaseError:
            pass
        if found is not None:
            found.close()
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    raise OSError(f"{path} cannot be made anew: look at the permissions of its folder")


def counts(named: int, epoch: int) -> bool:
    """Return whether a record counts that names a claim, where ``epoch`` is the last one known.

    A later one than that was there, and has gone since: records name claims that exist.
    """
    return named >= epoch


def read_rows(folder: Path) -> list[Rows]:
    """Open the rows of all partitions in a folder, to read them, while others write them.

    A file whose tables are not made yet is passed over.
    """
    found = []
    for path in folder.glob(f"runs-*.v{VERSION}.sqlite"):
        partition = path.name.removeprefix("runs-").partition(".")[0]
        if partition.isdecimal():
            uri = f"{path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            made = "SELECT 1 FROM sqlite_schema WHERE name = 'meta'"
            if connection.execute(made).fetchone() is None:
                connection.close()
                continue
            found.append(Rows(connection, int(partition)))
    return sorted(found, key=lambda rows: rows.partition)


def _made(connection: sqlite3.Connection, partition: int, log: str) -> Rows:
    """Return the rows of a connection, with their tables."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"cache_size=-{_CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN IMMEDIATE")
    for statement in (*SCHEMA, *INDEXES):
        connection.execute(statement)
    first = (VERSION, log, secrets.token_hex(8), 0, -1)
    connection.execute("INSERT OR IGNORE INTO meta VALUES (0, ?, ?, ?, ?, ?)", first)
    connection.execute("COMMIT")
    return Rows(connection, partition)


class Rows:
    """Use one thread at a time, or ``lock``.

    ``position`` is the offset after the last record that is folded, ``epoch`` that of its claim.
    ``built`` is another one each time that the rows are made anew.
    """

    def __init__(self, connection: sqlite3.Connection, partition: int) -> None:
        self.connection = connection
        self.partition = partition
        self.lock = Lock()
        self.look()

    def look(self) -> None:
        """See where somebody else has brought the rows."""
        _, _, self.log, self.built, self.position, self.epoch = self.connection.execute(
            "SELECT * FROM meta"
        ).fetchone()

    def take(self, entries: Iterable[LogEntry], end: int | None = None) -> None:
        """Fold records in the order of the log, in one transaction.

        ``end`` is the offset after the last one that was looked at, where that is later. What is
        below the position is folded already.
        """
        group = _Group(self.connection)
        position, epoch = self.position, self.epoch
        for offset, record in entries:
            if offset < position:
                continue
            position = offset + 1
            if isinstance(record, Claim):
                epoch = max(epoch, offset)
            elif record is not None and counts(record.epoch, epoch):
                epoch = record.epoch
                if not isinstance(record, Mark | Answered):
                    group.take(record)
        position = max(position, end or 0)
        if position == self.position:
            return
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            group.write(self.partition)
            self.connection.execute("UPDATE meta SET position = ?, epoch = ?", (position, epoch))
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.position, self.epoch = position, epoch

    def drop(self) -> None:
        """Forget all rows: they are folded anew from the begin of the log."""
        self.connection.execute("BEGIN IMMEDIATE")
        for table in ("runs", "attributes", "counts"):
            self.connection.execute(f"DELETE FROM {table}")
        self.built, self.position, self.epoch = secrets.token_hex(8), 0, -1
        self.connection.execute(
            "UPDATE meta SET built = ?, position = 0, epoch = -1", (self.built,)
        )
        self.connection.execute("COMMIT")

    def row(self, run_id: str) -> Row | None:
        """Return the row of a run."""
        return _Group(self.connection).row(run_id)

    def close(self) -> None:
        self.connection.close()


class _Group:
    """What a group of records makes of the rows that are written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._before: dict[str, tuple[int, Row] | None] = {}
        self._rows: dict[str, Row | None] = {}

    def take(self, record: Any) -> None:
        before = self.row(record.run_id)
        self._rows[record.run_id] = folded(before, record)

    def row(self, run_id: str) -> Row | None:
        if run_id in self._rows:
            return self._rows[run_id]
        found = self._before[run_id] = self._read(run_id)
        return None if found is None else found[1]

    def write(self, partition: int) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        for run_id, row in self._rows.items():
            before = self._before[run_id]
            if before is not None and row == before[1]:
                continue
            if before is not None:
                counts[before[1].status, before[1].workflow] -= 1
            if row is None:
                if before is not None:
                    self._delete(before[0])
                continue
            counts[row.status, row.workflow] += 1
            self._put(row, None if before is None else before[0], partition)
            if row.attributes != (None if before is None else before[1].attributes):
                self._put_attributes(row)
        self._connection.executemany(
            "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
            [(*key, by) for key, by in counts.items() if by],
        )

    def _put(self, row: Row, number: int | None, partition: int) -> None:
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
        self._connection.execute(f"INSERT OR REPLACE INTO runs VALUES ({marks})", values)

    def _put_attributes(self, row: Row) -> None:
        (number,) = self._connection.execute(
            "SELECT run FROM runs WHERE run_id = ?", (row.run_id,)
        ).fetchone()
        self._connection.execute("DELETE FROM attributes WHERE run = ?", (number,))
        try:
            found = decode(row.attributes)
        except SchemaMismatch:  # none of ours wrote it: a start is checked before it counts
            found = {}
        self._connection.executemany(
            "INSERT INTO attributes VALUES (?, ?, ?, ?, ?)", attribute_rows(number, found)
        )

    def _delete(self, number: int) -> None:
        self._connection.execute("DELETE FROM attributes WHERE run = ?", (number,))
        self._connection.execute("DELETE FROM runs WHERE run = ?", (number,))

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
