"""``@views.table``: a function that makes a row of a row and an event."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, get_type_hints

from processor.checks import shown
from processor.errors import InvalidArgument
from processor.views.tables.events import RunEvent

__all__ = ("MERGES", "Table", "by_name", "table")

R = TypeVar("R")

_NAMES: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
MERGES: Final = ("sum", "min", "max", "latest")


@dataclass(frozen=True)
class Table(Generic[R]):
    """A table of a user's: ``function`` makes the row of a ``key``. ``source`` tells its code.

    ``merge``: how what shards have of one row becomes one, by the names of fields.
    """

    name: str
    version: int
    key: Callable[[RunEvent], str | None] = field(repr=False)
    function: Callable[[R | None, RunEvent], R | None] = field(repr=False)
    row_type: Any = Any
    merge: Mapping[str, str] = field(default_factory=dict, hash=False)
    source: str = field(default="", repr=False)

    def __call__(self, row: R | None, event: RunEvent) -> R | None:
        """Return what the function does."""
        return self.function(row, event)


def table(
    name: str,
    *,
    key: Callable[[RunEvent], str | None],
    version: int = 1,
    merge: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Any, Any], R | None]], Table[R]]:
    """Return a decorator: the function under it is a table over what happens to runs.

    It gets the row of a key (None: there is none) and an event, and returns the row after it; None
    drops it. It only computes: the same row and event make the same row. ``key`` says which row an
    event is for; None: for none. The row's type is that of the first parameter. Raise ``version``
    to have the rows folded anew. A key may have a row in several shards, and readers see one:
    numbers are added, and of all else the latest is taken. ``merge`` says otherwise for fields:
    ``{"longest": "max"}``, with sum, min, max and latest. Raises ``InvalidArgument``.
    """
    what = "views.table"
    if not isinstance(name, str) or _NAMES.fullmatch(name) is None:
        raise InvalidArgument(
            f"{what}: name: {shown(name)} is none: small letters, digits and _, 63 at the most, "
            "and a letter first"
        )
    what = f"{what}({name!r})"
    if not callable(key):
        raise InvalidArgument(f"{what}: key: give a function of an event, which returns text")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidArgument(f"{what}: version: give a whole number from 1 on")
    how = {} if merge is None else dict(merge)
    for named, each in how.items():
        if each not in MERGES:
            raise InvalidArgument(
                f"{what}: merge: {named!r}: give one of {', '.join(MERGES)}, not {shown(each)}"
            )

    def decorate(function: Callable[[Any, Any], R | None]) -> Table[R]:
        _check(function, what)
        hints = get_type_hints(function)
        first = next(iter(inspect.signature(function).parameters))
        row_type, merges = hints.get(first, Any), MappingProxyType(how)
        return Table(name, version, key, function, row_type, merges, _source(function))

    return decorate


def by_name(tables: Any, what: str) -> Mapping[str, Table[Any]]:
    """Return tables by name. ``InvalidArgument`` for what is none, and for a name used twice."""
    found: dict[str, Table[Any]] = {}
    for each in tables:
        if not isinstance(each, Table):
            raise InvalidArgument(
                f"{what}: {shown(each)} is no table: put @views.table(name, key=...) on a function"
            )
        if found.setdefault(each.name, each) is not each:
            raise InvalidArgument(f"{what}: two tables are named {each.name!r}: rename one")
    return found


def _check(function: Any, what: str) -> None:
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise InvalidArgument(f"{what}: put it on a plain function: def name(row, event)")
    if len(inspect.signature(function).parameters) != 2:
        raise InvalidArgument(f"{what}: the function has two parameters: row and event")


def _source(function: Callable[..., Any]) -> str:
    """Return a digest of the code of a function; "" where that is not known."""
    try:
        return sha256(inspect.getsource(function).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""
