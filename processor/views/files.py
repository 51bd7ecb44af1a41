"""The SQLite files of views: made, made anew where they do not fit, and read by others."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

__all__ = ("opened", "prepare", "read_only")

_AGAIN_S: Final = 0.05


class _Closes(Protocol):
    def close(self) -> None: ...


F = TypeVar("F", bound=_Closes)


def opened(
    path: Path | None, made: Callable[[sqlite3.Connection], F], fits: Callable[[F], bool]
) -> F:
    """Open (or make) a file, to write it; None: in memory.

    ``made`` returns what is in it, which is dropped where it does not fit, or cannot be read.
    """
    if path is None:
        return made(sqlite3.connect(":memory:", check_same_thread=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        found = None
        try:
            found = made(sqlite3.connect(path, check_same_thread=False))
            if fits(found):
                return found
        except (sqlite3.DatabaseError, ValueError):
            pass
        if found is not None:
            found.close()
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    raise OSError(f"{path} cannot be made anew: look at the permissions of its folder")


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


def read_only(path: Path, tries: int = 5) -> sqlite3.Connection | None:
    """Return a connection to a file, None where its tables are not made yet.

    SQLite cannot read a file in the moment in which another process makes it anew.
    """
    uri, connection = f"{path.absolute().as_uri()}?mode=ro", None
    try:
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        made = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone()
    except sqlite3.OperationalError:
        if connection is not None:
            connection.close()
        if tries == 1:
            raise
        time.sleep(_AGAIN_S)
        return read_only(path, tries - 1)
    if made is None:
        connection.close()
        return None
    return connection
