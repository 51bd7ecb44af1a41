"""What is asked of the rows of a partition: pages of runs, and counts."""

from __future__ import annotations

import json
import sqlite3
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from processor.attributes import decode, to_plain
from processor.errors import InvalidArgument, ProcessorError
from processor.views.answers import Found, RunCount, RunGroup
from processor.views.comparisons import NamedField
from processor.views.fold import Row
from processor.views.language import Figure, Query
from processor.views.rows import Rows, row_of
from processor.views.schema import COLUMNS
from processor.views.schema import shown as shown_attribute
from processor.views.words import Column, moment

__all__ = ("count", "find", "view_of")

_SECONDS_MAX: Final = 10.0
_GROUPS_MAX: Final = 1_000
_OPERATIONS: Final = 2_000
_DEFAULT: Final = Column("r.started_ms", "time")
_COUNTED: Final = {"r.status", "r.workflow"}
_DRIVING: Final = "r.run IN (SELECT a.run FROM attributes a WHERE a.name "
_PROBING: Final = "EXISTS (SELECT 1 FROM attributes a WHERE a.run = r.run AND +a.name "
"""Two ways to find runs by an attribute. Where many fit, it is less work to go through the runs
in their order, and to look at the attribute of each (``+`` keeps SQLite from going through the
values for each run); where few do, to begin with the attribute.
"""
_LITTLE: Final = 100_000
"""Steps of SQLite's machine, some milliseconds: after so many, few runs fit."""
_SINGLE: Final = "'b', 'n', 't', 'd'"


class _Place(NamedTuple):
    """Where a page ended: ``valued`` runs have a value to be ordered by, and come first."""

    valued: bool
    value: Any
    run: int


# --- pages ------------------------------------------------------------------------------------


def find(rows: Rows, query: Query, limit: int, cursor: str | None, what: str) -> Found:
    """Return a page of the runs that fit. ``InvalidArgument`` for a cursor of another query."""
    if query.groups or query.figures:
        raise InvalidArgument(
            f"{what}: a list has no GROUP BY and no SELECT: count them (client.count, "
            "`processor count`)"
        )
    place = None if cursor is None else _place_in(cursor, query, rows, what)
    found: list[tuple[Any, ...]] = []
    with rows.lock, _Bounded(rows.connection, what) as bounded:
        if place is None or place.valued:
            found += _page(bounded, query, True, place, limit + 1)
            place = None
        if len(found) <= limit and _may_be_without(query):
            found += _page(bounded, query, False, place, limit + 1 - len(found))
        unknown = _unknown(rows.connection, query)
    shown = found[:limit]
    last = None
    if len(found) > limit:
        number, *_, value, valued = shown[-1]
        last = _cursor_of(query, rows, _Place(bool(valued), value, number))
    return Found(
        tuple(row_of(each[: len(COLUMNS)]) for each in shown), last, rows.partition, unknown
    )


def _may_be_without(query: Query) -> bool:
    return query.order is not None and (query.order.column is None or query.order.column.nullable)


def _page(
    bounded: _Bounded, query: Query, valued: bool, place: _Place | None, limit: int
) -> list[tuple[Any, ...]]:
    columns = ", ".join(f"r.{name}" for name in COLUMNS)
    down = " DESC" if query.descending else ""
    sign = "<" if query.descending else ">"
    order, parameters = query.order, list(query.parameters)
    tables, where, value = "runs r", query.where, "NULL"
    if order is not None and order.column is None:
        if valued:
            tables, value = "attributes o CROSS JOIN runs r ON r.run = o.run", "o.value"
            where = f"o.name = ? AND o.kind IN ({_SINGLE}) AND {where}"
            parameters.insert(0, order.name)
        else:
            without = f"SELECT a.run FROM attributes a WHERE a.name = ? AND a.kind IN ({_SINGLE})"
            where = f"{where} AND r.run NOT IN ({without})"
            parameters.append(order.name)
    else:
        column = _DEFAULT if order is None or order.column is None else order.column
        value = column.sql if valued else "NULL"
        if column.nullable:
            where += f" AND {column.sql} IS {'NOT ' if valued else ''}NULL"
    number = "o.run" if tables != "runs r" else "r.run"
    if place is not None and valued:
        where += f" AND ({value}, {number}) {sign} (?, ?)"
        parameters += [place.value, place.run]
    elif place is not None:
        where += f" AND r.run {sign} ?"
        parameters.append(place.run)
    ordered = f"{value}{down}, {number}{down}" if valued else f"r.run{down}"
    selected = f"SELECT {columns}, {value}, {int(valued)} FROM {tables} WHERE "
    sql, given = f"{selected}{where} ORDER BY {ordered} LIMIT ?", (*parameters, limit)
    if _DRIVING in where:
        found = bounded.at_once(sql.replace(_DRIVING, _PROBING), given)
        if found is not None:
            return found
    return bounded.all(sql, given)


# --- counts -----------------------------------------------------------------------------------


def count(rows: Rows, query: Query, what: str) -> RunCount:
    """Return how many runs fit, in all and in each group, with the figures that are selected."""
    if query.order is not None:
        raise InvalidArgument(f"{what}: a count has no ORDER BY: the largest group comes first")
    with rows.lock, _Bounded(rows.connection, what) as bounded:
        ((total, *figures),) = _counted(bounded, query, ())
        groups = _counted(bounded, query, query.groups) if query.groups else []
        unknown = _unknown(rows.connection, query)
    if len(groups) > _GROUPS_MAX:
        raise InvalidArgument(
            f"{what}: there are more than {_GROUPS_MAX:,} groups: narrow the query, or group by a "
            "field with fewer values"
        )
    width = 2 * len(query.groups)
    told = [
        RunGroup(
            tuple(
                _grouped(each[2 * at], each[2 * at + 1], named)
                for at, named in enumerate(query.groups)
            ),
            each[width],
            _figures(query.figures, each[width + 1 :]),
        )
        for each in groups
    ]
    return RunCount(total or 0, tuple(told), _figures(query.figures, figures), unknown)


