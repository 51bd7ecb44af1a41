"""Whether every record that a release has ever written can still be read.

The official Avro package is the judge, because it is what other readers of the topics go by. Its
verdict does not say which field of which record is at fault, so this module looks for the places
itself, and the verdict stands where it finds none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ("Problem", "check")

Schema: TypeAlias = Any
"""A schema of the official package, which has no types of its own for mypy."""


@dataclass(frozen=True)
class Problem:
    """One reason why a schema cannot be used. ``record`` and ``field`` are empty where it has none.

    ``version`` is the published version whose records can no longer be read.
    """

    file: str
    reason: str
    record: str = ""
    field: str = ""
    version: str = ""

    def __str__(self) -> str:
        where = ".".join(part for part in (self.record, self.field) if part)
        since = f" (cannot read what version {self.version} wrote)" if self.version else ""
        return f"{self.file}: {where + ': ' if where else ''}{self.reason}{since}"


def check(directory: Path) -> list[Problem]:
    """Return what is wrong with the schemas of a directory; an empty list where nothing is.

    Each file is parsed, and each current one is compared with that of the same name in every
    directory of ``published``.
    """
    problems: list[Problem] = []
    current = _parse_all(directory, "", problems)
    published = directory / "published"
    versions = sorted(path for path in published.glob("*") if path.is_dir())
    if not versions:
        problems.append(
            Problem(published.name, f"no published version in {published}: nothing to compare with")
        )
    for version in versions:
        for file, old in _parse_all(version, version.name, problems).items():
            if file in current:
                problems += _compare(file, version.name, current[file], old)
            elif not (directory / file).exists():
                reason = "the schema was removed; records that were written with it are still read"
                problems.append(Problem(file, reason, version=version.name))
    return problems


def _parse_all(directory: Path, version: str, problems: list[Problem]) -> dict[str, Schema]:
    import avro.errors
    import avro.schema

    parsed = {}
    for path in sorted(directory.glob("*.avsc")):
        try:
            parsed[path.name] = avro.schema.parse(path.read_text(encoding="utf-8"))
        except (avro.errors.AvroException, json.JSONDecodeError, UnicodeDecodeError) as error:
            name = f"published/{version}/{path.name}" if version else path.name
            problems.append(Problem(name, f"it is not a valid Avro schema: {error}"))
    return parsed


def _compare(file: str, version: str, reader: Schema, writer: Schema) -> list[Problem]:
    if reader.fullname != writer.fullname:
        reason = f"the record was renamed to {reader.fullname}; old records are found by their name"
        return [Problem(file, reason, writer.name, version=version)]
    found = [
        Problem(file, reason, record, field, version)
        for record, field, reason in _differences(reader, writer, "", "", set())
    ]
    verdict = _verdict(reader, writer)
    if verdict and not found:
        found.append(Problem(file, verdict, writer.name, "", version))
    return list(dict.fromkeys(found))


def _verdict(reader: Schema, writer: Schema) -> str:
    """Return why the official package holds that ``reader`` cannot read it, or nothing."""
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

    checker: Any = ReaderWriterCompatibilityChecker  # Its constructor has no annotations.
    result = checker().get_compatibility(reader, writer)
    if result.compatibility is SchemaCompatibilityType.compatible:
        return ""
    return "; ".join(sorted(result.messages)) or "the schemas are incompatible"


Difference: TypeAlias = tuple[str, str, str]
"""Record, field, and reason."""


def _differences(
    reader: Schema, writer: Schema, record: str, field: str, seen: set[tuple[int, int]]
) -> Iterator[Difference]:
    """Find the places at fault. ``seen`` ends the recursion of recursive records."""
    if (id(reader), id(writer)) in seen:
        return
    seen.add((id(reader), id(writer)))
    if writer.type == "union":
        yield from _branches(reader, writer, record, field, seen)
    elif reader.type == "union":
        branch = _same_branch(reader, writer)
        if branch is None:
            yield record, field, f"no branch of the union reads {_name(writer)}"
        else:
            yield from _differences(branch, writer, record, field, seen)
    elif reader.type == writer.type == "record":
        if reader.fullname == writer.fullname:
            yield from _fields(reader, writer, seen)
        elif _verdict(reader, writer):
            yield record, field, f"the record changed from {writer.fullname} to {reader.fullname}"
    elif reader.type == writer.type == "enum":
        yield from _symbols(reader, writer, record, field)
    elif reader.type == writer.type == "array":
        yield from _differences(reader.items, writer.items, record, field, seen)
    elif _verdict(reader, writer):
        yield record, field, f"its type changed from {_name(writer)} to {_name(reader)}"


def _branches(
    reader: Schema, writer: Schema, record: str, field: str, seen: set[tuple[int, int]]
) -> Iterator[Difference]:
    for branch in writer.schemas:
        known = _same_branch(reader, branch) if reader.type == "union" else None
        if known is not None:
            yield from _differences(known, branch, record, field, seen)
        elif _verdict(reader, branch):
            if reader.type == "union":
                yield record, field, f"the branch {_name(branch)} was removed from the union"
            else:
                yield record, field, f"{_name(reader)} does not read {_name(branch)}, as it did"


def _same_branch(reader: Schema, writer: Schema) -> Schema | None:
    """Return the branch of a union that reads ``writer``: by name, or else by the verdict."""
    named = hasattr(writer, "fullname") and writer.type in ("record", "enum", "fixed")
    for branch in reader.schemas:
        if branch.type == writer.type and (not named or branch.fullname == writer.fullname):
            return branch
    return next((branch for branch in reader.schemas if not _verdict(branch, writer)), None)


def _fields(reader: Schema, writer: Schema, seen: set[tuple[int, int]]) -> Iterator[Difference]:
    old = {field.name: field for field in writer.fields}
    for field in reader.fields:
        aliases = field.props.get("aliases") or ()
        before = next((old[name] for name in (field.name, *aliases) if name in old), None)
        if before is not None:
            yield from _differences(field.type, before.type, reader.name, field.name, seen)
        elif not field.has_default:
            reason = "it was added without a default; give it one, or rename by an alias"
            yield reader.name, field.name, reason


def _symbols(reader: Schema, writer: Schema, record: str, field: str) -> Iterator[Difference]:
    if reader.props.get("default"):
        return
    for symbol in writer.symbols:
        if symbol not in reader.symbols:
            yield record, field, f"the symbol {symbol!r} was removed from the enum {reader.name}"


def _name(schema: Schema) -> str:
    if schema.type == "union":
        return "[" + ", ".join(_name(branch) for branch in schema.schemas) + "]"
    if schema.type in ("record", "enum", "fixed"):
        return f"{schema.type} {schema.name}"
    return str(schema.type)
