"""What is asked of the rows of partitions: pages of runs, and counts."""

from __future__ import annotations

import heapq
import json
import sqlite3
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import Any, Final, NamedTuple

from processor.attributes import decode, to_plain
from processor.errors import InvalidArgument, ProcessorError
from processor.views.answers import Found, RunCount, RunGroup
from processor.views.comparisons import NamedField
from processor.views.fold import Row
from processor.views.language import Query
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
_EXTREMES: Final[Mapping[str, Callable[[list[Any]], Any]]] = {"min": min, "max": max}


class _Place(NamedTuple):
    """Where a page ended: ``valued`` runs have a value to be ordered by, and come first."""

    valued: bool
    value: Any
    run: int


# --- pages ------------------------------------------------------------------------------------


def find(parts: Sequence[Rows], query: Query, limit: int, cursor: str | None, what: str) -> Found:
    """Return a page of the runs that fit, of all partitions together.

    ``InvalidArgument`` for a cursor of another query.
    """
    if query.groups or query.figures:
        raise InvalidArgument(
            f"{what}: a list has no GROUP BY and no SELECT: count them (client.count, "
            "`processor count`)"
        )
    places: list[_Place | None] = [None] * len(parts)
    if cursor is not None:
        places = _places_in(cursor, query, parts, what)
    end = time.monotonic() + _SECONDS_MAX
    pages, unknown = [], []
    for number, (rows, place) in enumerate(zip(parts, places, strict=True)):
        with rows.lock, _Bounded(rows.connection, what, end) as bounded:
            found = _ordered(bounded, query, place, limit + 1)
            unknown.append(_unknown(rows.connection, query))
        pages.append([(number, each) for each in found])
    merged = heapq.merge(*pages, key=partial(_key, query.descending), reverse=query.descending)
    shown = list(islice(merged, limit + 1))
    for number, (run, *_, value, valued) in shown[:limit]:
        places[number] = _Place(bool(valued), value, run)
    return Found(
        tuple(row_of(each[: len(COLUMNS)]) for _, each in shown[:limit]),
        tuple(parts[number].partition for number, _ in shown[:limit]),
        _cursor_of(query, parts, places) if len(shown) > limit else None,
        _in_all(unknown),
    )


def _ordered(
    bounded: _Bounded, query: Query, place: _Place | None, limit: int
) -> list[tuple[Any, ...]]:
    """Return runs of one partition in their order, those behind a place."""
    found: list[tuple[Any, ...]] = []
    if place is None or place.valued:
        found += _page(bounded, query, True, place, limit)
        place = None
    if len(found) < limit and _may_be_without(query):
        found += _page(bounded, query, False, place, limit - len(found))
    return found


