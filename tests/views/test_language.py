"""Queries: what they find among a few runs, and errors that show where they are wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processor.core.data.address import RunRef
from processor.core.nouns.run import (
    RunParked,
    WorkflowCompleted,
    WorkflowFailed,
)
from processor.errors import InvalidArgument
from processor.views.asking import count, find
from processor.views.language import parsed
from processor.views.rows import Rows, open_rows

from .runs import DOWN, Log, attempt, started, turn, upserted

NOW_MS = 1_800_000_000_000
"""2027-01-15T08:00:00Z"""

HOUR_MS = 3_600_000


def ago(hours: float) -> int:
    return NOW_MS - int(hours * HOUR_MS)


@pytest.fixture(scope="module")
def rows() -> Iterator[Rows]:
    rows = open_rows(None, 3, "log")
    log = Log(rows)
    log.take(
        turn("a/1", 0, started(customer="ada", sum=5), at=ago(9)),
        turn("b/1", 0, started(customer="bob", sum=12.5, tags=["new", "gift"]), at=ago(8)),
        turn("c/1", 0, started("ship", customer=7, urgent=True), at=ago(7)),
        turn("d/1", 0, started("ship", parent=RunRef("a", "a/1")), at=ago(6)),
        turn("e'\"ü%/1", 0, started("ship", note="x' OR '1'='1"), at=ago(5)),
        turn("a/1", 1, WorkflowCompleted(None), at=ago(4)),
        turn("b/1", 1, RunParked("bug", "ValueError", "", ""), at=ago(3)),
        turn("c/1", 1, WorkflowFailed(DOWN), at=ago(2)),
        turn("d/1", 1, upserted(due=datetime(2027, 1, 31, tzinfo=UTC), when="2027-02-01T00:00Z")),
        attempt("d/1", 1, 2),
    )
    yield rows
    rows.close()


def ids(rows: Rows, text: str) -> str:
    query = parsed(text, NOW_MS, "list: query")
    return "".join(row.workflow_id[0] for row in find((rows,), query, 50, None, "list").runs)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "edcba"),
        ("  ", "edcba"),
        ("status = 'running'", "ed"),
        ("status = 'Running' or status='PARKED'", "edb"),
        ("ExecutionStatus IN ('Completed', \"failed\")", "ca"),
        ("status != 'running'", "cba"),
        ("status NOT IN ('running', 'parked')", "ca"),
        ("workflow = 'ship' AND status = 'failed'", "c"),
        ("WorkflowType = 'ship' and not status = 'failed'", "ed"),
        ("`workflow` = 'ship' AND (status = 'failed' OR workflow_id = 'd')", "dc"),
        ("NOT (workflow = 'ship')", "ba"),
        ("NOT NOT workflow = 'order'", "ba"),
        ("workflow_id = 'a' OR workflow_id = 'b' AND status = 'running'", "a"),
        ("workflow_id > 'b'", "edc"),
        ("workflow_id BETWEEN 'b' AND 'c'", "cb"),
        ("workflow_id NOT BETWEEN 'b' AND 'c'", "eda"),
        ("workflow STARTS_WITH 'sh'", "edc"),
        ("workflow NOT STARTS_WITH 'sh'", "ba"),
        ("workflow STARTS_WITH ''", "edcba"),
        ("workflow CONTAINS 'rd'", "ba"),
        ("workflow NOT CONTAINS 'rd'", "edc"),
        ("workflow_id = 'e''\"ü%'", "e"),
        ('workflow_id = "e\'""ü%"', "e"),
        ("run_id = 'a/1'", "a"),
        ("started > now() - '7h'", "ed"),
        ("started >= now() - '7h'", "edc"),
        ("StartTime <= '2027-01-15T00:00:00Z'", "ba"),
        ("started <= '2027-01-15T00:00:00+01:00'", "a"),
        ("started BETWEEN now() - '8h' AND now() - '420m'", "cb"),
        ("closed IS NULL", "edb"),
        ("CloseTime IS NOT NULL", "ca"),
        ("closed > now() - '3h'", "c"),
        ("NOT closed > now() - '3h'", "edba"),
        ("closed != now() - '2h'", "a"),
        ("duration = '5h'", "ca"),
        ("duration > '05:00:00'", ""),
        ("ExecutionDuration >= '4h59m59.9s'", "ca"),
        ("duration < '1d'", "ca"),
        ("events = 2", "dcba"),
        ("HistoryLength >= 2.0", "dcba"),
        ("attempt = 1 AND shard = 3", "edcba"),
        ("parent_workflow_id = 'a'", "d"),
        ("ParentWorkflowId IS NULL", "ecba"),
        ("RootRunId = 'a/1'", "d"),
        ("problem IS NOT NULL", "db"),
        ("problem STARTS_WITH 'parked: bug'", "b"),
        ("TemporalReportedProblems CONTAINS 'it is down'", "d"),
        # attributes
        ("customer = 'ada'", "a"),
        ("customer != 'ada'", "cb"),
        ("NOT customer = 'ada'", "edcb"),
        ("customer = 7", "c"),
        ("customer IN ('ada', 'bob')", "ba"),
        ("customer NOT IN ('ada')", "cb"),
        ("customer IS NULL", "ed"),
        ("customer IS NOT NULL", "cba"),
        ("customer > 'ada'", "b"),
        ("customer STARTS_WITH 'b'", "b"),
        ("sum > 5", "b"),
        ("sum >= 5.0", "ba"),
        ("sum BETWEEN 4 AND 6", "a"),
        ("sum = '5'", ""),
        ("sum IN (5, 12.5)", "ba"),
        ("tags = 'new'", "b"),
        ("tags IN ('gift', 'x')", "b"),
        ("tags != 'new'", ""),
        ("tags STARTS_WITH 'gi'", "b"),
        ("tags > 'a'", ""),
        ("urgent = true", "c"),
        ("urgent = FALSE", ""),
        ("urgent = 1", ""),
        ("due > '2027-01-30T00:00:00Z'", "d"),
        ("due = '2027-01-31T01:00:00+01:00'", "d"),
        ("due > now()", "d"),
        ("due < now() + '10d'", ""),
        ("when = '2027-02-01T00:00Z'", "d"),
        ("note = 'x'' OR ''1''=''1'", "e"),
        ("`note` CONTAINS '''1'''", "e"),
        ("`Status` = 'x'", ""),
        ("nobody_has_it = 1", ""),
        # order
        ("ORDER BY started", "abcde"),
        ("ORDER BY StartTime DESC", "edcba"),
        ("status != 'running' ORDER BY workflow_id ASC", "abc"),
        ("ORDER BY closed", "acbde"),
        ("ORDER BY closed DESC", "caedb"),
        ("ORDER BY customer", "cabde"),
        ("ORDER BY customer DESC", "baced"),
        ("sum > 0 ORDER BY sum DESC", "ba"),
    ],
)
def test_what_a_query_finds(rows: Rows, text: str, found: str) -> None:
    assert ids(rows, text) == found


@pytest.mark.parametrize(
    ("text", "total", "groups", "figures"),
    [
        ("", 5, [], {}),
        ("status = 'running'", 2, [], {}),
        ("closed > now()", 0, [], {}),
        (
            "GROUP BY status",
            5,
            [("running", 2), ("completed", 1), ("failed", 1), ("parked", 1)],
            {},
        ),
        ("workflow = 'ship' GROUP BY status", 3, [("running", 2), ("failed", 1)], {}),
        (
            "GROUP BY workflow, ExecutionStatus",
            5,
            [
                ("ship", "running", 2),
                ("order", "completed", 1),
                ("order", "parked", 1),
                ("ship", "failed", 1),
            ],
            {},
        ),
        ("GROUP BY customer", 5, [(None, 2), (7, 1), ("ada", 1), ("bob", 1)], {}),
        ("tags IS NOT NULL GROUP BY tags", 1, [("gift", 1), ("new", 1)], {}),
        ("urgent IS NOT NULL GROUP BY urgent", 1, [(True, 1)], {}),
        ("due > now() GROUP BY due", 1, [(datetime(2027, 1, 31, tzinfo=UTC), 1)], {}),
        (
            "SELECT count(), avg(duration), max(started), min( events ) WHERE closed IS NOT NULL",
            2,
            [],
            {
                "count()": 2,
                "avg(duration)": 18_000.0,
                "max(started)": datetime.fromtimestamp(ago(7) / 1_000, UTC),
                "min( events )": 2,
            },
        ),
        ("SELECT max(duration) WHERE status = 'running'", 2, [], {"max(duration)": None}),
    ],
)
def test_what_a_count_says(
    rows: Rows, text: str, total: int, groups: list[Any], figures: dict[str, Any]
) -> None:
    found = count((rows,), parsed(text, NOW_MS, "count: query"), "count")
    assert found.count == total
    assert [(*each.values, each.count) for each in found.groups] == groups
    assert found.figures == figures


def test_figures_of_groups(rows: Rows) -> None:
    text = "SELECT max(duration), count() WHERE closed IS NOT NULL GROUP BY workflow"
    found = count((rows,), parsed(text, NOW_MS, "count: query"), "count")
    assert [(each.values, each.figures) for each in found.groups] == [
        (("order",), {"max(duration)": 18_000.0, "count()": 1}),
        (("ship",), {"max(duration)": 18_000.0, "count()": 1}),
    ]


def test_names_that_no_run_has_are_told(rows: Rows) -> None:
    query = parsed("custmer = 'ada' OR customer = 'ada' ORDER BY zip", NOW_MS, "list: query")
    assert find((rows,), query, 50, None, "list").unknown == ("custmer", "zip")


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("status == 'running'", 9, "a value has to stand here"),
        ("status 'running'", 8, "a comparison has to stand here"),
        ("status", 7, "a comparison has to stand here"),
        ("= 'running'", 1, "the name of a field has to stand here"),
        ("status = running", 10, "running is no value: put text in quotes: 'running'"),
        ("status = 'runing'", 10, "there is no status 'runing'"),
        ("status > 'running'", 8, "a status has no order"),
        ("Status = 'running'", 1, "there is no Status: write status"),
        ("workflowtype = 'x'", 1, "there is no workflowtype: write WorkflowType"),
        ("status = 'running' workflow = 'x'", 20, "'workflow' is too much: put AND or OR"),
        ("status = 'running' AND", 23, "the name of a field has to stand here"),
        ("(status = 'running'", 20, ") has to stand here, not the end"),
        ("status = 'running')", 19, "')' is too much"),
        ("status = 'running", 10, "end the text with the same quote"),
        ("status; DROP TABLE runs", 7, "it cannot be read from here"),
        ("workflow = 'a' -- b", 16, "'-' is too much"),
        ("workflow = 5", 12, "workflow is no number: write text in quotes"),
        ("workflow = NULL", 12, "nothing is equal to NULL: write IS NULL"),
        ("events = 'x'", 10, "events is no text: write a number"),
        ("events STARTS_WITH 'x'", 8, "events is no text"),
        ("events = 99999999999999999999", 10, "the number is too large"),
        ("events = -9223372036854775809", 10, "the number is too large"),
        ("events = 1e400", 10, "the number is too large"),
        (f"events = {'0' * 40}1", 10, "the number is too large"),
        ("started > 'noon'", 11, "'noon' is no time"),
        ("started > '2027-01-01'", 11, "has no time zone: end it with Z"),
        ("started > 5", 11, "started is no number: write a time"),
        ("duration > 5", 12, "duration is no number: write a duration"),
        ("duration > 'long'", 12, "'long' is no duration"),
        ("started > now() - 5", 19, "a duration has to stand here"),
        ("started > now - '2h'", 11, "now is no value"),
        ("customer IN ()", 14, "a value has to stand here"),
        ("customer IN ('a', 5)", 19, "the values are of several types"),
        ("customer CONTAINS 5", 19, "CONTAINS is for text"),
        ("customer NOT = 'x'", 14, "a comparison has to stand here"),
        ("customer BETWEEN 1 OR 2", 20, "AND has to stand here, not 'OR'"),
        ("customer IS 5", 13, "NULL has to stand here"),
        ("LIMIT 5", 1, "the name of a field has to stand here"),
        ("status = 'failed' LIMIT 5", 19, "there is no LIMIT: give limit="),
        ("GROUP BY a, b, c", 16, "it is grouped by more: two are the most"),
        ("GROUP status", 7, "BY has to stand here"),
        ("ORDER BY a, b", 11, "it is ordered by more"),
        ("ORDER BY status GROUP BY status", 17, "'GROUP' is too much"),
        ("SELECT status WHERE", 8, "it is no figure"),
        ("SELECT avg(workflow)", 12, "there is no avg of it"),
        ("SELECT avg(customer)", 12, "there is no avg of it"),
        ("`a", 1, "end the text with the same quote"),
        ("a\0b = 1", 2, "it cannot be read from here"),
        ("a = '\ud800'", 6, "it is no text of Unicode"),
        ("(" * 60 + "a = 1" + ")" * 60, 51, "it is nested deeper: 50 levels are the most"),
        ("NOT " * 60 + "a = 1", 201, "it is nested deeper: 50 levels are the most"),
        (" OR ".join(["a = 1"] * 201), 1801, "it has more conditions: 200 are the most"),
        (f"a IN ({', '.join(['1'] * 1_001)})", 3007, "the list has more values"),
        ("a = '" + "x" * 10_000 + "'", 10_001, "it has 10,006 characters: 10,000 are the most"),
        ("(" * 9_999, 51, "it is nested deeper"),
    ],
)
def test_an_error_shows_where_and_what_to_do(text: str, column: int, says: str) -> None:
    with pytest.raises(InvalidArgument) as wrong:
        parsed(text, NOW_MS, "list: query")
    message, shown, caret = str(wrong.value).split("\n")
    assert message.startswith("list: query: ")
    assert f"(column {column})" in message
    assert says.partition(": ")[0] in message and says.rpartition(": ")[2] in message
    at = caret.index("^") - 4
    assert caret.strip() == "^" and len(caret) < 80 and shown.isprintable()
    if text.isprintable() and column <= len(text) < 10_000:
        assert shown[4 + at] == text[column - 1]


def test_what_a_list_and_a_count_do_not_take(rows: Rows) -> None:
    with pytest.raises(InvalidArgument, match="a list has no GROUP BY"):
        ids(rows, "GROUP BY status")
    with pytest.raises(InvalidArgument, match="a count has no ORDER BY"):
        count((rows,), parsed("ORDER BY started", NOW_MS, "count"), "count")


FIELDS = ("status", "workflow", "closed", "customer", "tags", "`a b`", "duration", "sum", "due")
SIGNS = ("=", "!=", "<", ">=", "STARTS_WITH", "CONTAINS", "NOT STARTS_WITH", "IS NOT NULL OR a =")
VALUES = (
    "'ada'",
    '"failed"',
    "5",
    "-1.5",
    "TRUE",
    "now()",
    "now() - '2h'",
    "'2h'",
    "'\0'",
    "'ü💥%'",
)
ENDS = (
    "AND",
    "OR",
    "AND NOT",
    ") OR (",
    "GROUP BY",
    "ORDER BY",
    "SELECT",
    ";",
    "--",
    "'",
    "\0",
    "/*",
)


def _condition(made: random.Random) -> tuple[str, ...]:
    return made.choice(FIELDS), made.choice(SIGNS), made.choice(VALUES), made.choice(ENDS)


def test_whatever_is_written_is_a_query_or_an_error_that_says_where(rows: Rows) -> None:
    made = random.Random(7)
    before = rows.connection.total_changes
    queries, told = 0, list[str]()
    for _ in range(5_000):
        parts = [each for _ in range(made.randint(1, 4)) for each in _condition(made)]
        text = " ".join(parts[: made.randint(1, len(parts))])
        try:
            query = parsed(text, NOW_MS, "list: query")
            if query.groups or query.figures:
                count((rows,), query, "count")
            else:
                find((rows,), query, 50, None, "list")
            queries += 1
        except InvalidArgument as wrong:
            told.append(str(wrong))
    assert all(each.startswith(("list: ", "count: ")) for each in told)
    assert queries > 300 and rows.connection.total_changes == before


@pytest.mark.parametrize("value", [-(1 << 63), (1 << 63) - 1, (1 << 53) + 1, 1e300, -1.5e-7])
def test_each_number_that_an_attribute_may_have_is_found(value: float) -> None:
    rows = open_rows(None, 0, "log")
    Log(rows).take(turn("a/1", 0, started(n=value)), turn("b/1", 0, started(n=3)))
    for text in (f"n = {value!r}", f"n BETWEEN {value!r} AND {value!r}", f"n IN ({value!r}, 7)"):
        assert ids(rows, text) == "a", text
    assert ids(rows, "n = 00000000000000000000000000000003") == "b", "zeros before it say nothing"
    rows.close()


def test_equal_groups_are_ordered_whatever_their_values_are() -> None:
    rows = open_rows(None, 0, "log")
    values = ["b", 0, "", False, 1.5, "a", datetime(2027, 1, 1, tzinfo=UTC)]
    Log(rows).take(*(turn(f"{n}/1", 0, started(of=each)) for n, each in enumerate(values)))
    found = count((rows,), parsed("GROUP BY of", NOW_MS, "count: query"), "count")
    assert [each.values[0] for each in found.groups][-3:] == ["", "a", "b"]
    assert [each.count for each in found.groups] == [1] * len(values)
    rows.close()


def test_a_member_that_a_list_has_twice_is_counted_once() -> None:
    rows = open_rows(None, 0, "log")
    Log(rows).take(turn("a/1", 0, started(tags=["x", "y", "x"])))
    found = count((rows,), parsed("GROUP BY tags", NOW_MS, "count: query"), "count")
    assert [(*each.values, each.count) for each in found.groups] == [("x", 1), ("y", 1)]
    rows.close()


def test_an_average_of_many_late_times_is_no_overflow() -> None:
    rows, last = open_rows(None, 0, "log"), datetime(9999, 1, 1, tzinfo=UTC)
    Log(rows).take(turn("0/1", 0, started()))
    rows.connection.execute("UPDATE runs SET begins_ms = ?", (last.timestamp() * 1_000,))
    columns = [each[1] for each in rows.connection.execute("PRAGMA table_info(runs)")]
    same = ", ".join(each for each in columns if each not in ("run", "run_id"))
    rows.connection.execute(
        f"WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) "
        f"INSERT INTO runs (run_id, {same}) SELECT 'r' || i, {same} FROM runs, n"
    )
    text = "SELECT avg(begins), max(begins)"
    found = count((rows,), parsed(text, NOW_MS, "count: query"), "count")
    assert found.count == 40_001
    assert abs(found.figures["avg(begins)"] - last) < timedelta(seconds=1)
    rows.close()
