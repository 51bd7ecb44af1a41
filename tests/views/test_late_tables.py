"""A table that is behind the rows of runs holds them not up, and misses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from processor.codec.records import encode
from processor.core.nouns.run import WorkflowCompleted
from processor.shard.ports import LogRecord
from processor.views.rows import open_rows
from processor.views.stream import late
from processor.views.stream.folds import RunsFold
from processor.views.tables.stored import TableRows

from .runs import started, turn
from .test_tables import kept, rows_of, seen

WITHIN_S = 60.0
LOG = [
    LogRecord(offset, b"", encode(each))
    for offset, each in enumerate(
        (
            record
            for number in range(300)
            for record in (
                turn(f"{number}/1", 0, started(), at=number),
                turn(f"{number}/1", 1, WorkflowCompleted(b"1"), at=number),
            )
        ),
        1,
    )
]
HALF = 400


def read(first: int, end: int) -> Iterator[LogRecord]:
    return (record for record in LOG if first <= record.offset < end)


def fresh() -> dict[str, Any]:
    table = kept(seen)
    RunsFold("events", open_rows(None, 0, "log"), [table]).take(LOG)
    return rows_of(table)


def until_there(table: TableRows, position: int) -> None:
    end = time.monotonic() + WITHIN_S
    while table.position < position:
        assert time.monotonic() < end, f"the table is at {table.position}"
        time.sleep(0.01)


def test_a_table_that_is_late_joins_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "_GROUP", 7)
    rows, table = open_rows(None, 0, "log"), kept(seen)
    RunsFold("events", rows).take(LOG[:HALF])
    goes = threading.Event()

    def waits(first: int, end: int) -> Iterator[LogRecord]:
        goes.wait(WITHIN_S)
        return read(first, end)

    fold = RunsFold("events", rows, [table], waits)
    assert fold.position == rows.position == HALF + 1, "the log is read on where the rows are"
    fold.take(LOG[HALF : HALF + 50])
    assert rows.position == HALF + 51
    assert table.position == 0, "the rows do not wait for it"
    goes.set()
    for first in range(HALF + 50, len(LOG), 3):
        fold.take(LOG[first : first + 3])
    until_there(table, rows.position)
    assert rows_of(table) == fresh()
    fold.close()


def test_what_cannot_be_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(late, "_AGAIN_S", 0.01)
    rows, table = open_rows(None, 0, "log"), kept(seen)
    RunsFold("events", rows).take(LOG)
    failures = [OSError("the broker is away")]

    def fails(first: int, end: int) -> Iterator[LogRecord]:
        if failures:
            raise failures.pop()
        return read(first, end)

    fold = RunsFold("events", rows, [table], fails)
    until_there(table, rows.position)
    assert "table seen of partition 0 cannot go on at offset 0 (OSError: the bro" in caplog.text
    assert rows_of(table) == fresh()
    fold.close()
