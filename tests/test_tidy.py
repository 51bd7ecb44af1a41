"""Project lint: sizes, leftovers and dead modules. The rules are tested below on bad samples."""

from __future__ import annotations

import ast
import re
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "processor"
BODY_LINES_MAX = 70
BODY_LINES_USUAL = 40
BODY_SHARE_USUAL = 0.95
MODULE_LINES_MAX = 500
MODULE_LINES_MEDIAN = 160
LINE_LENGTH_MAX = 100
ENTRY_POINTS = {"processor.__main__", "processor.cli", "processor.dev.sync_client"}
CLASS_LINES_MAX = 250
ATTRIBUTES_MAX = 15
FOLDER_MODULES_MAX = 15
CORE_ASSERTS_PER_1000_LINES = 15
OF_ASYNCIO = "processor.workflow._asyncio"
PRIVATE_OF_ASYNCIO = {
    "_callbacks", "_fut_waiter", "_log_destroy_pending", "_ready", "_run_once", "_selector",
}  # fmt: skip
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def sources() -> list[Path]:
    folders = (PACKAGE, ROOT / "tests", ROOT / "examples", ROOT / "benchmarks")
    return sorted(p for folder in folders for p in folder.rglob("*.py"))


@lru_cache(maxsize=1)
def nodes(source: str) -> list[ast.AST]:
    """Return all that a source consists of; to find that takes longer than to look at it."""
    return [*ast.walk(ast.parse(source))]


