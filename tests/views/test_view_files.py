"""Files of views: what is dropped is told, and what is no fault of a file is none of its loss."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from processor import views
from processor.views.rows import open_rows
from processor.views.tables.stored import read_tables

from .runs import started, turn
from .test_tables import by_run, entries, kept, rows_of


def count(row: int | None, event: views.RunEvent) -> int:
    return (row or 0) + 1


def of_version(version: int) -> Any:
    return views.table("seen", key=by_run, version=version)(count)


def filled(folder: Path, version: int = 1) -> Path:
    with closing(kept(of_version(version), folder)) as table:
        table.take(entries(turn("a/1", 0, started())))
    return folder / "table-seen-0.sqlite"


def test_a_file_that_another_program_has_locked_is_left(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match=r"seen-0.sqlite cannot be opened \(database is locked\)"):
            kept(of_version(1), tmp_path)
    with closing(kept(of_version(1), tmp_path)) as table:
        assert rows_of(table) == {"a": 1}


@pytest.mark.parametrize("damage", ["zeros", "cut", "text"])
def test_what_is_made_anew_is_told(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = filled(tmp_path)
    content = path.read_bytes()
    path.write_bytes(
        {"zeros": bytes(len(content)), "cut": content[:5_000], "text": b"text" * 2_000}[damage]
    )
    with closing(kept(of_version(1), tmp_path)) as table:
        assert table.position == 0
    assert f"{path} is made anew from the log: it cannot be read (" in caplog.text


def test_rows_of_another_log_are_made_anew_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_rows(tmp_path, 0, "log").close()
    open_rows(tmp_path, 0, "another").close()
    assert "is made anew from the log: what is in it comes of another log" in caplog.text


def test_an_earlier_version_stands_still_beside_the_rows_of_a_later_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 2)
    with closing(kept(of_version(1), tmp_path)) as earlier:
        earlier.take(entries(turn("b/1", 0, started()), turn("c/1", 0, started())))
        assert earlier.error == "it is of version 2, and the code that feeds it has 1"
    assert "start the newer code, or delete its files (table-seen-*)" in caplog.text
    with closing(kept(of_version(2), tmp_path)) as later:
        assert rows_of(later) == {"a": 1}, "what it has may be purged in the log"
    caplog.clear()
    with closing(kept(of_version(3), tmp_path)) as newest:
        assert newest.position == 0
    assert "it is of version 2, and 3 is asked for" in caplog.text


@pytest.mark.parametrize("name", ["se*", "se?n", "**/seen", "../seen", "seen-0", "", "\0"])
def test_a_table_is_found_by_its_name_alone(name: str, tmp_path: Path) -> None:
    filled(tmp_path)
    assert read_tables(tmp_path, name) == []


def test_a_disk_that_is_full_is_said(tmp_path: Path) -> None:
    with closing(kept(of_version(1), tmp_path)) as table:
        pages = table.connection.execute("PRAGMA page_count").fetchone()[0]
        table.connection.execute(f"PRAGMA max_page_count = {pages}")
        says = r"seen-0.sqlite cannot be written \(database or disk is full\)"
        with pytest.raises(OSError, match=says):
            table.take(entries(*(turn(f"{n}/1", 0, started()) for n in range(1_000))))
        table.connection.execute("PRAGMA max_page_count = 100000")
        table.take(entries(turn("a/1", 0, started())))
        assert rows_of(table) == {"a": 1}
