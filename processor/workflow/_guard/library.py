"""What libraries draw at random, and what time it is for them, while values are decoded.

A payload class may make up a value that the payload lacks: ``default_factory=uuid4``, or a lambda
that asks for the time. Replay decodes the same payload and has to get the same value. So the clock
and what draws at random answer from the run while it decodes: from the time of its turn, and from a
stream of its own that begins anew at each turn. A draw that is made live and not at replay then
shifts nothing, in this stream or in ``workflow.random()``.
"""

from __future__ import annotations

import datetime as _datetime_module
import hmac
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from functools import partial
from random import Random
from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
)
from typing import Any, Final

from processor.workflow._asyncio import running_loop

__all__ = ("CLOCKS", "DATES", "Library", "answering", "repeatable")

_CLOCK: Final = frozenset({"now", "utcnow", "today"})
CLOCKS: Final = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
"""Functions of the module ``time`` that tell seconds; most have another one with ``_ns``."""

DATES: Final = ("asctime", "clock_gettime", "ctime", "gmtime", "localtime", "strftime")
"""Others of it that ask a clock, if they are given no time."""

_EPOCH: Final = ("time", "time_ns")


class Library:
    """``seed`` are the 16 random bytes of the run; ``number`` is that of a turn's first event."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._random: Random | None = None
        self._begun = -1
        self.number = 0
        self.now_ms = 0
        self.zero_ms = 0

    @property
    def random(self) -> Random:
        """The stream of the turn."""
        if self._random is None or self._begun != self.number:
            self._begun = self.number
            key = f"library {self.number}".encode()
            self._random = Random(hmac.digest(self._seed, key, "sha256"))
        return self._random

    def time(self, name: str) -> float | int:
        """Answer a function of the module ``time`` by its name.

        All but ``time`` count from ``zero_ms``, a minute before the run began. A library may keep
        what they tell and compare it with the host's, which counts from the host's own start. The
        host's is larger: what was valid for a second in a workflow has ended outside.
        """
        told_ms = self.now_ms if name in _EPOCH else self.now_ms - self.zero_ms
        return told_ms * 1_000_000 if name.endswith("_ns") else told_ms / 1000


def answering() -> Library | None:
    """Return the library of the run that decodes a value just now, on this thread."""
    loop: Any = running_loop()
    return getattr(loop, "library", None)


def repeatable(factory: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return a factory that answers from the run; None where this one does not ask the clock.

    Functions written in Python come to the guard, which answers by itself. But nobody can wrap
    ``datetime`` and ``date``: a function that uses them is copied, with others in their place.
    """
    if isinstance(factory, partial):
        inner = repeatable(factory.func)
        return None if inner is None else partial(inner, *factory.args, **factory.keywords)
    owner, name = getattr(factory, "__self__", None), getattr(factory, "__name__", "")
    in_c = isinstance(factory, BuiltinFunctionType | BuiltinMethodType)
    if type(owner) is Random:
        return _drawn(factory, name)
    if in_c and name in ("urandom", "getrandom"):
        return _drawn(factory, "randbytes")
    if in_c and getattr(factory, "__module__", "") == "time":
        if name.removesuffix("_ns") in CLOCKS or name in DATES:
            return _timed(factory, name)
    if in_c and isinstance(owner, type) and name in _CLOCK:
        told: Callable[..., Any] | None = getattr(_STAND_INS.get(owner), name, None)
        return told
    if isinstance(factory, MethodType):
        inner = repeatable(factory.__func__)
        return None if inner is None else partial(inner, owner)
    if not isinstance(factory, FunctionType | type):
        called = getattr(type(factory), "__call__", None)  # noqa: B004  # it is callable
        inner = repeatable(called) if isinstance(called, FunctionType) else None
        return None if inner is None else partial(inner, factory)
    copied = _copied(factory, {}) if isinstance(factory, FunctionType) else factory
    return None if copied is factory else copied


def _drawn(factory: Callable[..., Any], name: str) -> Callable[..., Any]:
    def draw(*args: Any, **kwargs: Any) -> Any:
        library = answering()
        drawn = factory if library is None else getattr(library.random, name)
        return drawn(*args, **kwargs)

    return draw


def _timed(factory: Callable[[], Any], name: str) -> Callable[[], Any]:
    def tell() -> Any:
        told = factory if answering() is None else getattr(time, name)  # the guard's
        return told()

    return tell


# --- what stands in for datetime and date -----------------------------------------------------


class _Like(type):
    """Makes the real thing, and takes it for an instance."""

    real: type

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.real(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.real)


class _Datetime(datetime, metaclass=_Like):
    real = datetime

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        library = answering()
        if library is None:
            return datetime.now(tz)
        return datetime.fromtimestamp(library.now_ms / 1000, tz)

    @classmethod
    def utcnow(cls) -> datetime:  # type: ignore[override]
        return cls.now(UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> datetime:  # type: ignore[override]
        return cls.now()


class _Date(date, metaclass=_Like):
    real = date

    @classmethod
    def today(cls) -> date:  # type: ignore[override]
        return _Datetime.now().date()


class _Module:
    """The module ``datetime``, with others for two of its classes."""

    datetime = _Datetime
    date = _Date

    def __getattr__(self, name: str) -> Any:
        return getattr(_datetime_module, name)


class _Globals(dict[str, Any]):
    """The globals of a copied function: what is not replaced is looked up where it always was."""

    def __init__(self, replaced: dict[str, Any], real: dict[str, Any]) -> None:
        super().__init__(replaced)
        self._real = real

    def __missing__(self, name: str) -> Any:
        return self._real[name]


_STAND_INS: Final[dict[Any, Any]] = {datetime: _Datetime, date: _Date, _datetime_module: _Module()}


def _copied(function: FunctionType, copies: dict[FunctionType, FunctionType]) -> FunctionType:
    """Return a function that asks the run for the time; itself where it asks for none.

    What it calls by a name of its module or from around it is looked at as well.
    """
    known = copies.setdefault(function, function)
    if known is not function:
        return known
    replaced: dict[str, Any] = {}
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        instead = _instead_of(value, copies)
        if instead is not value:
            replaced[name] = instead
    closure = function.__closure__ or ()
    cells = tuple(_cell(cell, copies) for cell in closure)
    defaults = tuple(_instead_of(each, copies) for each in function.__defaults__ or ())
    named = {
        key: _instead_of(each, copies) for key, each in (function.__kwdefaults__ or {}).items()
    }
    given = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    same = all(a is b for a, b in zip(given, (*defaults, *named.values()), strict=True))
    if not replaced and cells == closure and same:
        return function
    copied = FunctionType(
        function.__code__,
        _Globals(replaced, function.__globals__),
        function.__name__,
        defaults or None,
        cells,
    )
    copied.__kwdefaults__ = named or None
    copies[function] = copied
    return copied


def _names(code: CodeType) -> set[str]:
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _instead_of(value: Any, copies: dict[FunctionType, FunctionType]) -> Any:
    if isinstance(value, FunctionType):
        return value if value in copies else _copied(value, copies)
    try:
        return _STAND_INS.get(value, value)
    except TypeError:
        return value  # it cannot be hashed


def _cell(cell: CellType, copies: dict[FunctionType, FunctionType]) -> CellType:
    try:
        value = cell.cell_contents
    except ValueError:
        return cell  # it is empty
    instead = _instead_of(value, copies)
    return cell if instead is value else CellType(instead)
