"""The language of lists and counts: text in, SQL with parameters out.

    [SELECT count(), avg(duration) WHERE] CONDITION [GROUP BY A, B] [ORDER BY A [ASC|DESC]]

    CONDITION   = CONDITION OR CONDITION | CONDITION AND CONDITION | NOT CONDITION | (CONDITION)
                | FIELD = VALUE            = != < <= > >=
                | FIELD [NOT] IN (VALUE, ...) | FIELD [NOT] BETWEEN VALUE AND VALUE
                | FIELD [NOT] STARTS_WITH 'TEXT' | FIELD [NOT] CONTAINS 'TEXT'
                | FIELD IS [NOT] NULL
    VALUE       = 'TEXT' | NUMBER | TRUE | FALSE | now() [+|- 'DURATION']

Every value is a parameter, and every name either a column of ours or a parameter. What a run does
not have fits no comparison, and so not ``!=``; ``NOT`` is true wherever its condition is not. All
is bounded: the text, the conditions, and how deep they are nested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from processor.views.comparisons import Comparisons, NamedField, Value
from processor.views.words import COLUMNS, Column

__all__ = ("Figure", "Query", "parsed")

_DEPTH_MAX: Final = 50
_CONDITIONS_MAX: Final = 200
_VALUES_MAX: Final = 1_000
_GROUPS_MAX: Final = 2
_FIGURES: Final = ("count", "min", "max", "avg")

_COMPARISONS: Final = ("=", "!=", "<>", "<", "<=", ">", ">=")


class Figure(NamedTuple):
    """What is computed: ``avg`` of a column, say. ``count`` has none."""

    text: str
    function: str
    column: Column | None


@dataclass(frozen=True)
class Query:
    """A query, ready to be asked. ``where`` is SQL over ``runs r``, with its ``parameters``.

    ``named`` are the fields that it names. ``order`` None: the runs that began last come first.
    """

    text: str
    where: str = "1"
    parameters: tuple[Any, ...] = ()
    named: frozenset[NamedField] = frozenset()
    order: NamedField | None = None
    descending: bool = True
    groups: tuple[NamedField, ...] = ()
    figures: tuple[Figure, ...] = ()


def parsed(text: str, now_ms: int, what: str) -> Query:
    """Return what a text asks for; ``what`` names it in errors.

    ``InvalidArgument`` shows where it is wrong.
    """
    return _Parser(text, now_ms, what).query()


@dataclass
class _Parser(Comparisons):
    depth: int = 0
    conditions: int = 0

    # --- the whole ----------------------------------------------------------------------------

    def query(self) -> Query:
        self._read()
        figures = self._figures() if self._took("SELECT") else ()
        where = "1"
        if self._took("WHERE") or (
            self._now.kind != "end" and self._now.word not in ("GROUP", "ORDER")
        ):
            where = self._any()
        groups = self._group() if self._took("GROUP") else ()
        order, descending = self._order() if self._took("ORDER") else (None, True)
        if self._now.kind != "end":
            if self._now.word == "LIMIT":
                raise self._wrong(self._now.at, "there is no LIMIT", "give limit= (--limit)")
            raise self._wrong(
                self._now.at, f"{self._shown} is too much", "put AND or OR before a condition"
            )
        named = frozenset(self.named)
        rest = order, descending, groups, figures
        return Query(self.text, where, tuple(self.parameters), named, *rest)

    def _figures(self) -> tuple[Figure, ...]:
        found = []
        while True:
            token = self._next()
            function = token.text.lower()
            if token.kind != "name" or function not in _FIGURES:
                raise self._wrong(
                    token.at, "it is no figure", "write count(), or min, max, avg of a field"
                )
            self._want("(")
            column = None
            if function != "count":
                at = self._now.at
                column = self._field().column
                if column is None or column.kind in ("text", "status"):
                    numbers = [
                        name
                        for name, each in COLUMNS.items()
                        if each.kind not in ("text", "status")
                    ]
                    raise self._wrong(
                        at, f"there is no {function} of it", f"there is of {', '.join(numbers)}"
                    )
            end = self._want(")")
            found.append(Figure(self.text[token.at : end.at + 1], function, column))
            if not self._took(","):
                return tuple(found)

    def _group(self) -> tuple[NamedField, ...]:
        self._want("BY")
        found = [self._field()]
        while self._took(","):
            found.append(self._field())
            if len(found) > _GROUPS_MAX:
                raise self._wrong(
                    self.tokens[self.at - 1].at, "it is grouped by more", "two are the most"
                )
        return tuple(found)

    def _order(self) -> tuple[NamedField, bool]:
        self._want("BY")
        found = self._field()
        descending = self._took("DESC")
        if not descending:
            self._took("ASC")
        if self._now.text == ",":
            raise self._wrong(self._now.at, "it is ordered by more", "one field is the most")
        return found, descending

    # --- conditions ---------------------------------------------------------------------------

    def _any(self) -> str:
        parts = [self._all()]
        while self._took("OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"

    def _all(self) -> str:
        parts = [self._one()]
        while self._took("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else f"({' AND '.join(parts)})"

    def _one(self) -> str:
        self.depth += 1
        if self.depth > _DEPTH_MAX:
            raise self._wrong(
                self._now.at, "it is nested deeper", f"{_DEPTH_MAX} levels are the most"
            )
        if self._took("NOT"):
            found = f"(NOT {self._one()})"
        elif self._took("("):
            found = self._any()
            self._want(")")
        else:
            found = self._condition()
        self.depth -= 1
        return found

    def _condition(self) -> str:
        self.conditions += 1
        if self.conditions > _CONDITIONS_MAX:
            raise self._wrong(
                self._now.at, "it has more conditions", f"{_CONDITIONS_MAX} are the most"
            )
        named = self._field()
        if self._took("IS"):
            has = self._took("NOT")
            self._want("NULL")
            return self._has(named) if has else f"(NOT {self._has(named)})"
        no = self._took("NOT")
        token = self._next()
        if token.text in _COMPARISONS and not no:
            sign = "!=" if token.text == "<>" else token.text
            if sign == "!=":
                return self._other(named, "=", [self._value()])
            return self._fits(named, sign, [self._value()], token.at)
        values: list[Value]
        if token.word == "IN":
            sign, values = "=", self._values()
        elif token.word == "BETWEEN":
            low = self._value()
            self._want("AND")
            sign, values = "BETWEEN", [low, self._value()]
        elif token.word in ("STARTS_WITH", "CONTAINS"):
            sign, values = token.word, [self._value()]
        else:
            raise self._wrong(
                token.at,
                "a comparison has to stand here",
                "write =, !=, <, <=, >, >=, IN, BETWEEN, STARTS_WITH, CONTAINS, IS NULL",
            )
        return self._other(named, sign, values) if no else self._fits(named, sign, values, token.at)

    def _values(self) -> list[Value]:
        self._want("(")
        found = [self._value()]
        while self._took(","):
            found.append(self._value())
            if len(found) > _VALUES_MAX:
                raise self._wrong(
                    found[-1].at, "the list has more values", f"{_VALUES_MAX:,} are the most"
                )
        self._want(")")
        return found
