"""The words of schemas, read from the source of the core: they cost nothing while the product runs.

The text of a class is its docstring, that of a field or a type the string below it. A field without
a text has the first sentence of that of its type.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import processor.core

__all__ = ("Texts",)


class Texts:
    """What the source says: ``of_type`` by the name of a class or of another type."""

    def __init__(self) -> None:
        self.of_type: defaultdict[str, str] = defaultdict(str)
        self._of_field: dict[tuple[str, str], str] = {}
        self._types: dict[tuple[str, str], list[str]] = {}
        self._bases: dict[str, list[str]] = {}
        for path in sorted(Path(processor.core.__file__).parent.rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            self.of_type.update((name, text) for name, text, _ in _named(tree.body))
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self._read_class(node)

    def _read_class(self, node: ast.ClassDef) -> None:
        self.of_type[node.name] = _plain(ast.get_docstring(node) or "")
        self._bases[node.name] = [each.id for each in node.bases if isinstance(each, ast.Name)]
        for name, text, types in _named(node.body):
            self._of_field[node.name, name] = text
            self._types[node.name, name] = types

    def of_field(self, record: str, name: str) -> str:
        """Return the text of a field; "" where nobody wrote one."""
        record = self._declaring(record, name)
        types = self._types.get((record, name), ())
        of_type = next(filter(None, (self.of_type[each] for each in types)), "")
        return self._of_field.get((record, name)) or re.sub(r"\. .*", ".", of_type)

    def type_of(self, record: str, name: str) -> str:
        """Return the name of the type that a field is declared with."""
        return self._types[self._declaring(record, name), name][0]

    def _declaring(self, record: str, name: str) -> str:
        """Return the class that declares a field: a record may take fields over from its base."""
        while (record, name) not in self._types:
            bases = self._bases.get(record)
            if not bases:
                return record
            record = bases[0]
        return record


def _named(body: list[ast.stmt]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each name that is set or declared, the text below it, and the types that it names."""
    for node, below in pairwise([*body, ast.Pass()]):
        match node:
            case ast.AnnAssign(target=ast.Name(name), annotation=annotation):
                types = [each.id for each in ast.walk(annotation) if isinstance(each, ast.Name)]
            case ast.Assign(targets=[ast.Name(name)]):
                types = []
            case _:
                continue
        match below:
            case ast.Expr(ast.Constant(str(text))):
                yield name, _plain(text), types
            case _:
                yield name, "", types


def _plain(text: str) -> str:
    """Return a text of Python's as one line for everybody."""
    return re.sub(r"\bNone\b", "null", " ".join(text.split()).replace("``", ""))
