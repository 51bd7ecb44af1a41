"""A view notices where the log lost what it has not taken, or is not the one that it was."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from processor import Client, Worker, views, workflow
from processor.codec.records import encode
from processor.core.records.turn import Claim
from processor.errors import LogTruncated
from processor.shard.ports import LogRecord
from processor.views.place import LogEntry, ReadLog, changed
from processor.views.rows import Rows, open_rows
from processor.views.stream import running
from processor.views.stream.log_bounds import LogBounds

from .runs import started, turn
from .test_tables import by_run, kept

MONTH_MS = 31 * 24 * 3600 * 1000


@views.table("counts", key=by_run)
def counts(row: int | None, event: views.RunEvent) -> int:
    return (row or 0) + 1


def reads(*records: Any) -> ReadLog:
    """Return what reads a log that has these records from offset 1 on."""
    log = [LogRecord(at, b"", each and encode(each)) for at, each in enumerate(records, 1)]
    return lambda first, end: [each for each in log if first <= each.offset < end]


def logged(first: int, *records: Any) -> list[LogEntry]:
    return [LogEntry(offset, each, encode(each)) for offset, each in enumerate(records, first)]


def rows_at(folder: Path, position: int, at: int = 0) -> Rows:
    rows = open_rows(folder, 0, "log")
    rows.take(logged(0, Claim("host", "n", 1, 0), turn("a/1", 0, started(), at=at)), position)
    return rows


@pytest.mark.parametrize(
    ("position", "kept", "says"),
    [
        (10, LogBounds(0, 10), ""),
        (10, LogBounds(10, 20), ""),
        (
            10,
            LogBounds(11, 20),
            "partition 0: the records of the log from offset 10 to 10 were deleted",
        ),
        (
            10,
            LogBounds(0, 9),
            "partition 0: it is at offset 10, and the log ends at 9: it lost records",
        ),
    ],
)
def test_rows_go_on_only_where_the_log_has_all(
    position: int, kept: LogBounds, says: str, tmp_path: Path
) -> None:
    with closing(rows_at(tmp_path, position)) as rows:
        if says:
            with pytest.raises(LogTruncated) as raised:
                kept.check(rows, reads())
            assert str(raised.value).startswith(says)
            assert "Run `processor views rebuild`" in str(raised.value)
        else:
            kept.check(rows, reads())


def test_a_log_that_begins_late_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(open_rows(tmp_path, 0, "log")) as rows:
        LogBounds(0, 9).check(rows, reads())
        assert not caplog.records
        LogBounds(5, 9).check(rows, reads())
    assert "partition 0: the log begins at offset 5: what was before was deleted" in caplog.text


def test_rows_that_are_older_than_what_tells_of_purges_are_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time_ns() // 1_000_000
    with closing(rows_at(tmp_path, 10, now - MONTH_MS)) as rows:
        LogBounds(0, 10).check(rows, reads())
        assert rows.position == 10, "nothing was written since"
        LogBounds(0, 11).check(rows, reads())
        assert rows.position == 0
    assert "its rows are made anew: the last record that they took is 31 days old" in caplog.text


def test_a_table_stands_still_where_the_log_lost_what_it_has_not_taken(tmp_path: Path) -> None:
    with closing(kept(counts, tmp_path)) as table:
        table.take(logged(0, Claim("host", "n", 1, 0), turn("a/1", 0, started())))
        LogBounds(2, 9).check_table(table, reads())
        assert not table.error
        LogBounds(3, 9).check_table(table, reads())
        assert table.error.startswith("the records of the log from offset 2 to 2 were deleted")


def test_a_log_that_was_put_back_is_noticed() -> None:
    taken, other = (turn(f"{id}/1", 0, started()) for id in "ab")
    with closing(open_rows(None, 0, "log")) as rows:
        assert changed(rows.place, reads()) == ""
        rows.take([*logged(0, Claim("host", "n", 1, 0), taken), LogEntry(2, None)], 9)
        for log, says in (
            (reads(taken), ""),
            (reads(other), "the log has another record at offset 1 than what was taken there"),
            (reads(), ""),
            (reads(None), ""),
        ):
            found = changed(rows.place, log)
            assert found.startswith(says) if says else not found
        with pytest.raises(LogTruncated, match=r"partition 0: the log has another record .*backup"):
            LogBounds(0, 9).check(rows, reads(other))
        LogBounds(2, 9).check(rows, fails)


def fails(first: int, end: int) -> list[Any]:
    raise AssertionError(f"what is at {first} was deleted")


@workflow.define
async def order() -> None: ...


def test_the_rows_of_a_log_on_disk_that_was_put_back_are_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(*ids: str) -> tuple[set[str], set[str]]:
        server = f"embedded:{tmp_path / 'state'}"
        async with Worker(server, workflows=[order], views=[counts]), Client(server) as client:
            for id in ids:
                await client.run(order, id=id)
            listed = {run.workflow_id async for run in client.list("status = 'completed'")}
            return listed, {row.key async for row in client.view("counts")}

    state, backup = tmp_path / "state", tmp_path / "backup"
    asyncio.run(work("a"))
    shutil.copytree(state, backup, ignore=shutil.ignore_patterns("views"))
    asyncio.run(work("lost-1", "lost-2"))
    shutil.move(state / "views", backup / "views")
    shutil.rmtree(state)
    shutil.move(backup, state)
    there = {"a", *(f"new-{number}" for number in range(9))}
    assert asyncio.run(work(*there - {"a"})) == (there, there)
    assert "are made anew from the log: the log has another record at offset" in caplog.text


def test_topics_that_are_deleted_while_they_are_read_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"t.events": "1", "t.lookup": "2"}

    def described(*_: Any) -> dict[str, Any]:
        return {name: SimpleNamespace(name=name, topic_id=id) for name, id in there.items()}

    monkeypatch.setattr(running, "describe", described)
    admin: Any = None
    check = running.topics_stay(admin, *described().values())
    check()
    del there["t.lookup"]
    check()
    with pytest.raises(LogTruncated, match=r"t\.lookup was deleted while it was read: start"):
        check()
    there["t.lookup"] = "2"
    check()
    there["t.events"] = "3"
    with pytest.raises(LogTruncated, match=r"t\.events was deleted, and made again, while it was"):
        check()