def _counted(
    bounded: _Bounded, query: Query, groups: Sequence[NamedField]
) -> list[tuple[Any, ...]]:
    named = {each.column.sql if each.column else "" for each in query.named}
    plain = named <= _COUNTED and all(each.column is None for each in query.figures)
    tables, parameters = ("counts r", []) if plain else ("runs r", list[Any]())
    counted = "sum(r.n)" if plain else "count(*)"
    keys: list[str] = []
    for number, each in enumerate(groups):
        if each.column is not None:
            keys += ["NULL", each.column.sql]
            continue
        of = f"g{number}"
        tables += f" LEFT JOIN attributes {of} ON {of}.run = r.run AND {of}.name = ?"
        parameters.append(each.name)
        keys += [f"{of}.kind", f"{of}.value"]
    figures = [
        counted if each.column is None else f"{each.function}({each.column.sql})"
        for each in query.figures
    ]
    sql = f"SELECT {', '.join([*keys, counted, *figures])} FROM {tables} WHERE {query.where}"
    if keys:
        by = ", ".join(key for key in keys if key != "NULL")
        sql += f" GROUP BY {by} HAVING {counted} > 0 ORDER BY {counted} DESC, {by}"
    return bounded.all(f"{sql} LIMIT {_GROUPS_MAX + 1}", (*parameters, *query.parameters))


def _grouped(kind: str | None, value: Any, named: NamedField) -> Any:
    if named.column is None:
        return shown_attribute(kind, value, moment)
    return _of_column(named.column, value)


def _figures(figures: Sequence[Figure], values: Sequence[Any]) -> dict[str, Any]:
    return {
        each.text: value or 0 if each.column is None else _of_column(each.column, value)
        for each, value in zip(figures, values, strict=True)
    }


def _of_column(column: Column, value: Any) -> Any:
    if value is None:
        return None
    match column.kind:
        case "time":
            return moment(round(value * 1_000))
        case "duration":
            return value / 1_000
        case _:
            return value


# --- what both need ---------------------------------------------------------------------------


class _Bounded:
    """Ends the queries on a connection once all together have taken too long."""

    def __init__(self, connection: sqlite3.Connection, what: str) -> None:
        self._connection = connection
        self._what = what
        self._end = time.monotonic() + _SECONDS_MAX

    def __enter__(self) -> _Bounded:
        return self

    def all(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return what a query finds. ``ProcessorError`` where it takes too long."""
        self._connection.set_progress_handler(lambda: time.monotonic() > self._end, _OPERATIONS)
        return self._connection.execute(sql, parameters).fetchall()

    def at_once(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]] | None:
        """Return what a query finds with little work, None where that is not enough."""
        self._connection.set_progress_handler(lambda: True, _LITTLE)
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._connection.set_progress_handler(None, 0)
        if isinstance(error, sqlite3.OperationalError) and "interrupted" in str(error):
            raise ProcessorError(
                f"{self._what}: the query took longer than {_SECONDS_MAX:g} s: narrow it, by "
                "status, workflow or started for example"
            ) from error


def _unknown(connection: sqlite3.Connection, query: Query) -> tuple[str, ...]:
    """Return the names in a query that no run has as an attribute."""
    names = sorted(each.name for each in query.named if each.column is None)
    found = "SELECT 1 FROM attributes WHERE name = ? LIMIT 1"
    return tuple(name for name in names if connection.execute(found, (name,)).fetchone() is None)


def _mark_of(query: Query, rows: Rows) -> str:
    made = f"{rows.built} {rows.partition} {query.text}"
    return sha256(made.encode()).hexdigest()[:16]


def _cursor_of(query: Query, rows: Rows, place: _Place) -> str:
    text = json.dumps([_mark_of(query, rows), *place])
    return urlsafe_b64encode(text.encode()).decode()


def _place_in(cursor: str, query: Query, rows: Rows, what: str) -> _Place:
    try:
        mark, valued, value, number = json.loads(urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{what}: cursor: no list of ours gave that: begin anew") from error
    fits = isinstance(valued, bool) and isinstance(number, int) and abs(number) < 1 << 63
    if mark != _mark_of(query, rows) or not fits or not isinstance(value, int | float | str | None):
        raise InvalidArgument(
            f"{what}: cursor: it is that of another query, or the list was made anew since: begin "
            "anew, without it"
        )
    return _Place(valued, value, number)


def view_of(row: Row, shard: int) -> dict[str, Any]:
    """Return a row as the JSON that descriptions are read from."""
    view: dict[str, Any] = {
        "workflow_id": row.workflow_id,
        "run_id": row.run_id,
        "workflow": row.workflow,
        "status": row.status.value,
        "started_ms": row.started_ms,
        "closed_ms": row.closed_ms,
        "events": row.events,
        "shard": shard,
        "attributes": to_plain(decode(row.attributes)),
        "problem": row.problem,
    }
    if row.parent_workflow_id is not None:
        view["parent"] = {"workflow_id": row.parent_workflow_id, "run_id": row.parent_run_id}
        view["root"] = {"workflow_id": row.root_workflow_id, "run_id": row.root_run_id}
    return view
