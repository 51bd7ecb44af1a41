"""The Avro schemas as files: levels, fingerprints, and whether they agree with the classes.

``published/N/`` holds the schemas of level N as they were published; the files beside it are those
of the highest level. What is not published yet stands in the next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from processor.codec.schemas.shapes import classes_in, shapes_of

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
    """Read one schema file, without its words."""
    return _parsed(_read(path.read_bytes()), path, level)


def _read(text: bytes) -> Any:
    return json.loads(text, object_hook=_without_words)


def _without_words(part: dict[str, Any]) -> dict[str, Any]:
    part.pop("doc", None)
    return part


def _parsed(schema: Any, path: Path, level: int) -> SchemaFile:
    parsed: Any = parse_schema(schema)
    digits = fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO")
    header = MAGIC + bytes.fromhex(digits)
    return SchemaFile(path, level, parsed["name"], parsed, parsed["__named_schemas"], header)


def published_levels(directory: Path) -> list[tuple[int, Path]]:
    """Return the levels that have been published, and where their schemas are; the first first."""
    published = directory / "published"
    found = [(int(path.name), path) for path in published.glob("*") if path.name.isdecimal()]
    return sorted(found)


def load_levels(directory: Path, file: str) -> list[SchemaFile]:
    """Return a schema at each level at which it changed; the last one is the current one.

    A text that says the same in other words is no change.
    """
    levels = published_levels(directory)
    places = [(level, folder / f"{file}.avsc") for level, folder in levels]
    places.append((levels[-1][0] + 1 if levels else 1, directory / f"{file}.avsc"))
    versions: list[SchemaFile] = []
    text, before = b"", None
    for level, path in places:
        if path.exists() and path.read_bytes() != text:
            text = path.read_bytes()
            schema = _read(text)
            if schema != before:
                before, found = schema, _parsed(schema, path, level)
                if not versions or versions[-1].header != found.header:
                    versions.append(found)
    return versions


def disagreements(schema: SchemaFile, root: type, classes: Mapping[str, type]) -> Iterator[str]:
    """Say where a schema and the class of its record have other records or fields in them."""
    file = schema.path.name
    records = {
        name.rpartition(".")[2]: {field["name"] for field in named["fields"]}
        for name, named in schema.named.items()
        if named["type"] == "record"
    }
    for where, cls in classes_in(root):
        name, known = cls.__name__, {each.name for each in shapes_of(cls)}
        if name not in records:
            yield f"{file}: class {name} of {where} is not in the schema"
            continue
        written = records.pop(name)
        for field in sorted(written - known):
            yield f"{file}: field {name}.{field} is not in the class"
        for field in sorted(known - written):
            yield f"{file}: field {name}.{field} of the class is not in the schema"
    for name in sorted(records.keys() - classes.keys()):
        yield f"{file}: record {name} has no class"
