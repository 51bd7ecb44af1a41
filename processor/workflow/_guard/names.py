"""Names in workflow code that the guard cannot make to answer: found when it is defined.

``datetime`` is a class in C whose methods nobody can wrap, and a name that was imported out of
``time``, ``random`` or ``os`` before the guard was in place is the function itself. A generator of
random numbers that a module made is that of the process.
"""

from __future__ import annotations

import datetime as _datetime_module
import dis
import random
from collections.abc import Callable, Iterator
from datetime import date, datetime
from types import BuiltinFunctionType, BuiltinMethodType, CodeType, FunctionType, MethodType
from typing import Any, Final

from processor.workflow._guard.library import CLOCKS, DATES

__all__ = ("unanswered",)

_CLOCK: Final = frozenset({"now", "utcnow", "today"})
_LOADS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"})
_ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_NOW: Final = "workflow.now()"
_UNKNOWN: Final = object()


def unanswered(function: Any) -> Iterator[str]:
    """Yield what a function's own code calls and what to use instead, each with its line."""
    if not isinstance(function, FunctionType):
        return
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    around: dict[str, Any] = {}
    for name, cell in cells:
        try:
            around[name] = cell.cell_contents
        except ValueError:
            continue  # it is empty
    for code in _codes(function.__code__):
        found: Any = _UNKNOWN
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            if instruction.opname in _LOADS:
                found = around.get(name, function.__globals__.get(name, _UNKNOWN))
                what = _unanswered_call(name, found)
            elif instruction.opname in _ATTRIBUTES:
                what = _clock_of(found, name)
                found = _STEPS.get((id(found), name), _UNKNOWN)
            else:
                continue
            if what:
                line = instruction.positions and instruction.positions.lineno
                yield f"{what} at {code.co_filename}:{line or code.co_firstlineno}"


_STEPS: Final = {
    (id(_datetime_module), "datetime"): datetime,
    (id(_datetime_module), "date"): date,
}


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _clock_of(found: Any, name: str) -> str:
    if isinstance(found, type) and issubclass(found, date) and name in _CLOCK:
        return f"{found.__name__}.{name}() (use {_NOW})"
    return ""


def _unanswered_call(name: str, found: Any) -> str:
    if isinstance(found, BuiltinFunctionType | BuiltinMethodType | MethodType):
        called = found.__name__
        owner: Callable[..., Any] | Any = getattr(found, "__self__", None)
        if found.__module__ == "time" and called.removesuffix("_ns") in (*CLOCKS, *DATES):
            return f"{name}() (write time.{called}(), or use {_NOW})"
        if owner is getattr(random, "_inst", None):
            return f"{name}() (write random.{called}(), or use workflow.random())"
        if called == "urandom":
            return f"{name}() (write os.urandom())"
        if isinstance(owner, type):
            return _clock_of(owner, called)
    if isinstance(found, random.Random) and not isinstance(found, random.SystemRandom):
        return f"{name} (a generator that all runs share: use workflow.random())"
    return ""
