"""Comparisons of a query as SQL: each value is a parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NamedTuple

from processor.views.tokens import Token, Tokens
from processor.views.words import (
    Column,
    WrongValue,
    column_of,
    duration_ms,
    prefix_end,
    status_of,
    time_us,
)

__all__ = ("Comparisons", "NamedField", "Value")

_DIGITS_MAX: Final = 40


class NamedField(NamedTuple):
    """A field: a column of the run's own, or (None) a search attribute."""

    name: str
    column: Column | None


class Value(NamedTuple):
    """``kind`` is text, number, bool or time (microseconds since the epoch)."""

    kind: str
    value: Any
    at: int

    @property
    def text(self) -> str:
        return str(self.value)


@dataclass
class Comparisons(Tokens):
    """The part of the parser that reads fields and values, and compares them."""

    parameters: list[Any] = field(default_factory=list)
    named: set[NamedField] = field(default_factory=set)

    def _field(self) -> NamedField:
        token = self._next()
        if token.kind not in ("name", "quoted") or token.word:
            says = "the name of a field has to stand here"
            raise self._wrong(token.at, says, "write status, workflow, ...")
        column = self._told(lambda name: column_of(name, quoted=token.kind == "quoted"), token)
        found = NamedField(token.text, column)
        self.named.add(found)
        return found

    def _value(self) -> Value:
        token = self._next()
        match token.kind:
            case "text" | "text2":
                quote = "'" if token.kind == "text" else '"'
                return Value("text", token.text.replace(quote * 2, quote), token.at)
            case "number":
                return self._number(token)
            case "name" if token.word in ("TRUE", "FALSE"):
                return Value("bool", token.word == "TRUE", token.at)
            case "name" if token.text.lower() == "now" and self._now.text == "(":
                return self._moment(token)
            case "name" if token.word == "NULL":
                raise self._wrong(
                    token.at, "nothing is equal to NULL", "write IS NULL, or IS NOT NULL"
                )
            case "name" | "quoted":
                raise self._wrong(
                    token.at, f"{token.text} is no value", f"put text in quotes: '{token.text}'"
                )
            case _:
                raise self._wrong(
                    token.at, "a value has to stand here", "write 'TEXT', a number, now()"
                )

    def _number(self, token: Token) -> Value:
        value: float | None = None
        if len(token.text) <= _DIGITS_MAX:
            value = float(token.text) if set(token.text) & set(".eE") else int(token.text)
        fits = value is not None and (
            isfinite(value) if isinstance(value, float) else -(1 << 63) <= value < 1 << 63
        )
        if value is None or not fits:
            raise self._wrong(token.at, "the number is too large", "numbers have 64 bits")
        return Value("number", value, token.at)

    def _moment(self, token: Token) -> Value:
        self._want("(")
        self._want(")")
        at_ms = self.now_ms
        for sign, times in (("+", 1), ("-", -1)):
            if self._took(sign):
                by = self._next()
                if by.kind not in ("text", "text2"):
                    raise self._wrong(by.at, "a duration has to stand here", "write now() - '2h'")
                at_ms += times * self._told(duration_ms, by)
                break
        return Value("time", at_ms * 1_000, token.at)

    # --- SQL ----------------------------------------------------------------------------------

    def _has(self, named: NamedField) -> str:
        if named.column is not None:
            return f"({named.column.sql} IS NOT NULL)"
        self.parameters.append(named.name)
        return "(r.run IN (SELECT a.run FROM attributes a WHERE a.name = ?))"

    def _other(self, named: NamedField, sign: str, values: list[Value]) -> str:
        """Return the condition that a run has a value, and none that fits."""
        has = self._has(named)
        return f"({has} AND NOT {self._fits(named, sign, values, values[0].at)})"

    def _fits(self, named: NamedField, sign: str, values: list[Value], at: int) -> str:
        if named.column is None:
            return self._attribute(named.name, sign, values)
        column = named.column
        if column.kind == "status" and sign != "=":
            raise self._wrong(at, "a status has no order", "compare it with =, !=, IN, NOT IN")
        if sign in ("STARTS_WITH", "CONTAINS") and column.kind != "text":
            raise self._wrong(
                at, f"{named.name} is no text", "compare it with =, !=, <, >, BETWEEN"
            )
        found = [self._of_column(named.name, column, each) for each in values]
        test = self._test(column.sql, sign, found, values)
        return f"({column.sql} IS NOT NULL AND {test})" if column.nullable else test

    def _of_column(self, name: str, column: Column, given: Value) -> Any:
        """Return a value as a column of the run's own has it."""
        match column.kind, given.kind:
            case "status", "text":
                return self._told(status_of, given)
            case "time", "text":
                return self._told(time_us, given) / 1_000
            case "time", "time":
                return given.value / 1_000
            case "duration", "text":
                return self._told(duration_ms, given)
            case ("text", "text") | ("number", "number"):
                return given.value
            case _:
                raise self._wrong(given.at, f"{name} is no {given.kind}", f"write {column.example}")

    def _attribute(self, name: str, sign: str, values: list[Value]) -> str:
        """Return the condition that an attribute of any type that can be compared fits."""
        texts = sign in ("STARTS_WITH", "CONTAINS")
        if texts and values[0].kind != "text":
            raise self._wrong(values[0].at, f"{sign} is for text", f"write {sign} 'TEXT'")
        if len({each.kind for each in values}) > 1:
            raise self._wrong(
                values[1].at, "the values are of several types", "give values of one type"
            )
        self.parameters.append(name)
        kind, tests = values[0].kind, []
        plain = [int(each.value) if kind == "bool" else each.value for each in values]
        kinds = {"text": "'t', 'l'" if sign == "=" or texts else "'t'"}
        kinds |= {"number": "'n'", "bool": "'b'", "time": "'d'"}
        tests.append(f"a.kind IN ({kinds[kind]}) AND {self._test('a.value', sign, plain, values)}")
        if kind == "text" and not texts:
            times = [time for each in values if (time := _time_or_none(each.value)) is not None]
            if len(times) == len(values):
                tests.append(f"a.kind = 'd' AND {self._test('a.value', sign, times, values)}")
        test = " OR ".join(f"({each})" for each in tests)
        return f"(r.run IN (SELECT a.run FROM attributes a WHERE a.name = ? AND ({test})))"

    def _test(self, sql: str, sign: str, found: list[Any], values: list[Value]) -> str:
        if sign == "STARTS_WITH":
            end = prefix_end(found[0])
            self.parameters += found if end is None else [found[0], end]
            return f"{sql} >= ?" if end is None else f"({sql} >= ? AND {sql} < ?)"
        self.parameters += found
        match sign:
            case "CONTAINS":
                return f"(instr({sql}, ?) > 0)"
            case "BETWEEN":
                return f"({sql} >= ? AND {sql} <= ?)"
            case "=" if len(values) > 1:
                return f"({sql} IN ({', '.join('?' * len(found))}))"
            case _:
                return f"({sql} {sign} ?)"


def _time_or_none(text: str) -> int | None:
    try:
        return time_us(text)
    except WrongValue:
        return None