def _key(descending: bool, entry: tuple[int, tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return what orders a run among those of other partitions, as SQLite orders values."""
    *_, value, valued = entry[1]
    first = bool(valued) if descending else not valued
    return first, isinstance(value, str), value if valued else 0


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


def count(parts: Sequence[Rows], query: Query, what: str) -> RunCount:
    """Return how many runs of all partitions fit, in all and in each group, with the figures that
    are selected.
    """
    if query.order is not None:
        raise InvalidArgument(f"{what}: a count has no ORDER BY: the largest group comes first")
    end = time.monotonic() + _SECONDS_MAX
    total, groups, unknown = _Sum(query), dict[tuple[Any, ...], _Sum](), []
    for rows in parts:
        with rows.lock, _Bounded(rows.connection, what, end) as bounded:
            total.add(*_counted(bounded, query, ()))
            found = _counted(bounded, query, query.groups) if query.groups else []
            unknown.append(_unknown(rows.connection, query))
        for each in found:
            values, figures = each[: 2 * len(query.groups)], each[2 * len(query.groups) :]
            groups.setdefault(values, _Sum(query)).add(figures)
        if max(len(found), len(groups)) > _GROUPS_MAX:
            raise InvalidArgument(
                f"{what}: there are more than {_GROUPS_MAX:,} groups: narrow the query, or group "
                "by a field with fewer values"
            )
    told = tuple(
        RunGroup(
            tuple(
                _grouped(values[2 * at], values[2 * at + 1], named)
                for at, named in enumerate(query.groups)
            ),
            each.count,
            each.figures(),
        )
        for values, each in sorted(groups.items(), key=lambda group: _rank(*group))
    )
    return RunCount(total.count, told, total.figures(), _in_all(unknown))


def _rank(values: tuple[Any, ...], each: _Sum) -> tuple[Any, ...]:
    """Return what orders groups: the largest first, then by their values as SQLite orders them."""
    ranked = [
        (value is not None, isinstance(value, str), 0 if value is None else value)
        for value in values
    ]
    return -each.count, *ranked


class _Sum:
    """A count and figures of several partitions together. An average is a sum and a count."""

    def __init__(self, query: Query) -> None:
        self.count = 0
        self._query = query
        self._parts: list[list[Any]] = [[] for _ in _asked(query)]

    def add(self, found: tuple[Any, ...]) -> None:
        self.count += found[0] or 0
        for values, value in zip(self._parts, found[1:], strict=True):
            if value is not None:
                values.append(value)

    def figures(self) -> dict[str, Any]:
        told, parts = {}, iter(self._parts)
        for each in self._query.figures:
            values = next(parts)
            match each.function:
                case "count":
                    told[each.text] = sum(values)
                    continue
                case "avg":
                    of = sum(next(parts))
                    value = sum(values) / of if of else None
                case function:
                    value = _EXTREMES[function](values) if values else None
            assert each.column is not None, f"{each.text} is of a column"
            told[each.text] = _of_column(each.column, value)
        return told


def _asked(query: Query) -> list[tuple[str, Column | None]]:
    """Return what each partition computes for the figures of a query."""
    asked: list[tuple[str, Column | None]] = []
    for each in query.figures:
        functions = ("total", "count") if each.function == "avg" else (each.function,)
        asked += [(function, each.column) for function in functions]
    return asked


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
        kind = f"iif({of}.kind = 'l', 't', {of}.kind)"  # text is text, also as a member of a list
        keys += [kind, f"{of}.value"]
    figures = [
        counted if column is None else f"{function}({column.sql})"
        for function, column in _asked(query)
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
    """Ends the queries on a connection at ``end``, in seconds of the monotonic clock."""

    def __init__(self, connection: sqlite3.Connection, what: str, end: float) -> None:
        self._connection = connection
        self._what = what
        self._end = end

    def __enter__(self) -> _Bounded:
        self._watch()
        return self

    def all(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return what a query finds. ``ProcessorError`` where it takes too long."""
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
        finally:  # SQLite counts the steps of all executions of a statement: none is safe from it
            self._watch()

    def _watch(self) -> None:
        self._connection.set_progress_handler(lambda: time.monotonic() > self._end, _OPERATIONS)

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


def _in_all(unknown: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the names that are unknown in each partition."""
    return tuple(name for name in unknown[0] if all(name in each for each in unknown))


def _mark_of(query: Query, parts: Sequence[Rows]) -> str:
    built = " ".join(f"{rows.built} {rows.partition}" for rows in parts)
    return sha256(f"{built} {query.text}".encode()).hexdigest()[:16]


def _cursor_of(query: Query, parts: Sequence[Rows], places: Sequence[_Place | None]) -> str:
    text = json.dumps([_mark_of(query, parts), *places])
    return urlsafe_b64encode(text.encode()).decode()


def _places_in(cursor: str, query: Query, parts: Sequence[Rows], what: str) -> list[_Place | None]:
    """Return where the page before ended in each partition; None: none of that was shown."""
    try:
        mark, *places = json.loads(urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidArgument(f"{what}: cursor: no list of ours gave that: begin anew") from error
    if (
        mark != _mark_of(query, parts)
        or len(places) != len(parts)
        or not all(map(_is_place, places))
    ):
        raise InvalidArgument(
            f"{what}: cursor: it is that of another query, or the list was made anew since: begin "
            "anew, without it"
        )
    return [None if place is None else _Place(*place) for place in places]


def _is_place(found: Any) -> bool:
    match found:
        case None:
            return True
        case [bool(), int() | float() | str() | None as value, int(number)]:
            return _can_be_given(value) and _can_be_given(number)
        case _:
            return False


def _can_be_given(value: float | str | None) -> bool:
    """Return whether SQLite takes a value as a parameter."""
    match value:
        case int():
            return -(1 << 63) <= value < 1 << 63
        case str():
            return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)
        case _:
            return True


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