def bodies(source: str) -> Iterator[tuple[str, int]]:
    """Yield each function with the lines of its body, docstring not counted."""
    for node in nodes(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def too_long(source: str) -> list[str]:
    return [f"{n}: {size}" for n, size in bodies(source) if size > BODY_LINES_MAX]


def leftovers(source: str) -> list[str]:
    return LEFTOVERS.findall(source)


def misplaced(source: str) -> list[int]:
    """Return the lines of texts that follow another text: they stand away from their name."""
    return [
        text.lineno
        for node in nodes(source)
        for before, text in pairwise(getattr(node, "body", []) if is_block(node) else [])
        if is_text(before) and is_text(text)
    ]


def is_block(node: ast.AST) -> bool:
    return isinstance(getattr(node, "body", None), list)


def is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str) -> set[str]:
    names: set[str] = set()
    for node in nodes(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def lines_of_code(source: str) -> int:
    """Return how many lines are no texts: docstrings, and what schemas say of fields."""
    texts = [
        node
        for node in nodes(source)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    return len(source.splitlines()) - sum((n.end_lineno or 0) - n.lineno + 1 for n in texts)


def classes(source: str) -> list[ast.ClassDef]:
    return [node for node in nodes(source) if isinstance(node, ast.ClassDef)]


def lines_of(node: ast.ClassDef) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def attributes(node: ast.ClassDef) -> set[str]:
    """Return what an instance has: what is assigned to self, and the fields."""
    fields = {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and "ClassVar" not in ast.unparse(each.annotation)
    }
    assigned = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }
    return fields | assigned


def is_record(node: ast.ClassDef) -> bool:
    """Return whether a class has plain fields and no state: ``@frozen`` or a frozen dataclass."""
    decorators = {ast.unparse(each) for each in node.decorator_list}
    return any(each == "frozen" or "frozen=True" in each for each in decorators)


def too_large(source: str) -> list[str]:
    return [
        node.name
        for node in classes(source)
        if lines_of(node) > CLASS_LINES_MAX
        or (len(attributes(node)) > ATTRIBUTES_MAX and not is_record(node))
    ]


def asserts(source: str) -> int:
    return sum(isinstance(node, ast.Assert) for node in nodes(source))


def circles(imports: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the modules of which each imports itself in the end."""
    found: set[str] = set()
    graph = {name: set(names) for name, names in imports.items()}
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = set(error.args[1])
            found |= circle
            first, second = error.args[1][1], error.args[1][0]
            graph[first].discard(second)
        else:
            return found


def imports_between(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which module imports which, for type checking and inside of functions as well.

    ``from a import b`` is an import of the module ``a.b``, where there is one, and not of ``a``.
    """
    found: dict[str, set[str]] = {}
    for name, source in modules.items():
        names = found[name] = set()
        for node in nodes(source):
            if isinstance(node, ast.Import):
                names |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                paths = {each.name: f"{node.module}.{each.name}" for each in node.names}
                names |= {path if path in modules else node.module for path in paths.values()}
        names &= {*modules} - {name}
    return found


def private_of_asyncio(source: str) -> list[str]:
    """Return the private names of asyncio that a module uses."""
    found: list[str] = []
    for node in nodes(source):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "asyncio":
            found += [each.name for each in node.names if each.name.startswith("_")]
        elif isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            is_named = node.attr in PRIVATE_OF_ASYNCIO and not whole.startswith("self.")
            if is_named or re.fullmatch(r"asyncio(\.\w+)*\._[a-z]\w*", whole):
                found.append(whole)
    return found


def package_sources() -> dict[str, str]:
    return {module_name(path): path.read_text() for path in PACKAGE.rglob("*.py")}


class Facts(NamedTuple):
    """What the rules look at in one module; ``sizes`` are those of its functions."""

    sizes: list[int]
    imported: set[str]
    too_large: list[str]
    classes: list[str]
    lines_of_code: int
    asserts: int
    private_of_asyncio: list[str]


@lru_cache
def package() -> dict[str, Facts]:
    """Return the facts of each module of the package; each is read once."""
    return {
        name: Facts(
            [size for _, size in bodies(source)],
            imported(source),
            too_large(source),
            [node.name for node in classes(source)],
            lines_of_code(source),
            asserts(source),
            private_of_asyncio(source),
        )
        for name, source in package_sources().items()
    }


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_tidy(path: Path) -> None:
    source = path.read_text()
    lines = source.splitlines()
    assert len(lines) <= MODULE_LINES_MAX, "the module is too long: split it"
    assert not [n for n, line in enumerate(lines, 1) if len(line) > LINE_LENGTH_MAX]
    assert not too_long(source)
    assert not misplaced(source)
    if path != Path(__file__):
        assert not leftovers(source)


def test_most_functions_are_short() -> None:
    sizes = [size for facts in package().values() for size in facts.sizes]
    usual = sum(size <= BODY_LINES_USUAL for size in sizes)
    assert usual / len(sizes) >= BODY_SHARE_USUAL


def test_modules_are_small() -> None:
    sizes = [len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")]
    assert statistics.median(sizes) <= MODULE_LINES_MEDIAN


def test_no_module_is_dead() -> None:
    everything = set().union(*(facts.imported for facts in package().values()))
    modules = {*package()}
    public = {"processor", "processor.testing"}
    everything |= {name.rsplit(".", n)[0] for name in everything for n in range(name.count("."))}
    assert modules - everything - ENTRY_POINTS - public == set()


def test_classes_are_small() -> None:
    found = {name for facts in package().values() for name in facts.too_large}
    assert found == set(), "split the class by what it is responsible for"


def test_folders_are_small() -> None:
    outside = ("__init__.py", "__main__.py")
    modules = [path for path in PACKAGE.rglob("*.py") if path.name not in outside]
    sizes = Counter(path.parent for path in modules)
    assert {folder for folder, size in sizes.items() if size > FOLDER_MODULES_MAX} == set()


def test_a_class_has_a_name_of_its_own() -> None:
    """An error tells its user what the event of the same name tells replay; twins are twins."""
    counts = Counter(
        known
        for name, facts in package().items()
        if name != "processor.errors" and not name.startswith("processor.sync.")
        for known in facts.classes
        if not known.startswith("_")
    )
    assert {name for name, count in counts.items() if count > 1} == set()


def test_the_core_says_what_holds() -> None:
    core = [facts for name, facts in package().items() if name.startswith("processor.core")]
    lines = sum(facts.lines_of_code for facts in core)
    found = sum(facts.asserts for facts in core)
    assert found * 1000 / lines >= CORE_ASSERTS_PER_1000_LINES


def test_no_module_imports_itself_in_the_end() -> None:
    assert circles(imports_between(package_sources())) == set()


def test_private_names_of_asyncio_stand_in_one_file() -> None:
    used = {
        name: facts.private_of_asyncio
        for name, facts in package().items()
        if name != OF_ASYNCIO and facts.private_of_asyncio
    }
    assert used == {}


def test_every_match_is_closed() -> None:
    """mypy refuses a ``match`` that leaves a type of its subject out, if this is enabled."""
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert "exhaustive-match" in mypy["enable_error_code"]


def test_the_rules_catch_what_they_are_for() -> None:
    long_body = "def f():\n" + "    x = 1\n" * (BODY_LINES_MAX + 1)
    assert too_long(long_body)
    assert not too_long("def f():\n" + "    x = 1\n" * BODY_LINES_MAX)
    assert leftovers("# TODO later")
    assert misplaced('"""Of the module."""\na = 1\n"""Of a."""\n"""Of what?"""\n') == [4]
    assert lines_of_code('a: int\n"""One."""\nb = """two"""\n') == 2
    assert imported("from a.b import c\nimport d") == {"a.b", "a.b.c", "d"}
    many = "\n".join(f"        self.a{n} = 1" for n in range(ATTRIBUTES_MAX + 1))
    assert too_large(f"class A:\n    def f(self):\n{many}") == ["A"]
    fields = "\n".join(f"    a{n}: int" for n in range(ATTRIBUTES_MAX + 1))
    assert too_large(f"class A:\n{fields}") == ["A"]
    assert not too_large(f"@frozen\nclass A:\n{fields}")
    assert not too_large(f"@dataclass(frozen=True)\nclass A:\n{fields}")
    assert too_large("class A:\n" + "    x = 1\n" * CLASS_LINES_MAX) == ["A"]
    assert not too_large("class A:\n" + "    x = 1\n" * (CLASS_LINES_MAX - 1))
    assert asserts("def f():\n    assert x, 'y'") == 1
    sources = {
        "p.a": "from p import b",
        "p": "from p.a import x",
        "p.b": "if TYPE_CHECKING:\n    from p.c import d",
        "p.c": "def f():\n    import p.a",
        "p.d": "import p.a",
    }
    assert circles(imports_between(sources)) == {"p.a", "p.b", "p.c"}
    assert circles(imports_between({**sources, "p.c": ""})) == set()
    for line in (
        "from asyncio import _get_running_loop",
        "asyncio.tasks._unregister_task(task)",
        "asyncio._set_running_loop(None)",
        "task._fut_waiter",
    ):
        assert private_of_asyncio(f"import asyncio\n{line}"), line
    assert not private_of_asyncio("import asyncio\nself._ready = asyncio.Future()")
