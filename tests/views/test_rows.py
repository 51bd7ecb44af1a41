"""The fold, and the rows that it leaves in SQLite: pages, counts, what is dropped and rebuilt."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from processor.core.nouns.activity import ActivityCompleted, ActivityScheduled
from processor.core.nouns.run import (
    RunParked,
    RunUnparked,
    Successor,
    WorkflowCompleted,
    WorkflowContinued,
    WorkflowStarted,
    WorkflowTerminated,
)
from processor.core.nouns.timer import TimerFired
from processor.core.nouns.value import StatusSet
from processor.core.records.snapshot import RunImage, Snapshot
from processor.core.records.turn import Claim, Turn
from processor.errors import InvalidArgument, ProcessorError
from processor.policy import Status
from processor.views import asking
from processor.views.asking import count, find
from processor.views.fold import VERSION, Row, folded
from processor.views.language import parsed
from processor.views.place import LogEntry
from processor.views.rows import Rows, open_rows, read_rows

from .runs import Log, attempt, purged, started, turn, upserted

FOLLOWS = Successor("a/2", WorkflowStarted("order", None, b""))


def fold(*records: Any) -> Row | None:
    row = None
    for record in records:
        row = folded(row, record)
    return row


def test_what_the_fold_makes_of_a_run() -> None:
    begun = turn("a/1", 0, started(customer="ada"), StatusSet(b"1"), at=5)
    row = fold(begun)
    assert row is not None
    assert (row.workflow_id, row.run_id, row.first_run_id) == ("a", "a/1", "a/1")
    assert (row.status, row.started_ms, row.begins_ms, row.events) == (Status.RUNNING, 5, 5, 2)
    assert (row.attributes, row.problem) == (b'{"customer":"ada"}', None)
    parked = fold(begun, turn("a/1", 2, RunParked("bug", "ValueError: 5", "", ""), at=6))
    assert parked is not None
    assert (parked.status, parked.problem) == (Status.PARKED, "parked: bug: ValueError: 5")
    on = folded(parked, turn("a/1", 3, RunUnparked(), upserted(customer=None), at=7))
    assert on is not None
    assert (on.status, on.problem, on.attributes, on.events) == (Status.RUNNING, None, None, 5)
    ended = folded(on, turn("a/1", 5, WorkflowContinued(FOLLOWS), at=9))
    assert ended is not None
    assert (ended.status, ended.closed_ms) == (Status.CONTINUED, 9)
    assert folded(ended, purged("a/1")) is None


def test_activities_that_fail_are_a_problem_until_they_have_ended() -> None:
    begun = turn("a/1", 0, started(), ActivityScheduled(1, "charge", None, False))
    failing = fold(begun, attempt("a/1", 1, 0), attempt("a/1", 1, 2))
    assert failing is not None
    assert failing.problem == "activity: charge: Down: it is down"
    both = folded(failing, attempt("a/1", 2, 1))
    assert both is not None and len(both.failing) == 2
    one = folded(both, turn("a/1", 2, ActivityCompleted(1, 3, None)))
    assert one is not None and [id for id, _ in one.failing] == [2]
    ended = folded(one, turn("a/1", 3, WorkflowTerminated("")))
    assert ended is not None and ended.problem is None
    assert folded(ended, attempt("a/1", 2, 2)) == ended


def test_a_record_that_is_folded_twice_changes_nothing() -> None:
    records = [turn("a/1", 0, started()), turn("a/1", 1, StatusSet(None), TimerFired(0), at=3)]
    row = fold(*records)
    assert fold(*records, *records) == row
    assert row is not None and row.begins_ms == 3


def test_a_run_without_its_beginning_has_no_row() -> None:
    assert fold(turn("a/1", 4, StatusSet(None)), attempt("a/1", 1, 1)) is None


def test_a_snapshot_goes_on_where_turns_before_it_are_gone() -> None:
    begun = turn("a/1", 0, started(), StatusSet(b"1"), at=5)
    event = begun.events[0]
    assert isinstance(event, WorkflowStarted)
    parts = {each.name: getattr(begun, each.name) for each in fields(Turn)}
    parts |= {"first": 9, "events": (StatusSet(b"2"),), "time_ms": 8}
    snapshot = Snapshot(**parts, image=RunImage(event, 5, 8, 10))
    row = fold(begun, snapshot)
    assert row is not None and row.events == 10
    assert fold(begun, snapshot, begun, snapshot) == row == fold(snapshot)
    ended = folded(row, turn("a/1", 10, WorkflowCompleted(None), at=9))
    assert ended is not None and (ended.status, ended.closed_ms) == (Status.COMPLETED, 9)


# --- the store --------------------------------------------------------------------------------


def listed(rows: Rows, text: str = "", limit: int = 50, what: str = "run_id") -> list[Any]:
    """Return all pages of a list as one."""
    query = parsed(text, 0, "list: query")
    found, cursor = [], None
    for _ in range(200):
        page = find((rows,), query, limit, cursor, "list")
        assert len(page.runs) <= limit
        found += [getattr(row, what) for row in page.runs]
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


def counted(rows: Rows, text: str) -> Any:
    found = count((rows,), parsed(text, 0, "count: query"), "count")
    return {each.values[0]: each.count for each in found.groups} if found.groups else found.count


def test_purged_runs_go(tmp_path: Path) -> None:
    rows = open_rows(tmp_path, 0, "log")
    log = Log(rows)
    log.take(turn("a/1", 0, started(customer="ada")), turn("b/1", 0, started(customer="bob")))
    log.take(purged("a/1"), purged("c/1"))
    assert listed(rows) == ["b/1"] == listed(rows, "customer IS NOT NULL")
    assert counted(rows, "GROUP BY status") == {"running": 1}
    assert rows.connection.execute("SELECT count(*) FROM attributes").fetchone() == (1,)


def test_what_names_an_earlier_claim_does_not_count() -> None:
    rows = open_rows(None, 0, "log")
    rows.take([LogEntry(0, Claim("x", "n", 1, 0)), LogEntry(1, turn("a/1", 0, started(), epoch=0))])
    rows.take([LogEntry(2, Claim("y", "m", 1, 0)), LogEntry(3, turn("b/1", 0, started(), epoch=0))])
    rows.take([LogEntry(4, turn("c/1", 0, started(), epoch=2)), LogEntry(5, None)])
    rows.take([LogEntry(8, turn("d/1", 0, started(), epoch=7))])
    rows.take([LogEntry(9, turn("e/1", 0, started(), epoch=2))])
    assert sorted(listed(rows)) == ["a/1", "c/1", "d/1"]
    assert (rows.position, rows.place.epoch) == (10, 7)


def test_a_file_is_opened_again_where_it_was(tmp_path: Path) -> None:
    rows = open_rows(tmp_path, 0, "log")
    Log(rows).take(turn("a/1", 0, started(customer="ada")), attempt("a/1", 1, 1))
    built, row = rows.built, rows.row("a/1")
    assert row is not None and row.failing
    rows.close()
    rows = open_rows(tmp_path, 0, "log")
    assert (rows.position, rows.place.epoch, rows.built, rows.row("a/1")) == (3, 0, built, row)


@pytest.mark.parametrize("what", ["log", "version", "broken"])
def test_a_file_of_something_else_is_made_anew(tmp_path: Path, what: str) -> None:
    rows = open_rows(tmp_path, 0, "log")
    Log(rows).take(turn("a/1", 0, started()))
    rows.close()
    path = tmp_path / f"runs-0.v{VERSION}.sqlite"
    if what == "version":
        path.rename(tmp_path / "runs-0.v0.sqlite")
    elif what == "broken":
        path.write_bytes(b"x" * 5_000)
    other = open_rows(tmp_path, 1, "log")
    rows = open_rows(tmp_path, 0, "other" if what == "log" else "log")
    assert (rows.position, listed(rows)) == (0, [])
    assert other.position == 0
    assert not list(tmp_path.glob("*.v0.*"))


def test_a_file_that_is_made_anew_at_this_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / f"runs-0.v{VERSION}.sqlite"
    path.mkdir()  # SQLite cannot open that

    def made() -> None:
        path.rmdir()
        open_rows(tmp_path, 0, "log").close()

    timer = threading.Timer(0.02, made)
    timer.start()
    (rows,) = read_rows(tmp_path)
    timer.join()
    assert rows.log == "log"
    rows.close()
    path.unlink()
    path.mkdir()
    with pytest.raises(sqlite3.OperationalError):
        read_rows(tmp_path)


def test_rows_and_position_change_together(tmp_path: Path) -> None:
    rows = open_rows(tmp_path, 0, "log")
    Log(rows).take(turn("a/1", 0, started()))
    refuses = "CREATE TRIGGER no BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, ''); END"
    rows.connection.execute(refuses)
    with pytest.raises(OSError, match="cannot be written"):
        rows.take([LogEntry(2, turn("b/1", 0, started()))])
    assert (listed(rows), rows.position) == (["a/1"], 2)
    rows.connection.execute("DROP TRIGGER no")
    rows.take([LogEntry(2, turn("b/1", 0, started()))])
    assert sorted(listed(rows)) == ["a/1", "b/1"]


@pytest.mark.parametrize(
    "order",
    [
        "",
        "ORDER BY started",
        "ORDER BY closed",
        "ORDER BY closed DESC",
        "ORDER BY number",
        "ORDER BY number DESC",
        "ORDER BY workflow_id DESC",
        "status = 'running' ORDER BY number",
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 50])
def test_pages_are_one_list(order: str, limit: int) -> None:
    rows = open_rows(None, 0, "log")
    log, made = Log(rows), random.Random(3)
    for number in range(40):
        has: dict[str, Any] = {"number": made.choice([1, 2.5, "x", True])} if number % 3 else {}
        log.take(turn(f"{number}/1", 0, started(**has), at=made.randrange(8)))
        if number % 2:
            log.take(turn(f"{number}/1", 1, WorkflowCompleted(None), at=9 + made.randrange(4)))
    whole = listed(rows, order, 1_000)
    assert listed(rows, order, limit) == whole
    assert len(set(whole)) == len(whole) == (20 if "status" in order else 40)


def test_a_cursor_is_of_its_query() -> None:
    rows = open_rows(None, 0, "log")
    log = Log(rows)
    log.take(*(turn(f"{number}/1", 0, started()) for number in range(9)))
    query = parsed("status = 'running'", 0, "list")
    cursor = find((rows,), query, 5, None, "list").cursor
    assert cursor is not None
    assert len(find((rows,), query, 5, cursor, "list").runs) == 4
    other = parsed("status = 'failed'", 0, "list")
    anew = open_rows(None, 0, "log")
    for asked, of in ((other, rows), (query, anew)):
        with pytest.raises(InvalidArgument, match="cursor: it is that of another query"):
            find((of,), asked, 5, cursor, "list")
    for broken in ("", "x", "ü", "W10=", "WzFd", cursor[:-8], "eyJhIjoxfQ=="):
        with pytest.raises(InvalidArgument, match="cursor: "):
            find((rows,), query, 5, broken, "list")


@pytest.mark.parametrize(
    "place",
    [
        [True, 1 << 63, 1],
        [True, -(1 << 64), 1],
        [True, "\ud800", 1],
        [True, 5, 1 << 63],
        [True, [5], 1],
        [1, 5, 1],
    ],
)
def test_a_cursor_that_somebody_has_changed_is_refused(place: list[Any]) -> None:
    rows = open_rows(None, 0, "log")
    Log(rows).take(*(turn(f"{number}/1", 0, started(n=number)) for number in range(9)))
    query = parsed("ORDER BY n", 0, "list")
    cursor = find((rows,), query, 5, None, "list").cursor
    assert cursor is not None
    mark, _ = json.loads(urlsafe_b64decode(cursor))
    deep = urlsafe_b64encode(b"[" * 100_000).decode()
    for broken in (urlsafe_b64encode(json.dumps([mark, place]).encode()).decode(), deep):
        with pytest.raises(InvalidArgument, match="cursor: "):
            find((rows,), query, 5, broken, "list")


def test_a_query_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = open_rows(None, 0, "log")
    Log(rows).take(*(turn(f"{n}/1", 0, started(n=n)) for n in range(3_000)))
    monkeypatch.setattr(asking, "_SECONDS_MAX", -1.0)
    with pytest.raises(ProcessorError, match="narrow it"):
        listed(rows, "workflow CONTAINS 'x' OR workflow_id CONTAINS 'x' ORDER BY n")
    monkeypatch.undo()
    assert len(listed(rows, "", 1_000)) == 3_000


def test_a_small_query_that_is_asked_again_and_again_is_never_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLite goes on counting the steps of a statement where it is executed again."""
    rows = open_rows(None, 0, "log")
    Log(rows).take(turn("a/1", 0, started(n=1)))
    monkeypatch.setattr(asking, "_LITTLE", 500)
    query = parsed("n = 1", 0, "list: query")
    for _ in range(300):
        assert len(find((rows,), query, 5, None, "list").runs) == 1


def test_counts_that_are_kept_equal_those_that_are_counted() -> None:
    rows = open_rows(None, 0, "log")
    log, made = Log(rows), random.Random(5)
    for number in range(300):
        run, first = f"{number % 90}/{number // 90}", 0
        log.take(turn(run, first, started(made.choice(["order", "ship"]))))
        if made.random() < 0.5:
            log.take(turn(run, 1, made.choice([WorkflowCompleted(None), WorkflowTerminated("")])))
            if made.random() < 0.3:
                log.take(purged(run))
    for text in ("", "workflow = 'ship'", "status != 'running'", "NOT workflow = 'ship'"):
        kept = counted(rows, f"{text} GROUP BY status")
        scanned = counted(rows, f"({text or 'events > 0'}) AND events > 0 GROUP BY status")
        assert kept == scanned
