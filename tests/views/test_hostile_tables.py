"""Functions of tables may do what they like: a table stops, says where, and nothing else does."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processor import Client, InvalidArgument, Settings, ShardUnavailable, Worker, views, workflow
from processor.views.tables.pages import TableSearch
from processor.views.tables.stored import TableRows, read_tables
from processor.workflow._engine import watchdog

from .runs import started, turn
from .test_tables import by_run, entries, kept, rows_of


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it says nothing")


def raises(error: BaseException) -> Callable[[Any, views.RunEvent], int]:
    def row(row: Any, event: views.RunEvent) -> int:
        raise error

    return row


def for_ever(row: Any, event: views.RunEvent) -> int:
    while True:
        pass


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("half \ud800"), r"ValueError: half \ud800 (test_hostile_tables.py:"),
        (Mute(), "Mute: (its message cannot be made: __str__ raises RuntimeError) (test_host"),
        (SystemExit(3), "SystemExit: 3 (test_hostile_tables.py:"),
        (asyncio.CancelledError(), "CancelledError:  (test_hostile_tables.py:"),
        (BaseExceptionGroup("two", [KeyboardInterrupt()]), "BaseExceptionGroup: two"),
    ],
)
def test_whatever_is_raised_stops_the_table_alone(
    error: BaseException, says: str, tmp_path: Path
) -> None:
    table = kept(views.table("seen", key=by_run)(raises(error)), tmp_path)
    table.take(entries(turn("a/1", 0, started())))
    table.close()
    (stopped,) = read_tables(tmp_path, "seen")
    assert stopped.error.startswith(f"at offset 1 of partition 0: {says}")
    stopped.close()


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (
            "x",
            "SchemaMismatch: the value does not fit int | None: Expected `int | null`, got `str`",
        ),
        (1.5, "SchemaMismatch: the value does not fit int | None"),
        (math.nan, "SchemaMismatch: a value of type float cannot become JSON: JSON has no nan"),
    ],
)
def test_a_row_of_another_type_is_never_written(returned: Any, says: str) -> None:
    def row(row: int | None, event: views.RunEvent) -> int:
        return 1 if event.workflow_id == "a" else returned  # type: ignore[no-any-return]

    table = kept(views.table("seen", key=by_run)(row))
    table.take(entries(turn("a/1", 0, started()), turn("b/1", 0, started())))
    assert table.error.startswith(f"at offset 2 of partition 0: {says}")
    assert table.position == 2
    assert [row.key for row in table.page("", None, None, 9)] == ["a"]


def test_a_key_that_cannot_be_written_is_told() -> None:
    table = kept(views.table("seen", key=lambda event: "\ud800")(lambda row, event: 1))
    table.take(entries(turn("a/1", 0, started())))
    assert r"key: '\ud800' is no text that can be written" in table.error


def test_a_function_that_never_ends_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "INTERRUPT_S", 0.2)
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(watchdog, "_local", threading.local())
    table = kept(views.table("seen", key=by_run)(for_ever))
    table.take(entries(turn("a/1", 0, started())))
    assert "the function did not give control back for" in table.error
    assert "test_hostile_tables.py" in table.error
    assert "Let it do less for an event" in table.error


def test_many_short_calls_are_not_one_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "INTERRUPT_S", 0.2)
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(watchdog, "_local", threading.local())

    def works(row: int | None, event: views.RunEvent) -> int:
        ends = time.thread_time() + 0.03
        while time.thread_time() < ends:
            pass
        return (row or 0) + 1

    table = kept(views.table("seen", key=lambda event: "all")(works))
    table.take(entries(*(turn(f"{number}/1", 0, started()) for number in range(30))))
    assert (table.error, rows_of(table)) == ("", {"all": 30})


@workflow.define
async def order() -> None: ...


def test_a_function_that_waits_holds_up_no_lists(tmp_path: Path) -> None:
    begun, goes = threading.Event(), threading.Event()

    def waits(row: int | None, event: views.RunEvent) -> int:
        begun.set()
        goes.wait(60)
        return 1

    async def main() -> None:
        server, table = f"embedded:{tmp_path}", views.table("waits", key=by_run)(waits)
        async with (
            Worker(server, workflows=[order], views=[table]),
            Client(server, settings=Settings(request_timeout_s=60)) as client,
            Client(server, settings=Settings(request_timeout_s=0.5)) as hasty,
        ):
            await client.run(order, id="order-1")
            reading = asyncio.create_task(_read(client))
            await asyncio.to_thread(begun.wait, 60)
            found = [run.workflow_id async for run in client.list("status = 'completed'")]
            assert found == ["order-1"]
            with pytest.raises(ShardUnavailable):
                await _read(hasty)
            goes.set()
            assert await reading == {"order-1": 1}

    asyncio.run(main())


async def _read(client: Client) -> dict[str, Any]:
    return {row.key: row.value async for row in client.view("waits")}


def test_a_page_of_large_rows_is_short() -> None:
    table = kept(views.table("seen", key=by_run)(lambda row, event: "x" * 90_000))
    table.take(entries(*(turn(f"{number:03}/1", 0, started()) for number in range(60))))
    keys, after, pages = list[str](), None, 0
    while pages == 0 or after is not None:
        page = TableSearch("seen", "test", 1_000, "", after).of(table)
        keys += [row.key for row in page.rows]
        after, pages = page.after, pages + 1
    assert keys == [f"{number:03}" for number in range(60)]
    assert pages == 3, "2 MB are the most of a page"


def test_a_table_of_100_000_rows_is_read_in_pages() -> None:
    tables = [kept(views.table("seen", key=by_run)(lambda row, event: 1), None, n) for n in (0, 1)]
    for number, table in enumerate(tables):
        fill(table, range(number, 100_000, 2))
    began, keys, after = time.process_time(), list[str](), None
    while not keys or after is not None:
        page = TableSearch("seen", "test", 1_000, "", after).of(*tables)
        keys += [row.key for row in page.rows]
        after = page.after
    assert keys == [f"{number:06}" for number in range(100_000)]
    assert time.process_time() - began < 60


def fill(table: TableRows, numbers: range) -> None:
    table.connection.executemany(
        "INSERT INTO rows VALUES (?, 0, ?)", [(f"{number:06}", b"1") for number in numbers]
    )


def test_what_cannot_be_a_table_is_refused_where_it_is_written() -> None:
    def of_complex(row: complex, event: Any) -> Any: ...

    def of_missing(row: Missing, event: Any) -> Any: ...  # type: ignore[name-defined]  # noqa: F821

    def yields(row: Any, event: Any) -> Any:
        yield 1

    async def late(event: Any) -> str: ...

    def fine(row: int | None, event: Any) -> int: ...

    def makes(function: Any, **how: Any) -> None:
        views.table("a", **{"key": by_run, **how})(function)

    for function, says in (
        (of_complex, "the type of its row cannot be read .*complex"),
        (of_missing, "the type of its row cannot be read .*'Missing' is not defined"),
        (yields, "put it on a plain function"),
        (functools.partial(fine, 1), "put it on a plain function"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            makes(function)
    for how, says in (
        ({"key": late}, "key: give a function of an event"),
        ({"key": fine}, "key: give a function of an event"),
        ({"version": 2**63}, "version: give a whole number"),
        ({"merge": ["a"]}, "merge: give words by fields"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            makes(fine, **how)
