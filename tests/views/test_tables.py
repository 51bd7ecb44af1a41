"""Tables of users: what their functions are told, and what is left of it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from examples.orders_per_hour import Hour, hour, orders_per_hour, sale
from processor import ApplicationError, InvalidArgument, ProcessorError, views, workflow
from processor.codec.payloads import JsonPayloads
from processor.codec.records import encode
from processor.core.nouns.run import WorkflowCompleted, WorkflowFailed
from processor.core.nouns.value import StatusSet, ValueSet
from processor.core.records.turn import Claim
from processor.policy import Status
from processor.testing import Environment
from processor.views.place import LogEntry
from processor.views.tables import stored
from processor.views.tables.pages import TableSearch, merged
from processor.views.tables.stored import TableRows, UserTables, read_tables

from .runs import DOWN, attempt, purged, snapshot, started, turn, upserted
from .test_kills import Killed, Killing


def kept(function: Any, folder: Path | None = None, partition: int = 0) -> TableRows:
    tables = UserTables({function.name: function}, JsonPayloads())
    return tables.open(function.name, folder, partition, "log", "test")


def entries(*records: Any) -> list[LogEntry]:
    return [LogEntry(offset, each, encode(each)) for offset, each in enumerate(records, 1)]


def rows_of(*parts: Any, prefix: str = "") -> dict[str, Any]:
    page = TableSearch("seen", "test", 1_000, prefix).of(*parts)
    return {row.key: row.value for row in page.rows}


def by_run(event: views.RunEvent) -> str:
    return event.workflow_id


@views.table("seen", key=by_run)
def seen(row: list[Any] | None, event: views.RunEvent) -> list[Any]:
    told: list[Any] = [event.number, type(event).__name__, dict(event.attributes)]
    match event:
        case views.RunBegan():
            told.append(event.arguments())
        case views.RunEnded():
            told += [event.status.value, event.failure, event.result()]
        case views.AttributesChanged():
            told.append(dict(event.before))
        case views.CustomStatusChanged():
            told.append(event.status())
        case views.ValueChanged():
            told += [event.name, event.value(int)]
    return [*(row or []), told]


def test_what_a_function_is_told() -> None:
    table = kept(seen)
    begun = turn("a/1", 0, started(customer="ada"), StatusSet(b'"paid"'))
    changed = turn("a/1", 2, upserted(customer="bob"), ValueSet("sum", b"5"))
    failed = turn("b/1", 1, WorkflowFailed(DOWN))
    table.take(entries(begun, changed))
    table.take(
        [
            LogEntry(4, turn("b/1", 0, started())),
            LogEntry(5, failed),
            LogEntry(6, turn("a/1", 4, WorkflowCompleted(b"[7]"))),
        ]
    )
    assert rows_of(table) == {
        "a": [
            [0, "RunBegan", {"customer": "ada"}, []],
            [1, "CustomStatusChanged", {"customer": "ada"}, "paid"],
            [2, "AttributesChanged", {"customer": "bob"}, {"customer": "ada"}],
            [3, "ValueChanged", {"customer": "bob"}, "sum", 5],
            [4, "RunEnded", {"customer": "bob"}, "completed", None, [7]],
        ],
        "b": [[0, "RunBegan", {}, []], [1, "RunEnded", {}, "failed", "Down", None]],
    }
    assert table.connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_what_is_no_event_is_passed_over() -> None:
    table = kept(seen)
    ghost = turn("g/1", 0, started(), epoch=-1)
    table.take(
        [
            LogEntry(0, Claim("x", "n", 1, 0)),
            LogEntry(1, ghost),
            LogEntry(2, turn("late/1", 7, StatusSet(b"1"))),
            LogEntry(3, turn("a/1", 0, started())),
            LogEntry(4, attempt("a/1", 1, 2)),
            LogEntry(5, snapshot("e/1", 9, StatusSet(b"8"))),
            LogEntry(6, turn("e/1", 10, StatusSet(b"9"))),
            LogEntry(7, purged("a/1")),
            LogEntry(8, None),
        ],
        20,
    )
    assert table.position == 20
    assert rows_of(table) == {
        "a": [[0, "RunBegan", {}, []]],
        "e": [[10, "CustomStatusChanged", {}, 9]],
    }


def test_a_row_is_dropped_and_a_record_is_taken_once() -> None:
    @views.table("open", key=by_run)
    def is_open(row: int | None, event: views.RunEvent) -> int | None:
        return None if isinstance(event, views.RunEnded) else (row or 0) + 1

    table = kept(is_open)
    records = entries(turn("a/1", 0, started(), StatusSet(None)), turn("b/1", 0, started()))
    table.take(records)
    table.take(records)
    assert rows_of(table) == {"a": 2, "b": 1}
    table.take([LogEntry(3, turn("a/1", 2, WorkflowCompleted(None)))])
    assert rows_of(table) == {"b": 1}


def fails_at(key: str) -> Callable[[Any, views.RunEvent], int]:
    def count(row: int | None, event: views.RunEvent) -> int:
        if event.workflow_id == key:
            raise ValueError("no such order")
        return (row or 0) + 1

    return count


def all_of_them(event: views.RunEvent) -> str:
    return "all"


def test_a_function_that_fails_stops_its_table_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = kept(views.table("seen", key=all_of_them)(fails_at("c")), tmp_path)
    records = [turn(f"{id}/1", 0, started(), StatusSet(None)) for id in "abcd"]
    table.take(entries(*records))
    assert table.position == 3, "behind the last record that it took"
    table.take(entries(*records))
    with pytest.raises(ProcessorError) as raised:
        rows_of(table)
    said = "stands still, at offset 3 of partition 0: ValueError: no such order (test_tables.py:"
    assert said in str(raised.value)
    assert "table seen stops at offset 3 of partition 0" in caplog.text
    (stopped,) = read_tables(tmp_path, "seen")
    assert stopped.error
    stopped.close()
    table.close()
    again = kept(views.table("seen", key=all_of_them)(fails_at("none")), tmp_path)
    again.take(entries(*records))
    assert rows_of(again) == {"all": 8}, "what it took before is not taken again"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (5, "it returns text of 1 to 500 characters, a list of such texts, or None, not 5"),
        ("", "it returns text of 1 to 500"),
        ("x" * 501, "it returns text of 1 to 500"),
        (["a", 5], "it returns text of 1 to 500 characters, a list of such texts, or None, not 5"),
        (["a", None], "it returns text of 1 to 500"),
        ({"a": 1}, "it returns text of 1 to 500"),
        ([f"{number}" for number in range(101)], "it returns 101 keys for one event, and 100 are"),
    ],
)
def test_a_wrong_key_stops_the_table(given: Any, says: str) -> None:
    table = kept(views.table("seen", key=lambda event: given)(lambda row, event: 1))
    table.take(entries(turn("a/1", 0, started())))
    assert says in table.error


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (None, {}),
        ("x" * 500, {"x" * 500: 1}),
        (["b", "a", "b"], {"a": 1, "b": 1}),
        (("a",), {"a": 1}),
        ({"a", "b"}, {"a": 1, "b": 1}),
        (frozenset("a"), {"a": 1}),
        ([], {}),
        ([f"{number:03}" for number in range(100)], {f"{number:03}": 1 for number in range(100)}),
    ],
)
def test_an_event_may_be_for_several_rows_each_once(given: Any, rows: dict[str, int]) -> None:
    @views.table("seen", key=lambda event: given)
    def count(row: int | None, event: views.RunEvent) -> int:
        return (row or 0) + 1

    table = kept(count)
    table.take(entries(turn("a/1", 0, started())))
    assert (table.error, rows_of(table)) == ("", rows)


def test_a_row_that_is_not_there_is_none_whatever_the_type_of_rows() -> None:
    @views.table("seen", key=by_run)
    def count(row: int, event: views.RunEvent) -> int:
        return (row or 0) + 1

    table = kept(count)
    table.take(entries(turn("a/1", 0, started(), StatusSet(b"1"))))
    assert (table.error, rows_of(table)) == ("", {"a": 2})


def test_a_function_with_a_third_parameter_is_told_for_which_row_it_is_called() -> None:
    @views.table("seen", key=lambda event: [event.workflow_id, "all"])
    def ids(row: list[str] | None, event: views.RunEvent, key: str) -> list[str]:
        return [*(row or []), f"{event.workflow_id} in {key}"]

    table = kept(ids)
    table.take(entries(turn("a/1", 0, started()), turn("b/1", 0, started())))
    assert rows_of(table) == {
        "a": ["a in a"],
        "all": ["a in all", "b in all"],
        "b": ["b in b"],
    }
    began = views.RunBegan(
        workflow_id="a", run_id="1", workflow="w", number=0, started=_AT, time=_AT,
        attributes={}, payload=None, payloads=JsonPayloads(),
    )  # fmt: skip
    assert ids([], began, "all") == ["a in all"], "it can be tested by itself"


def test_what_fails_for_one_row_of_an_event_changes_none_of_them() -> None:
    @views.table("seen", key=lambda event: ["first", event.workflow_id])
    def refuses(row: int | None, event: views.RunEvent, key: str) -> int:
        if key == "b":
            raise ValueError("no")
        return (row or 0) + 1

    table = kept(refuses)
    table.take(entries(turn("a/1", 0, started()), turn("b/1", 0, started())))
    assert "ValueError: no" in table.error
    assert [(row.key, row.value) for row in table.page("", None, None, 9)] == [
        ("a", b"1"),
        ("first", b"1"),
    ]


def test_rows_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    large = kept(views.table("seen", key=by_run)(lambda row, event: "x" * 200_000))
    large.take(entries(turn("a/1", 0, started())))
    assert "the row of 'a' has 200,002 bytes, and 100,000 are the most" in large.error
    monkeypatch.setattr(stored, "_ROWS_MAX", 3)
    many = kept(seen)
    many.take(entries(*(turn(f"{id}/1", 0, started()) for id in "abc")))
    assert not many.error
    many.take([LogEntry(9, turn("d/1", 0, started()))])
    assert "it has 4 rows of partition 0, and 3 are the most" in many.error


def test_another_version_is_folded_anew_and_other_code_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def count(row: int | None, event: views.RunEvent) -> int:
        return (row or 0) + 1

    def doubles(row: int | None, event: views.RunEvent) -> int:
        return (row or 0) + 2

    records = entries(turn("a/1", 0, started()), turn("b/1", 0, started()))
    first = kept(views.table("seen", key=all_of_them)(count), tmp_path)
    first.take(records)
    first.close()
    same = kept(views.table("seen", key=all_of_them)(count), tmp_path)
    assert (same.position, caplog.text) == (3, "")
    same.close()
    other = kept(views.table("seen", key=all_of_them)(doubles), tmp_path)
    assert other.position == 3
    assert "its function has changed since version 1 began" in caplog.text
    other.close()
    new = kept(views.table("seen", key=all_of_them, version=2)(doubles), tmp_path)
    assert new.position == 0
    new.take(records)
    assert rows_of(new) == {"all": 4}


def test_what_shards_have_is_one_row() -> None:
    def of(event: views.RunEvent) -> str:
        return str(event.attributes["customer"])

    first, second = (kept(views.table("seen", key=of)(_figures), None, each) for each in (0, 1))
    first.take(entries(turn("a/1", 0, started(customer="ada"), at=5)))
    second.take(
        entries(
            turn("b/1", 0, started(customer="ada"), at=3),
            turn("c/1", 0, started(customer="bob"), at=4),
        )
    )
    assert rows_of(first, second) == {
        "ada": {"runs": 2, "last": "a", "inner": {"n": 2}},
        "bob": {"runs": 1, "last": "c", "inner": {"n": 1}},
    }
    assert list(rows_of(first, second, prefix="b")) == ["bob"]
    pages, after = list[str](), None
    while True:
        page = TableSearch("seen", "test", 1, "", after).of(first, second)
        pages += [row.key for row in page.rows]
        after = page.after
        if after is None:
            break
    assert pages == ["ada", "bob"]


def _figures(row: dict[str, Any] | None, event: views.RunEvent) -> dict[str, Any]:
    count = (row or {"runs": 0})["runs"] + 1
    return {"runs": count, "last": event.workflow_id, "inner": {"n": count}}


@pytest.mark.parametrize(
    ("values", "how", "one"),
    [
        ([1, 2.5], {}, 3.5),
        ([3, 2], {"": "max"}, 3),
        ([{"a": 1}, {"b": 2, "a": 5}], {"a": "min"}, {"a": 1, "b": 2}),
        ([{"a": {"b": 1}}, {"a": {"b": 4}}], {"a.b": "max"}, {"a": {"b": 4}}),
        ([{"a": {"b": 1}}, {"a": {"b": 4, "c": 1}}], {"a": "latest"}, {"a": {"b": 4, "c": 1}}),
        (["x", "a"], {}, "a"),
        (["x", "a"], {"": "max"}, "x"),
        ([True, False], {}, False),
        ([None, 4], {}, 4),
        ([None, None], {}, None),
        ([[1], [2]], {}, [2]),
    ],
)
def test_how_rows_are_merged(values: list[Any], how: dict[str, str], one: Any) -> None:
    assert merged(values, how) == one


def test_rows_are_those_of_a_fresh_fold_wherever_it_is_killed(tmp_path: Path) -> None:
    def fold(table: TableRows, killed: bool) -> None:
        for first in range(0, len(records), 3):
            table.take(records[first : first + 3])

    records = entries(
        *(
            turn(f"{number % 5}/{number // 5}", first, *events, at=number)
            for number in range(15)
            for first, events in (
                (0, (started(customer="ada"), StatusSet(b"1"))),
                (2, (WorkflowCompleted(b"5"),)),
            )
        )
    )
    fresh = kept(seen)
    fold(fresh, False)
    assert len(rows_of(fresh)) == 5
    for step in Random(4).sample(range(40), 25):
        folder = tmp_path / str(step)
        table = kept(seen, folder)
        connection = table.connection
        table.connection = Killing(connection, step)  # type: ignore[assignment]
        with pytest.raises(Killed):
            fold(table, True)
        connection.close()
        again = kept(seen, folder)
        fold(again, False)
        assert rows_of(again) == rows_of(fresh), f"killed at statement {step}"
        again.close()


def test_a_file_of_something_else_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "table-seen-0.sqlite").write_bytes(b"this is no database at all" * 100)
    table = kept(seen, tmp_path)
    table.take(entries(turn("a/1", 0, started())))
    table.close()
    connection = sqlite3.connect(tmp_path / "table-seen-0.sqlite")
    connection.execute("UPDATE meta SET log = 'another'")
    connection.commit()
    connection.close()
    assert kept(seen, tmp_path).position == 0


def test_wrong_tables_are_refused() -> None:
    def fine(row: Any, event: Any) -> Any: ...

    async def late(row: Any, event: Any) -> Any: ...

    for how, says in (
        ({"name": "Orders"}, "small letters, digits and _"),
        ({"name": "a", "key": 5}, "key: give a function"),
        ({"name": "a", "version": 0}, "version: give a whole number from 1 on"),
        ({"name": "a", "merge": {"b": "avg"}}, "merge: 'b': give one of sum, min, max, latest"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            views.table(**{"key": by_run, **how})(fine)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="put it on a plain function"):
        views.table("a", key=by_run)(late)

    def four(row: Any, event: Any, key: str, more: Any) -> Any: ...

    class CallableObject:
        def __call__(self, row: Any, event: Any) -> Any: ...

    with pytest.raises(InvalidArgument, match="put it on a plain function"):
        views.table("a", key=by_run)(CallableObject())
    for wrong in (lambda row: row, four):
        with pytest.raises(InvalidArgument, match="two parameters, row and event, or a third one"):
            views.table("a", key=by_run)(wrong)
    with pytest.raises(InvalidArgument, match="two tables are named 'seen'"):
        Environment(views=[seen, views.table("seen", key=by_run)(fine)])
    with pytest.raises(InvalidArgument, match=r"fine.* is no table: put @views.table"):
        Environment(views=[fine])


@workflow.define
async def fails() -> None:
    raise ApplicationError("no")


def test_the_example_in_virtual_time(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Environment([sale, fails], views=[orders_per_hour]) as env:
            for price in (5, 7, 0):
                try:
                    await env.run(sale, "lamp", price)
                except ProcessorError:
                    assert not price
            await env.sleep(3600)
            await env.run(sale, "desk", 1)
            first, second = [row async for row in env.view("orders_per_hour")]
            assert first.value == {
                "begun": 3, "completed": 2, "failed": 1, "earned": 12, "longest_s": 0.0,
            }  # fmt: skip
            assert second.value["earned"] == 1
            assert [row.key async for row in env.view("orders_per_hour", limit=1)] == [first.key]
            found = [row async for row in env.view("orders_per_hour", prefix=second.key)]
            assert found == [second]
            with pytest.raises(InvalidArgument, match=r"no table 'none' here \(orders_per_hour\)"):
                [row async for row in env.view("none")]

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert not caplog.records


def test_a_table_is_a_function() -> None:
    """So that it can be tested by itself."""
    now = views.RunEnded(
        workflow_id="a", run_id="1", workflow="sale", number=1, started=_AT, time=_AT,
        attributes={}, status=Status.COMPLETED, payload=b"5", payloads=JsonPayloads(),
    )  # fmt: skip
    assert orders_per_hour(Hour(begun=1), now) == Hour(begun=1, completed=1, earned=5)
    assert hour(now) == "1970-01-01T00"


_AT = datetime(1970, 1, 1, tzinfo=UTC)
