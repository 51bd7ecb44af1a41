"""Project lint: sizes, leftovers and dead modules. The rules are tested below on bad samples."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "processor"
BODY_LINES_MAX = 70
BODY_LINES_USUAL = 40
BODY_SHARE_USUAL = 0.95
MODULE_LINES_MAX = 500
MODULE_LINES_MEDIAN = 160
LINE_LENGTH_MAX = 100
ENTRY_POINTS = {"processor.__main__", "processor.cli"}
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def sources() -> list[Path]:
    folders = (PACKAGE, ROOT / "tests", ROOT / "examples", ROOT / "benchmarks")
    return sorted(p for folder in folders for p in folder.rglob("*.py"))


def bodies(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each function with the lines of its body, docstring not counted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def too_long(source: str) -> list[str]:
    return [f"{n}: {size}" for n, size in bodies(ast.parse(source)) if size > BODY_LINES_MAX]


def leftovers(source: str) -> list[str]:
    return LEFTOVERS.findall(source)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_tidy(path: Path) -> None:
    source = path.read_text()
    lines = source.splitlines()
    assert len(lines) <= MODULE_LINES_MAX, "the module is too long: split it"
    assert not [n for n, line in enumerate(lines, 1) if len(line) > LINE_LENGTH_MAX]
    assert not too_long(source)
    if path != Path(__file__):
        assert not leftovers(source)


def test_most_functions_are_short() -> None:
    sizes = [
        size for path in PACKAGE.rglob("*.py") for _, size in bodies(ast.parse(path.read_text()))
    ]
    usual = sum(size <= BODY_LINES_USUAL for size in sizes)
    assert usual / len(sizes) >= BODY_SHARE_USUAL


def test_modules_are_small() -> None:
    sizes = [len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")]
    assert statistics.median(sizes) <= MODULE_LINES_MEDIAN


def test_no_module_is_dead() -> None:
    everything = set().union(*(imported(path.read_text()) for path in PACKAGE.rglob("*.py")))
    modules = {module_name(path) for path in PACKAGE.rglob("*.py")}
    public = {"processor", "processor.testing"}
    everything |= {name.rsplit(".", n)[0] for name in everything for n in range(name.count("."))}
    assert modules - everything - ENTRY_POINTS - public == set()


def test_the_rules_catch_what_they_are_for() -> None:
    long_body = "def f():\n" + "    x = 1\n" * (BODY_LINES_MAX + 1)
    assert too_long(long_body)
    assert not too_long("def f():\n" + "    x = 1\n" * BODY_LINES_MAX)
    assert leftovers("# TODO later")
    assert imported("from a.b import c\nimport d") == {"a.b", "a.b.c", "d"}
