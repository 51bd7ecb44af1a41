"""``@views.table``: a function that makes a row of a row and an event."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Generic, TypeAlias, TypeVar, get_type_hints

from processor.checks import shown
from processor.errors import InvalidArgument, SchemaMismatch
from processor.views.tables.events import RunEvent

__all__ = ("MERGES", "Table", "by_name", "table")

R = TypeVar("R")

_VERSION_MAX: Final = 2**63 - 1
_OTHERS: Final = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)
_NAMES: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
MERGES: Final = ("sum", "min", "max", "latest")
Key: TypeAlias = Callable[[RunEvent], str | Collection[str] | None]


@dataclass(frozen=True)
class Table(Generic[R]):
    """A table of a user's: ``function`` makes the row of a ``key``. ``source`` tells its code.

    ``merge``: how what shards have of one row becomes one, by the names of fields. ``takes_key``:
    the function asks for the key, too.
    """

    name: str
    version: int
    key: Key = field(repr=False)
    function: Callable[..., R | None] = field(repr=False)
    row_type: Any = Any
    merge: Mapping[str, str] = field(default_factory=dict, hash=False)
    source: str = field(default="", repr=False)
    takes_key: bool = False

    def __call__(self, row: R | None, event: RunEvent, *key: str) -> R | None:
        """Return what the function does."""
        return self.function(row, event, *key)


def table(
    name: str,
    *,
    key: Key,
    version: int = 1,
    merge: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., R | None]], Table[R]]:
    """Return a decorator: the function under it is a table over what happens to runs.

    It gets the row of a key (None: there is none) and an event, and returns the row after it; None
    drops it. It only computes: the same row and event make the same row. ``key`` says which row an
    event is for, or which rows: a list, a tuple or a set of keys; None: for none. A function with
    a third parameter gets the key. The row's type is that of the first one. Raise ``version``
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
    if not callable(key) or _is_other(key) or not _takes(key, 1):
        raise InvalidArgument(f"{what}: key: give a function of an event, which returns text")
    whole = isinstance(version, int) and not isinstance(version, bool)
    if not whole or not 1 <= version <= _VERSION_MAX:
        raise InvalidArgument(f"{what}: version: give a whole number from 1 on")
    if not isinstance(merge, Mapping | None):
        raise InvalidArgument(f"{what}: merge: give words by fields: {{'longest': 'max'}}")
    how = {} if merge is None else dict(merge)
    for named, each in how.items():
        if each not in MERGES:
            raise InvalidArgument(
                f"{what}: merge: {named!r}: give one of {', '.join(MERGES)}, not {shown(each)}"
            )

    def decorate(function: Callable[..., R | None]) -> Table[R]:
        if not inspect.isroutine(function) or _is_other(function):
            raise InvalidArgument(f"{what}: put it on a plain function: def name(row, event)")
        takes_key = not _takes(function, 2)
        if takes_key and not _takes(function, 3):
            raise InvalidArgument(
                f"{what}: the function has two parameters, row and event, or a third one, the key"
            )
        merges, source = MappingProxyType(how), _source(function)
        row_type = _row_type(function, what)
        return Table(name, version, key, function, row_type, merges, source, takes_key)

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


def _is_other(function: Any) -> bool:
    """Return whether what is called returns what has to be awaited, or gone through."""
    return any(is_other(function) for is_other in _OTHERS)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Return whether so many values can be passed, as far as is known."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # what is written in C may have no signature
        return True
    return True


def _row_type(function: Callable[..., Any], what: str) -> Any:
    """Return the type of the first parameter. ``InvalidArgument`` for one that cannot be read."""
    from processor.codec.payloads import JsonPayloads  # it loads msgspec: help does not

    try:
        first = next(iter(inspect.signature(function).parameters))
        found = get_type_hints(function).get(first, Any)
        JsonPayloads().decoder(found)
    except (NameError, TypeError, ValueError, SchemaMismatch) as error:
        raise InvalidArgument(
            f"{what}: the type of its row cannot be read ({error}): name a type that JSON can be "
            "read as, a number, a dict or a dataclass, and import what it names"
        ) from error
    return found


def _source(function: Callable[..., Any]) -> str:
    """Return a digest of the code of a function; "" where that is not known."""
    try:
        return sha256(inspect.getsource(function).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""
