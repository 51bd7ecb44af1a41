"""Levels: what each release added to the records, and which of it a record uses.

No record that was published ever gets, loses or changes a field, nor does a record inside one. What
is new is a new branch at the end of a union. So the bytes of a record depend on nothing but the
branches in it, and its level is the lowest one that has them all: a release that knows a later
level writes what an earlier one reads, as long as it uses nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from processor.codec.schemas.files import SchemaFile

__all__ = ("Measure", "branches_of", "measure_of")

Measure: TypeAlias = Callable[[Any], int]
"""Returns the level of a record."""

_Part: TypeAlias = Callable[[Sequence[Any], set[type[Any]]], int]
"""Returns the level of the values of one field, and notes which classes have nothing new.

Nearly all that is met is of such classes.
"""

Place: TypeAlias = tuple[str, str]
"""A record and its field."""


def branches_of(schema: SchemaFile) -> dict[Place, list[str]]:
    """Return the branches of each union, by the record and the field that has it."""
    found = {}
    for full_name, named in schema.named.items():
        for field in named.get("fields", ()):
            branches = _union(field["type"])
            if branches is not None:
                found[full_name, field["name"]] = [_short(branch) for branch in branches]
    return found


def measure_of(current: SchemaFile, earlier: Sequence[SchemaFile]) -> Measure | None:
    """Return what tells the level of a record; None where all of them are of the first one.

    ``earlier`` are the same schema at the levels before, the first one first.
    """
    now = branches_of(current)
    known = [branches_of(schema) for schema in earlier]
    levels = [schema.level for schema in (*earlier, current)]
    added: dict[Place, dict[str, int]] = {}
    for place, branches in now.items():
        # A record that came later is counted by its own branch, and so is what it came with.
        first = next((each[place] for each in known if place in each), branches)
        for index in range(len(first), len(branches)):
            before = sum(index >= len(each.get(place, ())) for each in known)
            added.setdefault(place, {})[branches[index]] = levels[before]
    if not added:
        return None
    return _Measures(current.named, added, levels[0]).measure(current.name)


class _Measures:
    """Makes the functions that look for branches which were added; others are never visited."""

    def __init__(
        self, named: Mapping[str, Any], added: Mapping[Place, Mapping[str, int]], first: int
    ) -> None:
        self._named = named
        self._added = added
        self._first = first
        self._made: dict[str, Measure] = {}

    def measure(self, full_name: str) -> Measure:
        """Return what tells the level of a record, of which all branches are in that level."""
        known = self._made.get(full_name)
        if known is not None:
            return known
        ones: list[tuple[str, set[type[Any]], _Part]] = []
        arrays: list[tuple[str, set[type[Any]], _Part]] = []
        first = self._first

        def measured(record: Any) -> int:
            most = first
            for attribute, plain, part in ones:
                value = getattr(record, attribute)
                if type(value) not in plain:
                    most = max(most, part((value,), plain))
            for attribute, plain, part in arrays:
                values = getattr(record, attribute)
                if not plain.issuperset(map(type, values)):
                    most = max(most, part(values, plain))
            return most

        self._made[full_name] = measured
        for field in self._named[full_name].get("fields", ()):
            part = self._field(full_name, field)
            if part is not None:
                parts = arrays if _is_array(field["type"]) else ones
                parts.append((field["name"], set(), part))
        return measured

    def _field(self, full_name: str, field: Any) -> _Part | None:
        added = self._added.get((full_name, field["name"]), {})
        if not added and not self._reaches(field["type"], set()):
            return None
        inner = {
            _short(name): self.measure(name)
            for name in self._records(field["type"])
            if self._reaches(name, set())
        }
        first = self._first

        def measured(values: Sequence[Any], plain: set[type[Any]]) -> int:
            most = first
            for each in values:
                name = type(each).__name__
                level = added.get(name, first)
                if name in inner:
                    level = max(level, inner[name](each))
                elif level == first:
                    plain.add(type(each))
                most = max(most, level)
            return most

        return measured

    def _reaches(self, type: Any, seen: set[str]) -> bool:
        """Return whether a record of this type may hold a branch that was added."""
        for name in self._records(type):
            if name in seen:
                continue
            seen.add(name)
            for field in self._named[name].get("fields", ()):
                if (name, field["name"]) in self._added or self._reaches(field["type"], seen):
                    return True
        return False

    def _records(self, type: Any) -> Iterator[str]:
        """Yield the names of the records in a field's type."""
        if isinstance(type, list):
            for branch in type:
                yield from self._records(branch)
        elif _is_array(type):
            yield from self._records(type["items"])
        elif isinstance(type, dict) and type["type"] == "record":
            yield type["name"]
        elif isinstance(type, str) and self._named.get(type, {}).get("type") == "record":
            yield type


def _is_array(type: Any) -> bool:
    return isinstance(type, dict) and type["type"] == "array"


def _union(type: Any) -> list[Any] | None:
    """Return the branches of a union, also of one whose values stand in an array."""
    if _is_array(type):
        return _union(type["items"])
    return type if isinstance(type, list) else None


def _short(branch: Any) -> str:
    name: str = branch["name"] if isinstance(branch, dict) else branch
    return name.rpartition(".")[2]
