"""The Avro schemas as files: loading, fingerprints, and whether they agree with the dataclasses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

__all__ = ("MAGIC", "SchemaFile", "disagreements", "load", "load_published")

MAGIC: Final = b"\xc3\x01"
"""The two bytes that begin Avro's single-object encoding."""


@dataclass(frozen=True)
class SchemaFile:
    """One parsed schema.

    ``named`` has each record and enum in it by full name. ``header`` are the ten bytes that
    begin each record written with it: magic and CRC-64-AVRO fingerprint, little-endian.
    """

    path: Path
    name: str
    parsed: Any
    named: Mapping[str, Any]
    header: bytes


def load(path: Path) -> SchemaFile:
    """Read one schema file."""
    parsed: Any = parse_schema(json.loads(path.read_text(encoding="utf-8")))
    digits = fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO")
    header = MAGIC + bytes.fromhex(digits)
    named: dict[str, Any] = parsed["__named_schemas"]
    for schema in named.values():
        _correct_defaults(schema)
    return SchemaFile(path, parsed["name"], parsed, named, header)


def _correct_defaults(schema: Any) -> None:
    """Make the defaults of bytes fields bytes; fastavro fills in the text that JSON has."""
    for field in schema.get("fields", ()):
        if field["type"] == "bytes" and isinstance(field.get("default"), str):
            field["default"] = field["default"].encode("latin-1")


def load_published(directory: Path) -> Iterator[SchemaFile]:
    """Read every version that a release has written records with."""
    for path in sorted(directory.glob("published/*/*.avsc")):
        yield load(path)


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
