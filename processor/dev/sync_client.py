"""Writes ``processor/sync/``, the blocking twin of the client, from the async one.

    python -m processor.dev.sync_client

A test fails where the files are not what this writes: the twins cannot drift.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from processor import worker
from processor.client import (
    activities,
    alone,
    client,
    correlated,
    entities,
    handle,
    promises,
    schedules,
    search,
    updates,
    values,
    with_start,
)

__all__ = ("FOLDER", "written")

FOLDER: Final = Path(__file__).parents[1] / "sync"

_HEADER: Final = '''"""{}: each call blocks until it has its answer.

Written by ``processor.dev.sync_client``. What each method does stands in full at its twin.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar, TypeVarTuple, Unpack, overload

from processor import worker as _worker
from processor import client as _client
from processor.api import HttpOptions
from processor.arguments import Seconds
from processor.attributes import Attributes
from processor.client.activities import ActivityToken
from processor.client.correlated import CorrelationDescription
from processor.client.descriptions import EntityOperation, RunDescription, RunHistory
from processor.client.options import ActivityRunOptions, RunOptions, StartOptions
from processor.client.schedules import ScheduleDescription, ScheduleSummary
from processor.client.vigil import Parked
from processor.config import Settings
from processor.injection.interceptors import Interceptor
from processor.injection.payloads import GivenPayloads
from processor.node import ShardStatus
from processor.policy import ConflictPolicy, Reject, RetryPolicy, ReusePolicy, Status
from processor.schedules.spec import Overlap, ScheduleOptions, TimeOptions
from processor.sync.blocking import Blocking
from processor.sync.correlated import Correlated
from processor.sync.entities import EntityHandle
from processor.sync.handles import ActivityHandle, Handle, UpdateHandle
from processor.sync.schedules import ScheduleHandle, Schedules
from processor.views.answers import RunCount, ViewRow
from processor.workflow._options import Options, TypeForm

