"""The rows of one table of a user's and one partition, in an SQLite file, and how far they are.

Rows and position change in one transaction, as those of runs do. The file has the runs that are
open, too, so that it needs no other one, and can be made anew alone. A function that fails stops
its table behind the last record that it took: the file says why, until it is opened to be folded
again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from processor.codec.payloads import JsonPayloads
from processor.core.data.payloads import Payloads
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.errors import InvalidArgument
from processor.failures import trace_of
from processor.views.files import opened, prepare, read_only
from processor.views.fold import VERSION, Folded, Row, folded
from processor.views.rows import LogEntry, LogPlace, untaken
from processor.views.tables.definition import Table
from processor.views.tables.events import RunEvent
from processor.views.tables.lifecycle import told

__all__ = ("StoredRow", "StoredTable", "TableRows", "UserTables", "read_tables")

_log = logging.getLogger("processor.views")

_KEY_MAX: Final = 500
_ROW_BYTES_MAX: Final = 100_000
_ROWS_MAX: Final = 1_000_000
_SHOWN: Final = 2_000
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS meta (
        one INTEGER PRIMARY KEY, fold INTEGER, version INTEGER, log TEXT, source TEXT, merge TEXT,
        error TEXT, position INTEGER, epoch INTEGER, time_ms INTEGER)""",
    "CREATE TABLE IF NOT EXISTS runs (run_id TEXT PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS rows (
        key TEXT PRIMARY KEY, time_ms INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID""",
)
_runs: Final = msgspec.msgpack.Decoder(Row)
_JSON: Final = JsonPayloads()


class StoredRow(NamedTuple):
    """A row as it is stored: ``time_ms`` is when the last event was that it comes of."""

    key: str
    time_ms: int
    value: bytes


class StoredTable:
    """A table of one partition, to read. Use one thread at a time.

    ``error`` says why it stands still; "": it does not.
    """

    def __init__(self, connection: sqlite3.Connection, name: str, partition: int) -> None:
        self.connection = connection
        self.name = name
        self.partition = partition
        self.look()

    def look(self) -> None:
        """See where somebody else has brought it."""
        found = self.connection.execute("SELECT * FROM meta").fetchone()
        _, self.fold, self.version, self.log, self.source, merge, error, *place = found
        self.error: str = error
        self.merge: Mapping[str, str] = json.loads(merge)
        self.place = LogPlace(*place)

    @property
    def position(self) -> int:
        return self.place.position

    def page(self, prefix: str, end: str | None, after: str | None, limit: int) -> list[StoredRow]:
        """Return rows in the order of their keys, from ``prefix`` on, below ``end``."""
        where, given = "key >= ?", [prefix]
        for condition, bound in (("key < ?", end), ("key > ?", after)):
            if bound is not None:
                where += f" AND {condition}"
                given.append(bound)
        found = self.connection.execute(
            f"SELECT key, time_ms, value FROM rows WHERE {where} ORDER BY key LIMIT ?",
            (*given, limit),
        )
        return [StoredRow(*each) for each in found]

    def close(self) -> None:
        self.connection.close()


class TableRows(StoredTable):
    """A table of one partition that is folded. ``payloads`` decode what events carry."""

    def __init__(
        self, connection: sqlite3.Connection, partition: int, table: Table[Any], payloads: Payloads
    ) -> None:
        super().__init__(connection, table.name, partition)
        self._table = table
        self._payloads = payloads
        self._read = _JSON.decoder(table.row_type)
        (self._count,) = connection.execute("SELECT count(*) FROM rows").fetchone()

    def take(self, entries: Iterable[LogEntry], end: int | None = None) -> None:
        """Fold records in the order of the log, in one transaction.

        ``end`` is as for ``Rows.take``. What the function raises stops the table behind the record
        before, and is logged: nothing is taken from then on.
        """
        if self.error:
            return
        group, place = _Changes(self.connection), self.place
        for entry in untaken(entries, place):
            behind, record = place.after(entry)
            if record is not None:
                try:
                    self._happened(group, record)
                except Exception as error:  # whatever the user's function raises
                    self._stop(group, place, entry.offset, error)
                    return
            place = behind
        self._write(group, place._replace(position=max(place.position, end or 0)))

    def drop(self) -> None:
        """Forget all: the table is folded anew from the begin of the log."""
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        for each in ("runs", "rows"):
            execute(f"DELETE FROM {each}")
        execute("UPDATE meta SET error = '', position = ?, epoch = ?, time_ms = ?", LogPlace())
        execute("COMMIT")
        self._count = 0
        self.look()

    def _happened(self, group: _Changes, record: Folded) -> None:
        """Take a record: all of what it does to the table, or nothing."""
        if not isinstance(record, Turn | Snapshot):
            return  # where an activity stands, and what is purged, are no event
        row = group.run(record.run_id)
        happened = list(told(row, record, self._payloads))
        changed: dict[str, StoredRow | None] = {}
        for event in happened:
            self._changed(group, changed, event)
        group.rows.update(changed)
        after = folded(row, record)
        is_open = after is not None and after.status.is_open
        group.runs[record.run_id] = after if is_open else None

    def _changed(
        self, group: _Changes, changed: dict[str, StoredRow | None], event: RunEvent
    ) -> None:
        key = self._table.key(event)
        if key is None:
            return
        if not isinstance(key, str) or not 0 < len(key) <= _KEY_MAX:
            raise InvalidArgument(
                f"key: it returns text of 1 to {_KEY_MAX} characters, or None, not {key!r:.100}"
            )
        before = changed[key] if key in changed else group.row(key)
        row = None if before is None else self._read(before.value)
        after = self._table.function(row, event)
        if after is None:
            changed[key] = None
            return
        value = _JSON.encode(after)
        assert value is not None, "a row that is there is no None"
        if len(value) > _ROW_BYTES_MAX:
            raise InvalidArgument(
                f"the row of {key!r:.100} has {len(value):,} bytes, and {_ROW_BYTES_MAX:,} are the "
                "most: keep less in it, or have more keys"
            )
        changed[key] = StoredRow(key, int(event.time.timestamp() * 1_000), value)

    def _write(self, group: _Changes, place: LogPlace, error: str = "") -> None:
        if place == self.place and not error:
            return
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            count = self._count + group.write()
            execute(
                "UPDATE meta SET error = ?, position = ?, epoch = ?, time_ms = ?", (error, *place)
            )
            execute("COMMIT")
        except BaseException:
            execute("ROLLBACK")
            raise
        self.place, self.error, self._count = place, error, count
        if count > _ROWS_MAX and not error:
            full = f"it has {count:,} rows of partition {self.partition}, and {_ROWS_MAX:,} are the"
            full += " most. Have fewer keys, or return None for rows that are not needed any more"
            _log.error("table %s: %s", self.name, full)
            self._write(_Changes(self.connection), place, full)

    def _stop(self, group: _Changes, place: LogPlace, offset: int, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
        text = f"{type(error).__name__}: {error}"[:_SHOWN] + at
        where = f"at offset {offset} of partition {self.partition}"
        _log.error(
            "table %s stops %s: %s. The other tables and the rows of runs go on. Correct the "
            "function, and start this process again\n%s",
            self.name,
            where,
            text,
            trace_of(error),  # as text: frames would keep the log open
        )
        self._write(group, place, f"{where}: {text}")


class _Changes:
    """What a group of records makes of the rows that are written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._had: dict[str, bool] = {}
        self.runs: dict[str, Row | None] = {}
        self.rows: dict[str, StoredRow | None] = {}

    def run(self, run_id: str) -> Row | None:
        if run_id not in self.runs:
            found = self._connection.execute(
                "SELECT row FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
            self.runs[run_id] = None if found is None else _runs.decode(found[0])
        return self.runs[run_id]

    def row(self, key: str) -> StoredRow | None:
        if key not in self.rows:
            found = self._connection.execute("SELECT * FROM rows WHERE key = ?", (key,)).fetchone()
            self.rows[key] = None if found is None else StoredRow(*found)
            self._had[key] = found is not None
        return self.rows[key]

    def write(self) -> int:
        """Write all of it; return how many rows there are more."""
        many = self._connection.executemany
        runs = {run_id: row for run_id, row in self.runs.items() if row is not None}
        many("DELETE FROM runs WHERE run_id = ?", [(id,) for id in self.runs if id not in runs])
        packed = [(run_id, msgspec.msgpack.encode(row)) for run_id, row in runs.items()]
        many("INSERT OR REPLACE INTO runs VALUES (?, ?)", packed)
        rows = [row for row in self.rows.values() if row is not None]
        gone = [(key,) for key, row in self.rows.items() if row is None]
        many("DELETE FROM rows WHERE key = ?", gone)
        many("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)
        return len(rows) - sum(self._had.values())


@dataclass(frozen=True)
class UserTables:
    """The tables of a user by their names, and what decodes the payloads that events carry."""

    by_name: Mapping[str, Table[Any]] = field(default_factory=dict)
    payloads: Payloads = _JSON

    def open(
        self, name: str, folder: Path | None, partition: int, log: str, what: str
    ) -> TableRows:
        """Open (or make) a table of a partition in a folder, to fold it; None: in memory.

        Rows of another version of the table, of the fold or of another log, and files that SQLite
        cannot read, are dropped: their position is 0 again. A table that stood still is tried
        again. ``InvalidArgument`` where there is no such table; ``what`` names the call.
        """
        table = self.by_name.get(name)
        if table is None:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise InvalidArgument(
                f"{what}: there is no table {name!r} here ({known}): give the worker, or the "
                "environment, the function under @views.table(name, ...): views=[...]"
            )
        path = None if folder is None else folder / f"table-{name}-{partition}.sqlite"

        def made(connection: sqlite3.Connection) -> TableRows:
            merge = json.dumps(dict(table.merge))
            meta = (VERSION, table.version, log, table.source, merge, "", *LogPlace())
            prepare(connection, _SCHEMA, meta)
            return TableRows(connection, partition, table, self.payloads)

        def resumes(found: TableRows) -> bool:
            if (found.fold, found.version, found.log) != (VERSION, table.version, log):
                return False
            _resume(found, table)
            return True

        return opened(path, made, resumes)


def _resume(found: TableRows, table: Table[Any]) -> None:
    """Go on with rows that are there. Another merge counts at once: it is for readers."""
    if found.position and table.source and found.source != table.source:
        _log.warning(
            "table %s: its function has changed since version %d began; rows that are there "
            "stay as it made them then. Raise version= in @views.table to have all folded anew",
            table.name,
            table.version,
        )
    merge = json.dumps(dict(table.merge))
    found.connection.execute("UPDATE meta SET error = '', merge = ?", (merge,))
    found.look()


def read_tables(folder: Path, name: str) -> list[StoredTable]:
    """Open a table of all partitions in a folder, to read it, while others write it."""
    found = []
    for path in folder.glob(f"table-{name}-*.sqlite"):
        partition = path.stem.rpartition("-")[2]
        if partition.isdecimal() and (connection := read_only(path)) is not None:
            found.append(StoredTable(connection, name, int(partition)))
    return sorted(found, key=lambda table: table.partition)
