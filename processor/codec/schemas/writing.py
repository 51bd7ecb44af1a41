"""Schemas as their files hold them, made of the classes and of the texts in the source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args, get_origin

from processor.codec.schemas.files import load_levels, published_levels
from processor.codec.schemas.pages import filled
from processor.codec.schemas.shapes import RECORDS, Shape, branches_of, shapes_of
from processor.codec.schemas.texts import Texts
from processor.core.data.headers import Headers

__all__ = ("Written", "publish")

Json: TypeAlias = Any

_WIDTH: Final = 99
_PRIMITIVES: Final[dict[Any, str]] = {
    type(None): "null",
    bool: "boolean",
    bytes: "bytes",
    float: "double",
    int: "long",
    str: "string",
}


class Written:
    """What the files should hold. ``untold`` are records and fields without a text."""

    def __init__(self, directory: Path) -> None:
        self.files: dict[Path, str] = {}
        self.untold: list[str] = []
        texts = Texts()
        for file, cls in RECORDS.items():
            record = _Record(texts, self.untold).of(cls)
            head = {"type": "record", "name": cls.__name__, "namespace": "processor.v1"}
            self.files[directory / f"{file}.avsc"] = _rendered({**head, **record}, 0) + "\n"
        for page in (directory.parent / "docs").rglob("*.md"):
            self.files[page] = filled(_text_of(page), texts)

    def changed(self) -> dict[Path, tuple[str, str]]:
        """Return what each file that differs holds, and what it should hold."""
        found = {}
        for path, new in self.files.items():
            old = _text_of(path) if path.exists() else ""
            if old != new:
                found[path] = old, new
        return found

    def write(self, changed: Mapping[Path, tuple[str, str]]) -> None:
        """Let the files that differ hold what they should."""
        for path, (_, text) in changed.items():
            path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _text_of(path: Path) -> str:
    """Return the text of a file as it is: bytes that are no UTF-8 are kept, or shown as such."""
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def publish(directory: Path) -> int:
    """Keep the schemas as the next level; return the level, 0 where nothing is new in them."""
    level = len(published_levels(directory)) + 1
    if all(load_levels(directory, file)[-1].level < level for file in RECORDS):
        return 0
    folder = directory / "published" / str(level)
    folder.mkdir(parents=True)
    for file in RECORDS:
        shutil.copy(directory / f"{file}.avsc", folder)
    return level


class _Record:
    """One file: a named type is written where it comes first, and named everywhere else."""

    def __init__(self, texts: Texts, untold: list[str]) -> None:
        self._texts = texts
        self._untold = untold
        self._named: set[str] = set()

    def of(self, cls: type) -> Json:
        name = cls.__name__
        self._named.add(name)
        doc = self._told(name, self._texts.of_type[name])
        fields = [self._field(name, each) for each in shapes_of(cls)]
        return {"type": "record", "name": name, "doc": doc, "fields": fields}

    def _field(self, record: str, shape: Shape) -> Json:
        field = {"name": shape.name, "type": self._type(shape.type, record, shape.name)}
        if shape.type == Headers:
            field["default"] = {}
        elif shape.default is not MISSING:
            field["default"] = shape.default
        elif type(None) in branches_of(shape.type):
            field["default"] = None
        where = f"{record}.{shape.name}"
        return {**field, "doc": self._told(where, self._texts.of_field(record, shape.name))}

    def _type(self, type: Any, record: str, field: str) -> Json:
        if type in _PRIMITIVES:
            return _PRIMITIVES[type]
        if type == Headers:
            return {"type": "map", "values": "bytes"}
        if branches := branches_of(type):
            return [self._type(each, record, field) for each in branches]
        match get_origin(type), get_args(type):
            case origin, (inner, *notes) if origin is Annotated:
                return notes[0] if inner is int else self._type(inner, record, field)
            case origin, (item, *_) if origin is tuple:
                return {"type": "array", "items": self._type(item, record, field)}
            case origin, symbols if origin is Literal:
                return self._enum(self._texts.type_of(record, field), symbols)
        return type.__name__ if type.__name__ in self._named else self.of(type)

    def _enum(self, name: str, symbols: tuple[str, ...]) -> Json:
        if name in self._named:
            return name
        self._named.add(name)
        doc = self._told(name, self._texts.of_type[name])
        return {"type": "enum", "name": name, "doc": doc, "symbols": list(symbols)}

    def _told(self, where: str, text: str) -> str:
        if not text and where not in self._untold:
            self._untold.append(where)
        return text


def _rendered(value: Json, indent: int) -> str:
    """Return JSON in which whatever fits stands on one line."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= _WIDTH or not isinstance(value, dict | list):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        inner = (f"{json.dumps(key)}: {_rendered(each, indent + 2)}" for key, each in value.items())
    else:
        inner = (_rendered(each, indent + 2) for each in value)
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n{pad}" + f",\n{pad}".join(inner) + f"\n{' ' * indent}{last}"