__all__ = ({},)

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Us = TypeVarTuple("Us")
'''

_VARIABLES: Final = ("E", "R", "T", "Ts", "Us")

_MODULES: Final[dict[str, tuple[str, tuple[tuple[Any, str, str], ...]]]] = {
    "handles": (
        "Handles",
        (
            (activities.ActivityHandle, "ActivityHandle", ""),
            (updates.UpdateHandle, "UpdateHandle", "Generic[T]"),
            (updates.TakesUpdates, "_TakesUpdates", ""),
            (values.ReadsValues, "_ReadsValues", ""),
            (handle.Handle, "Handle", "_TakesUpdates, _ReadsValues, Generic[R]"),
        ),
    ),
    "entities": ("Entities", ((entities.EntityHandle, "EntityHandle", "Generic[E]"),)),
    "correlated": ("Business keys", ((correlated.Correlated, "Correlated", ""),)),
    "client": (
        "The client",
        (
            (with_start.StartsWith, "_StartsWith", ""),
            (search.ListsRuns, "_ListsRuns", ""),
            (search.ReadsTables, "_ReadsTables", ""),
            (alone.RunsActivities, "_RunsActivities", ""),
            (activities.ActivityCalls, "_ActivityCalls", ""),
            (promises.PromiseCalls, "_PromiseCalls", ""),
            (schedules.HasSchedules, "_HasSchedules", ""),
            (entities.HasEntities, "_HasEntities", ""),
            (correlated.HasKeys, "_HasKeys", ""),
            (
                client.Client,
                "Client",
                "_StartsWith, _ListsRuns, _ReadsTables, _RunsActivities, _ActivityCalls, "
                "_PromiseCalls, _HasEntities, _HasKeys, _HasSchedules",
            ),
        ),
    ),
    "schedules": (
        "Schedules",
        (
            (schedules.ScheduleHandle, "ScheduleHandle", ""),
            (schedules.Schedules, "Schedules", ""),
        ),
    ),
    "worker": ("The worker", ((worker.Worker, "Worker", ""),)),
}
_OPENED: Final = {"Client": "_client", "Worker": "_worker"}
_NOT_THERE: Final = frozenset({"run", "stop"})
"""What a worker has for a process of its own; a client's ``run`` is another thing."""

_HANDLES: Final = (
    *("Handle", "UpdateHandle", "ActivityHandle", "EntityHandle", "Correlated"),
    *("Schedules", "ScheduleHandle"),
)

_OPEN: Final = """
    def __enter__(self) -> Self:
        self._blocking.start()
        try:
            self._blocking.call(self._twin.__aenter__())
        except BaseException:
            self._blocking.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._blocking.leave(self._twin.__aexit__(exc_type, exc, traceback))
"""


def written() -> dict[Path, str]:
    """Return the text of each module as it has to be."""
    return {FOLDER / f"{name}.py": _module(name, *each) for name, each in _MODULES.items()}


def _module(name: str, what: str, classes: tuple[tuple[Any, str, str], ...]) -> str:
    names = ", ".join(f'"{each}"' for _, each, _ in classes if not each.startswith("_"))
    text = _HEADER.format(what, names) + "".join(_class(*each) for each in classes)
    own = f"from processor.sync.{name} import "
    unused = [  # made, which names it twice, and no more
        f"{each} = TypeVar" for each in _VARIABLES if len(re.findall(rf"\b{each}\b", text)) == 2
    ]
    left_out = own, *unused
    text = "".join(line for line in text.splitlines(True) if not line.startswith(left_out))
    path = str(FOLDER / f"{name}.py")
    for command in (("check", "--fix", "--quiet"), ("format", "--quiet")):
        ruff = (sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-")
        done = subprocess.run(ruff, input=text, capture_output=True, text=True, check=False)
        text = done.stdout
        assert text, done.stderr
    return text


def _class(cls: type[Any], name: str, bases: str) -> str:
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef), f"{cls} is a class"
    lines = [f"\n\nclass {name}{f'({bases})' if bases else ''}:", _summary(tree, 4), ""]
    if name in _OPENED:
        lines += [_init(tree), _OPEN]
    elif name.startswith("_"):
        lines += ["    _twin: Any", "    _blocking: Blocking", ""]
    else:
        lines += [
            "    def __init__(self, twin: Any, blocking: Blocking) -> None:",
            "        self._twin = twin",
            "        self._blocking = blocking",
            "",
            "    def __repr__(self) -> str:",
            "        return repr(self._twin)",
            "",
            *_attributes(tree, cls),
        ]
    lines += _methods(tree)
    return "\n".join(lines) + "\n"


def _init(tree: ast.ClassDef) -> str:
    made = next(each for each in tree.body if getattr(each, "name", "") == "__init__")
    assert isinstance(made, ast.FunctionDef), "it is a method"
    call = _passed(made.args)
    return (
        f"    def __init__({ast.unparse(made.args)}) -> None:\n"
        f"        self._twin = {_OPENED[tree.name]}.{tree.name}({call})\n"
        "        self._blocking = Blocking()\n"
    )


def _attributes(tree: ast.ClassDef, cls: type[Any]) -> Iterator[str]:
    """Yield a property for each public attribute that is set when an instance is made."""
    made = next(each for each in tree.body if getattr(each, "name", "") == "__init__")
    assert isinstance(made, ast.FunctionDef), "it is a method"
    types = {"id": "int" if cls is activities.ActivityHandle else "str", "workflow_id": "str"}
    types |= {"run_id": "str | None", "created": "bool", "name": "str", "key": "str"}
    for node in ast.walk(made):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if not node.attr.startswith("_"):
                yield (
                    f"    @property\n    def {node.attr}(self) -> {types[node.attr]}:\n"
                    f"        found: {types[node.attr]} = self._twin.{node.attr}\n"
                    "        return found\n"
                )


def _methods(tree: ast.ClassDef) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            abstract = any(ast.unparse(each) == "abstractmethod" for each in node.decorator_list)
            left_out = tree.name == "Worker" and node.name in _NOT_THERE
            if not node.name.startswith("_") and not abstract and not left_out:
                yield _method(node)


def _method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = ast.unparse(node.returns) if node.returns is not None else "None"
    returns = returns.replace("AsyncIterator[", "Iterator[")
    head = f"    def {node.name}({ast.unparse(node.args)}) -> {returns}:"
    overloaded = any(ast.unparse(each) == "overload" for each in node.decorator_list)
    if overloaded:
        return f"    @overload\n{head} ...\n"
    asked = f"self._twin.{node.name}({_passed(node.args)})"
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        head, asked = f"    @property\n{head}", f"self._twin.{node.name}"
    return f"{head}\n{_summary(node, 8)}\n{_body(node, returns, asked)}"


def _summary(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, indent: int) -> str:
    """Return the first paragraph of what is told of something."""
    words = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    space = " " * indent
    lines = textwrap.wrap(words, 94 - indent) or [f"Return what {node.name} of the twin does."]
    text = f"\n{space}".join(lines)
    return f'{space}"""{text}{"" if len(lines) == 1 else f"{chr(10)}{space}"}"""'


def _body(node: ast.FunctionDef | ast.AsyncFunctionDef, returns: str, asked: str) -> str:
    kind = returns.partition("[")[0]
    if returns.startswith("Iterator"):
        return f"        return self._blocking.each({asked})\n"
    if isinstance(node, ast.AsyncFunctionDef):
        asked = f"self._blocking.call({asked})"
    if kind in _HANDLES:
        return f"        return {kind}({asked}, self._blocking)\n"
    if returns == "None":
        return f"        {asked}\n"
    return f"        found: {returns} = {asked}\n        return found\n"


def _passed(given: ast.arguments) -> str:
    """Return the arguments of a call that passes on what a method was given."""
    first, *positional = [*given.posonlyargs, *given.args]
    assert first.arg == "self", "it is a method"
    passed = [each.arg for each in positional]
    passed += [f"*{given.vararg.arg}"] if given.vararg else []
    passed += [f"{each.arg}={each.arg}" for each in given.kwonlyargs]
    passed += [f"**{given.kwarg.arg}"] if given.kwarg else []
    return ", ".join(passed)


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
