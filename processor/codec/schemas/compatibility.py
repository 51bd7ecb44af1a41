"""Whether what was published is still what it was: a level is never changed, only added to.

No record that was published ever gets, loses or changes a field, nor does a record inside one. What
is new is a new branch at the end of a union. So each current schema is held against the same file
of every level, and may differ in words (``doc``) and in branches at the end of a union.

The official Avro package parses every file and has a word too, because it is what other readers of
the topics go by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from processor.codec.schemas.files import published_levels

__all__ = ("Problem", "check", "problems_of_levels")

Json: TypeAlias = Any
Schema: TypeAlias = Any
"""A schema of the official package, which has no types of its own for mypy."""


_PRIMITIVE: Final = (*("null", "boolean", "int", "long", "float", "double", "bytes", "string"),)


@dataclass(frozen=True)
class Problem:
    """One reason why a schema cannot be used. ``record`` and ``field`` are empty where it has none.

    ``level`` is the published one that it contradicts, 0 for none.
    """

    file: str
    reason: str
    record: str = ""
    field: str = ""
    level: int = 0

    def __str__(self) -> str:
        where = ".".join(part for part in (self.record, self.field) if part)
        since = f" (level {self.level} is published)" if self.level else ""
        return f"{self.file}: {where + ': ' if where else ''}{self.reason}{since}"


def check(directory: Path) -> list[Problem]:
    """Return what is wrong with the schemas of a directory; an empty list where nothing is."""
    problems: list[Problem] = []
    current = _parse_all(directory, "", problems)
    levels = published_levels(directory)
    if not levels:
        where = directory / "published"
        problems.append(
            Problem(where.name, f"no published level in {where}: nothing to compare with")
        )
    before: set[str] = set()
    for number, (level, folder) in enumerate(levels, 1):
        files = {path.name for path in folder.glob("*.avsc")}
        if level != number:
            problems.append(Problem(f"published/{level}", f"level {number} is missing before it"))
            break
        for file in sorted(before - files):
            reason = f"it is not among the schemas of level {level}, but of the level before"
            problems.append(Problem(f"published/{level}/{file}", reason))
        before = files
        for file, old in _parse_all(folder, f"published/{level}/", problems).items():
            if file in current:
                problems += _compare(file, level, current[file], old)
            elif not (directory / file).exists():
                reason = "the schema was removed; records that were written with it are still read"
                problems.append(Problem(file, reason, level=level))
    return problems


def problems_of_levels(directory: Path) -> list[Problem]:
    """Return what keeps the schemas of a directory from being its next level."""
    return check(directory) if published_levels(directory) else []


@dataclass(frozen=True)
class _Parsed:
    """One file as plain JSON, and as the official package has it."""

    json: Json
    schema: Schema


def _parse_all(directory: Path, prefix: str, problems: list[Problem]) -> dict[str, _Parsed]:
    import avro.errors
    import avro.schema

    parsed = {}
    for path in sorted(directory.glob("*.avsc")):
        try:
            text = path.read_text(encoding="utf-8")
            parsed[path.name] = _Parsed(json.loads(text), avro.schema.parse(text))
        except (avro.errors.AvroException, ValueError, RecursionError) as error:
            problems.append(Problem(prefix + path.name, f"it is not a valid Avro schema: {error}"))
    return parsed


def _compare(file: str, level: int, now: _Parsed, then: _Parsed) -> list[Problem]:
    found = [
        Problem(file, reason, record, field, level)
        for record, field, reason in _changes(then.json, now.json, "", "", _defined(now.json))
    ]
    verdict = _verdict(now.schema, then.schema)
    if verdict and not found:
        found.append(Problem(file, verdict, then.schema.name, "", level))
    return list(dict.fromkeys(found))


def _verdict(reader: Schema, writer: Schema) -> str:
    """Return why the official package holds that ``reader`` cannot read it, or nothing."""
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

    checker: Any = ReaderWriterCompatibilityChecker  # Its constructor has no annotations.
    result = checker().get_compatibility(reader, writer)
    if result.compatibility is SchemaCompatibilityType.compatible:
        return ""
    return "; ".join(sorted(result.messages)) or "the schemas are incompatible"


Change: TypeAlias = tuple[str, str, str]
"""Record, field, and reason."""


def _defined(schema: Json) -> dict[str, Json]:
    """Return the records that a schema defines, by name."""
    if isinstance(schema, list):
        return {name: each for part in schema for name, each in _defined(part).items()}
    if not isinstance(schema, dict):
        return {}
    inner = [each["type"] for each in schema.get("fields", ())]
    found = _defined([*inner, schema.get("items")])
    return {schema["name"]: schema, **found} if schema["type"] == "record" else found


def _changes(
    then: Json, now: Json, record: str, field: str, defined: Mapping[str, Json]
) -> Iterator[Change]:
    """Yield what is not as it was; a named type is compared where it was defined.

    ``defined`` are the records that the schema of now defines: a definition may move.
    """
    if isinstance(then, dict) and isinstance(now, str):
        now = defined.get(now, now)
    if isinstance(then, list):
        yield from _branches(then, now, record, field, defined)
    elif not isinstance(then, dict):
        if _name(now) != then:
            yield record, field, f"its type changed from {then} to {_name(now)}"
    elif not isinstance(now, dict) or now.get("type") != then["type"]:
        yield record, field, f"its type changed from {_name(then)} to {_name(now)}"
    elif then["type"] == "record":
        yield from _record(then, now, record, field, defined)
    elif then["type"] == "enum":
        if then["symbols"] != now["symbols"]:
            yield record, field, f"the symbols of enum {then['name']} changed"
    elif then["type"] == "array":
        yield from _changes(then["items"], now["items"], record, field, defined)
    elif then != now:
        yield record, field, f"its type changed from {_name(then)} to {_name(now)}"


def _record(
    then: Json, now: Json, record: str, field: str, defined: Mapping[str, Json]
) -> Iterator[Change]:
    if _full_name(then) != _full_name(now):
        yield record, field, f"the record {_full_name(then)} became {_full_name(now)}"
        return
    name = then["name"]
    before = [each["name"] for each in then["fields"]]
    after = [each["name"] for each in now["fields"]]
    if before != after:
        for each in sorted({*before, *after} - ({*before} & {*after})):
            how = "was lost" if each in before else "was added"
            yield name, each, f"the field {how}; make a new record, at the end of a union"
        if sorted(before) == sorted(after):
            yield name, "", "the order of its fields changed"
        return
    for old, new in zip(then["fields"], now["fields"], strict=True):
        yield from _changes(old["type"], new["type"], name, old["name"], defined)
        if old.get("default", ...) != new.get("default", ...):
            yield name, old["name"], "its default changed"


def _full_name(schema: Json) -> str:
    return ".".join(filter(None, (schema.get("namespace"), schema["name"])))


def _branches(
    then: Json, now: Json, record: str, field: str, defined: Mapping[str, Json]
) -> Iterator[Change]:
    if not isinstance(now, list):
        yield record, field, f"the union became {_name(now)}"
        return
    for number, branch in enumerate(then):
        if number >= len(now) or _name(now[number]) != _name(branch):
            reason = f"the branch {_name(branch)} is not where it was; new ones go to the end"
            yield record, field, reason
            return
        yield from _changes(branch, now[number], record, field, defined)
    for branch in now[len(then) :]:
        if branch in _PRIMITIVE or (isinstance(branch, dict) and branch["type"] != "record"):
            yield record, field, f"the new branch {_name(branch)} is no record"


def _name(type: Json) -> str:
    if isinstance(type, list):
        return "[" + ", ".join(map(_name, type)) + "]"
    if isinstance(type, dict):
        return str(type.get("name") or type["type"])
    return str(type)
