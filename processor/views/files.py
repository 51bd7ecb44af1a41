"""The SQLite files of views: made, made anew where they do not fit, and read by others."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

__all__ = ("opened", "prepare", "read_only", "transaction")

_log = logging.getLogger("processor.views")

_AGAIN_S: Final = 0.05
_TRIES: Final = 5
_NO_FAULT: Final = frozenset(
    (
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_LOCKED),
        *(sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY),
    )
)
"""Errors that say nothing of what is in a file."""


class _Closes(Protocol):
    def close(self) -> None: ...


F = TypeVar("F", bound=_Closes)


def opened(
    path: Path | None, made: Callable[[sqlite3.Connection], F], misfit: Callable[[F], str]
) -> F:
    """Open (or make) a file, to write it; None: in memory.

    ``made`` returns what is in it. That is dropped where it cannot be read, or ``misfit`` says why
    it does not fit, which is logged. ``OSError`` where that is no fault of the file: it is left.
    """
    if path is None:
        return made(sqlite3.connect(":memory:", check_same_thread=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        connection = None
        try:
            connection = sqlite3.connect(path, check_same_thread=False)
            found = made(connection)
            why = misfit(found)
            if not why:
                return found
        except (sqlite3.DatabaseError, ValueError) as error:
            if connection is not None and getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_FAULT:
                connection.close()
                connection = None
            if connection is None:
                raise OSError(
                    f"{path} cannot be opened ({error}): look at the room and the permissions "
                    "there, and whether another program has it open"
                ) from error
            why = f"it cannot be read ({error})"
        connection.close()
        _log.warning("%s is made anew from the log: %s", path, why)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    raise OSError(f"{path} cannot be made anew: look at the permissions of its folder")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all that is written inside, or nothing. ``OSError`` where the file takes nothing."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:  # a full disk has rolled it back
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            path = connection.execute("PRAGMA database_list").fetchone()[2]
            raise OSError(
                f"{path} cannot be written ({error}): look at the room and the permissions there, "
                "and whether another program has it open. Nothing is lost: it goes on from there"
            ) from error
        raise


def prepare(
    connection: sqlite3.Connection,
    statements: Sequence[str],
    meta: Sequence[Any],
    *pragmas: str,
) -> None:
    """Make the tables of a file, where they are not there, and its one row of ``meta``."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", *pragmas):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements:
        connection.execute(statement)
    marks = ", ".join("?" * len(meta))
    connection.execute(f"INSERT OR IGNORE INTO meta VALUES (0, {marks})", meta)
    connection.execute("COMMIT")


def read_only(path: Path) -> sqlite3.Connection | None:
    """Return a connection to a file, None where its tables are not made yet.

    SQLite cannot read a file in the moment in which another process makes it anew.
    """
    uri, failed = f"{path.absolute().as_uri()}?mode=ro", None
    for each in range(_TRIES):
        if each:
            time.sleep(_AGAIN_S)
        connection = None
        try:
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone():
                return connection
            failed = None
        except sqlite3.OperationalError as error:
            failed = error
        if connection is not None:
            connection.close()
    if failed is not None:
        raise failed
    return None
