"""Records of every kind, made from the schemas, and what a stranger should see of them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from processor.codec.schemas.files import load
from processor.codec.schemas.shapes import RECORDS, classes_in
from processor.core.records.turn import Positions
from processor.data import data_dir

DIRECTORY: Path = data_dir("schemas")
SCHEMAS = {file: load(DIRECTORY / f"{file}.avsc") for file in RECORDS}
CLASSES = {cls.__name__: cls for root in RECORDS.values() for _, cls in classes_in(root)}

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": st.one_of(
        st.integers(-(1 << 63), (1 << 63) - 1),
        # Where the number of bytes changes.
        st.sampled_from(
            [sign * ((1 << bits) + d) for bits in range(62) for sign in (1, -1) for d in (-1, 0, 1)]
        ),
    ),
    "double": st.floats(allow_nan=False),
    "string": TEXT,
    "bytes": st.binary(max_size=20),
}


_NAMED: dict[tuple[int, str], st.SearchStrategy[Any]] = {}
"""Strategies of records and enums: to make one takes longer than to draw from it."""


def values(schema: Any, named: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for what the dataclasses hold where the schema says ``schema``.

    ``named`` are the records and enums of a file of ``SCHEMAS``.
    """
    if isinstance(schema, list):
        return st.one_of([values(branch, named) for branch in schema])
    if isinstance(schema, str) and schema in PRIMITIVES:
        return PRIMITIVES[schema]
    if isinstance(schema, str):
        known = _NAMED.get((id(named), schema))
        if known is None:
            known = st.deferred(lambda: values(named[schema], named))
            _NAMED[id(named), schema] = known
        return known
    if schema["type"] == "array":
        return st.lists(values(schema["items"], named), max_size=3).map(tuple)
    if schema["type"] == "map":
        pairs = st.dictionaries(TEXT, values(schema["values"], named), max_size=2)
        return pairs.map(lambda held: tuple(held.items()))
    if schema["type"] == "enum":
        return st.sampled_from(schema["symbols"])
    cls = CLASSES[schema["name"].rpartition(".")[2]]
    return st.builds(cls, **{f["name"]: values(f["type"], named) for f in schema["fields"]})


@lru_cache
def records(file: str) -> st.SearchStrategy[Any]:
    return values(SCHEMAS[file].parsed, SCHEMAS[file].named)


def plain(value: Any) -> Any:
    """Return what any Avro library hands out for a value: dictionaries and lists."""
    if is_dataclass(value):
        return {f.name: plain_field(f.name, getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Positions):
        return value._asdict()
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def plain_field(name: str, value: Any) -> Any:
    """Headers are the maps of our schemas; dataclasses have them as pairs."""
    return dict(value) if name == "headers" else plain(value)


def datum(value: Any, schema: Any, named: Any) -> Any:
    """Return what fastavro's writer wants: dictionaries, and the branch of each union by name."""
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if isinstance(schema, list):
        if not is_dataclass(value):
            return value
        name = f"processor.v1.{type(value).__name__}"
        return (name, datum(value, named[name], named))
    if isinstance(schema, dict) and schema["type"] == "array":
        return [datum(item, schema["items"], named) for item in value]
    if isinstance(schema, dict) and schema["type"] == "map":
        return dict(value)
    if isinstance(schema, dict) and schema["type"] == "record":
        return {
            f["name"]: datum(getattr(value, f["name"]), f["type"], named) for f in schema["fields"]
        }
    return value
