"""The core is pure: what it may import, and what it must not call."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import processor.core

PACKAGE = Path(processor.core.__file__).parent
STDLIB = {
    "__future__",
    "base64",
    "collections",
    "dataclasses",
    "hashlib",
    "operator",
    "traceback",
    "types",
    "typing",
}
OWN = {
    "processor.attributes",
    "processor.checks",
    "processor.core",
    "processor.errors",
    "processor.policy",
}
CALLS = {"time", "datetime", "random", "uuid", "os", "open", "print", "input", "id", "hash"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or ".")
    return found


def is_allowed(module: str) -> bool:
    return module.partition(".")[0] in STDLIB or any(
        module == own or module.startswith(f"{own}.") for own in OWN
    )


def calls(tree: ast.Module) -> set[str]:
    """Return the names that are called, or whose attributes are: ``time`` of ``time.time()``."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called: ast.expr = node.func
            while isinstance(called, ast.Attribute):
                called = called.value
            if isinstance(called, ast.Name):
                found.add(called.id)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_of_the_core(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not {module for module in imports(tree) if not is_allowed(module)}
    assert not calls(tree) & CALLS
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]


def test_the_rules_catch_what_they_are_for() -> None:
    bad = ast.parse("import time\nfrom os import path\ntime.time()\nopen('x')")
    assert {module for module in imports(bad) if not is_allowed(module)} == {"time", "os"}
    assert calls(bad) & CALLS == {"time", "open"}


def test_the_core_knows_no_json() -> None:
    """Payloads are bytes or absent; which bytes is the matter of whoever made them."""
    told = {
        path.name: found
        for path in MODULES
        if (found := [each for each in words_in(path.read_text()) if "json" in each.lower()])
    }
    assert told == {"answers.py": ["JSON."]}, "what a page for people holds; it is in the schemas"
    assert words_in('a_json = "b"; c.to_json(d)  # JSON') == ["a_json", "b", "c", "d", "to_json"]


def words_in(source: str) -> list[str]:
    """Return the names and texts of a source, without its comments."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name():
                found.append(node.id)
            case ast.Attribute():
                found.append(node.attr)
            case ast.alias() | ast.FunctionDef() | ast.ClassDef():
                found.append(node.name)
            case ast.arg():
                found.append(node.arg)
            case ast.Constant(value=str()):
                found.append(str(node.value))
    return sorted(found)
