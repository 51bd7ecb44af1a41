"""Errors that cannot be shown in the common way: whatever is read of them raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from processor import ApplicationError
from processor.core.data.shown import GROUP_MAX

__all__ = (
    "BROKEN",
    "CountsErrors",
    "Data",
    "NoSuper",
    "ReadsNothing",
    "caused",
    "nested",
    "shared",
)

_READ = (
    *("__cause__", "__context__", "__suppress_context__", "__traceback__", "__notes__"),
    *("__class__", "__dict__", "__str__", "__repr__", "__len__", "__bool__", "__eq__", "args"),
)


def _raising(name: str, error: type[BaseException]) -> Any:
    def read(self: object) -> object:
        raise error(f"{name} is broken")

    return property(read, lambda self, value: None)


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__module__", "__mro__"):
            raise RuntimeError(f"{name} of the class is broken")
        return super().__getattribute__(name)


class Told(Exception, metaclass=Meta):
    pass


class ReadsNothing(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(f"{name} is broken")


class CountsErrors(Exception):
    """As libraries of validation have it."""

    def __init__(self, errors: Any) -> None:
        self.errors = errors

    def __len__(self) -> int:
        return len(self.errors)


class NoSuper(ApplicationError):
    """Its parent was not initialised."""

    def __init__(self) -> None:
        pass


@dataclass
class Data(ApplicationError):
    """A dataclass does not initialise its parent, either."""

    code: int = 3


class OddText(str):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __len__ = __format__ = encode = __str__  # type: ignore[assignment]


class SaysOddly(Exception):
    def __str__(self) -> str:
        return OddText("x")


class OddGroup(ExceptionGroup[Exception]):
    exceptions = _raising("exceptions", RuntimeError)
    message = _raising("message", SystemExit)


def _noted() -> Exception:
    error = ValueError("noted")
    error.__notes__ = [OddText("n"), ReadsNothing(), "\udc80" * 20_000]  # type: ignore[list-item]
    return error


def nested(levels: int) -> Exception:
    error: Exception = ValueError("innermost")
    for _ in range(levels):
        error = ExceptionGroup("one", [error])
    return error


def shared(levels: int) -> Exception:
    """Return groups that hold the next one twice: two to the power of the levels are its paths."""
    error: Exception = ValueError("innermost")
    for _ in range(levels):
        error = ExceptionGroup("two", [error, error])
    return error


def caused(count: int, by: str = "__cause__") -> Exception:
    error = ValueError("0")
    for number in range(1, count):
        error, cause = ValueError(str(number)), error
        setattr(error, by, cause)
    return error


def _again_and_again() -> Exception:
    error = ValueError("raised often")
    for _ in range(200_000):
        try:
            raise error
        except ValueError:
            pass
    return error


def _fields(*fields: object) -> Callable[[], Exception]:
    return lambda: SyntaxError("bad rule", fields)


BROKEN: dict[str, Callable[[], BaseException]] = {
    **{
        f"{name} raises {error.__name__}": type(
            "Broken", (Exception,), {name: _raising(name, error)}
        )
        for name in _READ
        for error in (RuntimeError, SystemExit, KeyboardInterrupt)
    },
    "a metaclass": Told,
    "__getattribute__": ReadsNothing,
    "__len__ of None": lambda: CountsErrors(None),
    "a str that is none": SaysOddly,
    "a group": lambda: OddGroup("broken", [ValueError("in it")]),
    "notes": _noted,
    "the offset is a text": _fields("rules.txt", 3, "7", "x = ="),
    "fields of other types": _fields(5, -1, None, b"x"),
    "fields of no sense": _fields("f\udc80", 1, 10**9, "x" * 100),
    "nested groups": lambda: nested(3_000),
    "shared groups": lambda: shared(60),
    "a wide group": lambda: ExceptionGroup("wide", [shared(GROUP_MAX)] * 10_000),
    "causes": lambda: caused(100_000),
    "contexts": lambda: caused(100_000, "__context__"),
    "a traceback without end": _again_and_again,
    "a text without end": lambda: ValueError("x" * 10_000_000),
}
"""By name, how to make one."""
