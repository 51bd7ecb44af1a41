"""Rows of several partitions are asked as one: the same pages and counts, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from processor.core.event import Event
from processor.core.nouns.run import WorkflowCompleted, WorkflowFailed
from processor.errors import InvalidArgument
from processor.views.asking import count, find
from processor.views.language import parsed
from processor.views.rows import Rows, open_rows, read_rows
from tests.views.runs import DOWN, Log, started, turn, upserted

PARTS = 3
RUNS = 60


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[Rows, list[Rows]]]:
    """Return rows that have all runs, and those of partitions that share them."""
    whole, parts = open_rows(None, 9, "log"), [open_rows(None, n, "log") for n in range(PARTS)]
    logs, random = [Log(whole), *map(Log, parts)], Random(7)
    values: list[Any] = [5, 2.5, -1, True, "ada", "Zoe", "ä", datetime(2027, 1, 1, tzinfo=UTC)]
    for number in range(RUNS):
        run, at = f"w-{number}/r-{number}", 1_000 * number + random.randrange(900)
        given = {"a": random.choice(values)} if random.random() < 0.7 else {}
        events: list[Event] = [started(random.choice(("ship", "order")), **given)]
        if random.random() < 0.3:
            events.append(upserted(b=random.choice(values), tags=["x", "y"]))
        for log in (logs[0], logs[1 + number % PARTS]):
            log.take(turn(run, 0, *events, at=at))
        if random.random() < 0.6:
            end: Event = random.choice((WorkflowCompleted(None), WorkflowFailed(DOWN)))
            later = at + random.randrange(50_000)
            for log in (logs[0], logs[1 + number % PARTS]):
                log.take(turn(run, len(events), end, at=later))
    yield whole, parts
    for rows in (whole, *parts):
        rows.close()


def listed(parts: list[Rows], text: str, limit: int) -> list[str]:
    query, found, cursor = parsed(text, 0, "list: query"), [], None
    for _ in range(RUNS + 1):
        page = find(parts, query, limit, cursor, "list")
        assert len(page.runs) == len(page.shards) <= limit
        found += [row.run_id for row in page.runs]
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "ORDER BY started",
        "ORDER BY closed",
        "ORDER BY closed DESC",
        "workflow = 'ship' ORDER BY duration DESC",
        "status = 'running' AND a IS NOT NULL",
    ],
)
def test_pages_are_those_of_all_runs(asked: tuple[Rows, list[Rows]], text: str, limit: int) -> None:
    whole, parts = asked
    one, all = listed([whole], text, 100), listed(parts, text, limit)
    query = parsed(text, 0, "list: query")
    runs = {row.run_id: row for row in find([whole], query, 100, None, "list").runs}
    assert sorted(all) == sorted(one), "each once"
    if query.order is None or query.order.name == "started":
        assert all == one, "no two began at one time"
    else:
        name = "closed_ms" if query.order.name == "closed" else "duration"

        def value(run_id: str) -> Any:
            row = runs[run_id]
            if name == "closed_ms":
                return row.closed_ms
            return None if row.closed_ms is None else row.closed_ms - row.started_ms

        assert [value(each) for each in all] == [value(each) for each in one]


@pytest.mark.parametrize("order", ["ORDER BY a", "ORDER BY a DESC", "ORDER BY b DESC"])
def test_values_of_all_types_have_one_order(asked: tuple[Rows, list[Rows]], order: str) -> None:
    whole, parts = asked

    def values(parts: list[Rows], limit: int) -> list[Any]:
        name = order.split()[2]
        shown = []
        for run_id in listed(parts, order, limit):
            found = whole.connection.execute(
                "SELECT value FROM attributes JOIN runs USING (run) WHERE run_id = ? AND name = ?",
                (run_id, name),
            ).fetchone()
            shown.append(None if found is None else found[0])
        return shown

    assert values(parts, 4) == values([whole], 100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GROUP BY status",
        "GROUP BY workflow, status",
        "GROUP BY a",
        "SELECT avg(duration), max(started), min(events), count() GROUP BY workflow",
        "SELECT avg(duration) WHERE status = 'terminated'",
    ],
)
def test_counts_are_those_of_all_runs(asked: tuple[Rows, list[Rows]], text: str) -> None:
    whole, parts = asked
    query = parsed(text, 0, "count: query")
    assert count(parts, query, "count") == count([whole], query, "count")


def test_a_cursor_is_of_these_partitions(asked: tuple[Rows, list[Rows]]) -> None:
    whole, parts = asked
    query = parsed("", 0, "list: query")
    cursor = find(parts, query, 5, None, "list").cursor
    for others in ([whole], parts[:2], [*parts[1:], parts[0]]):
        with pytest.raises(InvalidArgument, match="it is that of another query"):
            find(others, query, 5, cursor, "list")


def test_rows_are_read_while_they_are_written(tmp_path: Path) -> None:
    written = open_rows(tmp_path, 2, "log")
    log = Log(written)
    log.take(turn("a/1", 0, started()))
    (read,) = read_rows(tmp_path)
    assert (read.partition, read.position) == (2, 2)
    log.take(turn("b/1", 0, started()))
    read.look()
    query = parsed("", 0, "list: query")
    assert read.position == 3
    assert [row.run_id for row in find([read], query, 5, None, "list").runs] == ["b/1", "a/1"]
    with pytest.raises(Exception, match="readonly"):
        read.drop()
    read.close()
    written.close()
    assert read_rows(tmp_path / "missing") == []
    (tmp_path / "runs-1.v1.sqlite").touch()  # its tables are about to be made
    assert [rows.partition for rows in read_rows(tmp_path)] == [2]
