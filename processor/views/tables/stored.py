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
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from processor.codec.payloads import JsonPayloads
from processor.core.data.payloads import Payloads
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.errors import InvalidArgument
from processor.views.files import opened, prepare, read_only, transaction
from processor.views.fold import VERSION, Folded, Row, folded
from processor.views.place import PLACE_COLUMNS, SET_PLACE, LogEntry, LogPlace, untaken
from processor.views.rows import ANOTHER_LOG
from processor.views.tables.calling import TableCalls, TableFailed
from processor.views.tables.definition import Table
from processor.views.tables.lifecycle import told

__all__ = ("StoredRow", "StoredTable", "TableRows", "UserTables", "read_tables")

_log = logging.getLogger("processor.views")

_ROWS_MAX: Final = 1_000_000
_SCHEMA: Final = (
    f"""CREATE TABLE IF NOT EXISTS meta (
        one INTEGER PRIMARY KEY, fold INTEGER, version INTEGER, log TEXT, source TEXT, merge TEXT,
        error TEXT, {PLACE_COLUMNS})""",
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

    def page(
        self, prefix: str, end: str | None, after: str | None, limit: int
    ) -> Generator[StoredRow]:
        """Yield rows in the order of their keys, from ``prefix`` on, below ``end``."""
        where, given = "key >= ?", [prefix]
        for condition, bound in (("key < ?", end), ("key > ?", after)):
            if bound is not None:
                where += f" AND {condition}"
                given.append(bound)
        select = f"SELECT key, time_ms, value FROM rows WHERE {where} ORDER BY key LIMIT ?"
        with closing(self.connection.execute(select, (*given, limit))) as found:
            for each in found:
                yield StoredRow(*each)

    def close(self) -> None:
        self.connection.close()


class TableRows(StoredTable):
    """A table of one partition that is folded. ``payloads`` decode what events carry."""

    def __init__(
        self, connection: sqlite3.Connection, partition: int, table: Table[Any], payloads: Payloads
    ) -> None:
        super().__init__(connection, table.name, partition)
        self._calls = TableCalls(table)
        self._payloads = payloads
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
                except TableFailed as failed:
                    self._stop(group, place, entry.offset, failed)
                    return
            place = behind
        self._write(group, place.ended(end))

    def drop(self) -> None:
        """Forget all: the table is folded anew from the begin of the log."""
        execute = self.connection.execute
        with transaction(self.connection):
            for each in ("runs", "rows"):
                execute(f"DELETE FROM {each}")
            execute(f"UPDATE meta SET error = '', {SET_PLACE}", LogPlace())
        self._count = 0
        self.look()

    def stand_still(self, why: str) -> None:
        """Take nothing any more, until it is opened anew. Readers are told why."""
        _log.error("table %s of partition %d stands still: %s", self.name, self.partition, why)
        self._write(_Changes(self.connection), self.place, why)

    def _happened(self, group: _Changes, record: Folded) -> None:
        """Take a record: all of what it does to the table, or nothing. Raises ``TableFailed``."""
        if not isinstance(record, Turn | Snapshot):
            return  # where an activity stands, and what is purged, are no event
        row = group.run(record.run_id)
        changed: dict[str, StoredRow | None] = {}
        for event in list(told(row, record, self._payloads)):
            at_ms = int(event.time.timestamp() * 1_000)
            for key in self._calls.keys(event):
                before = changed[key] if key in changed else group.row(key)
                value = self._calls.row(key, None if before is None else before.value, event)
                changed[key] = None if value is None else StoredRow(key, at_ms, value)
        group.rows.update(changed)
        after = folded(row, record)
        is_open = after is not None and after.status.is_open
        group.runs[record.run_id] = after if is_open else None

    def _write(self, group: _Changes, place: LogPlace, error: str = "") -> None:
        if place == self.place and not error:
            return
        with transaction(self.connection):
            count = self._count + group.write()
            self.connection.execute(f"UPDATE meta SET error = ?, {SET_PLACE}", (error, *place))
        self.place, self.error, self._count = place, error, count
        if count > _ROWS_MAX and not error:
            self.stand_still(
                f"it has {count:,} rows of partition {self.partition}, and {_ROWS_MAX:,} are the "
                "most. Have fewer keys, or return None for rows that are not needed any more"
            )

    def _stop(self, group: _Changes, place: LogPlace, offset: int, failed: TableFailed) -> None:
        where = f"at offset {offset} of partition {self.partition}"
        _log.error(
            "table %s stops %s: %s. The other tables and the rows of runs go on. Correct the "
            "function, and start this process again\n%s",
            *(self.name, where, failed.text, failed.trace),
        )
        self._write(group, place, f"{where}: {failed.text}")


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

        Rows of an earlier version of the table, of another one of the fold, or of another log, and
        files that SQLite cannot read, are dropped: their position is 0 again. Rows of a later
        version stand still. A table that stood still is tried again. ``InvalidArgument`` where
        there is no such table; ``what`` names the call.
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

        def misfit(found: TableRows) -> str:
            if found.log != log:
                return ANOTHER_LOG
            if found.fold != VERSION:
                return "another release of this program has made it"
            if found.version < table.version:
                return f"it is of version {found.version}, and {table.version} is asked for"
            _resume(found, table)
            return ""

        return opened(path, made, misfit)


def _resume(found: TableRows, table: Table[Any]) -> None:
    """Go on with rows that are there. Another merge counts at once: it is for readers.

    Rows of a later version stay as they are: what was purged meanwhile could not be folded again.
    """
    error = ""
    if found.version > table.version:
        error = f"it is of version {found.version}, and the code that feeds it has {table.version}"
        _log.error(
            "table %s of partition %d: %s. It stands still: start the newer code, or delete its "
            "files (table-%s-*), and it is folded anew",
            *(table.name, found.partition, error, table.name),
        )
    elif found.position and table.source and found.source != table.source:
        _log.warning(
            "table %s: its function has changed since version %d began; rows that are there "
            "stay as it made them then. Raise version= in @views.table to have all folded anew",
            table.name,
            table.version,
        )
    merge = json.dumps(dict(table.merge))
    found.connection.execute("UPDATE meta SET error = ?, merge = ?", (error, merge))
    found.look()


def read_tables(folder: Path, name: str) -> list[StoredTable]:
    """Open a table of all partitions in a folder, to read it, while others write it."""
    found = []
    for path in folder.glob("table-*.sqlite"):
        of, _, partition = path.stem.removeprefix("table-").rpartition("-")
        if of == name and partition.isdecimal() and (connection := read_only(path)) is not None:
            found.append(StoredTable(connection, name, int(partition)))
    return sorted(found, key=lambda table: table.partition)
