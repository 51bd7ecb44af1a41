"""The Avro schemas as files: levels, fingerprints, and whether they agree with the dataclasses.

``published/N/`` holds the schemas of level N as they were published; the files beside it are those
of the highest level. What is not published yet stands in the next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

__all__ = ("MAGIC", "SchemaFile", "disagreements", "load", "load_levels", "published_levels")

MAGIC: Final = b"\xc3\x01"
"""The two bytes that begin Avro's single-object encoding."""


@dataclass(frozen=True)
class SchemaFile:
    """One parsed schema.

    ``named`` has each record and enum in it by full name. ``header`` are the ten bytes that
    begin each record written with it: magic and CRC-64-AVRO fingerprint, little-endian.
    """

    path: Path
    level: int
    name: str
    parsed: Any
    named: Mapping[str, Any]
    header: bytes


def load(path: Path, level: int = 1) -> SchemaFile:
    """Read one schema file."""
    parsed: Any = parse_schema(json.loads(path.read_text(encoding="utf-8")))
    digits = fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO")
    header = MAGIC + bytes.fromhex(digits)
    return SchemaFile(path, level, parsed["name"], parsed, parsed["__named_schemas"], header)


def published_levels(directory: Path) -> list[tuple[int, Path]]:
    """Return the levels that have been published, and where their schemas are; the first first."""
    published = directory / "published"
    found = [(int(path.name), path) for path in published.glob("*") if path.name.isdigit()]
    return sorted(found)


def load_levels(directory: Path, file: str) -> list[SchemaFile]:
    """Return a schema at each level at which it changed; the last one is the current one.

    A text that says the same in other words is no change.
    """
    levels = published_levels(directory)
    places = [(level, folder / f"{file}.avsc") for level, folder in levels]
    places.append((levels[-1][0] + 1 if levels else 1, directory / f"{file}.avsc"))
    versions: list[SchemaFile] = []
    before = b""
    for level, path in places:
        text = path.read_bytes() if path.exists() else before
        if text != before:
            before, found = text, load(path, level)
            if not versions or versions[-1].header != found.header:
                versions.append(found)
    return versions


def disagreements(schema: SchemaFile, classes: Mapping[str, type]) -> Iterator[str]:
    """Say where the records of a schema and the classes of the same names have other fields."""
    for full_name, named in schema.named.items():
        name = full_name.rpartition(".")[2]
        if named["type"] != "record":
            continue
        if name not in classes:
            yield f"{schema.path.name}: record {name} has no class"
            continue
        written = {field["name"] for field in named["fields"]}
        known = field_names(classes[name])
        for field in sorted(written - known):
            yield f"{schema.path.name}: field {name}.{field} is not in the class"
        for field in sorted(known - written):
            yield f"{schema.path.name}: field {name}.{field} of the class is not in the schema"


def field_names(cls: Any) -> set[str]:
    return {field.name for field in fields(cls)} if is_dataclass(cls) else set(cls._fields)
