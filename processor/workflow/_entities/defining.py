"""What users write on the class of an entity: ``define``, ``read`` and ``migrate``."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, overload

from processor import checks
from processor.checks import ENTITY_MARK
from processor.errors import InvalidArgument
from processor.workflow._entities.definition import DEFINED, MIGRATE, OPERATION, READ, Entity
from processor.workflow._entities.history import HISTORY_MAX
from processor.workflow._guard.names import unanswered
from processor.workflow._signature import is_async, names_at

__all__ = ("define", "migrate", "read")

C = TypeVar("C", bound=type[Any])
F = TypeVar("F", bound=Callable[..., Any])


@overload
def define(given: C, /) -> C: ...


@overload
def define(*, name: str | None = None, history: int = 0) -> Callable[[C], C]: ...


def define(given: Any = None, /, *, name: str | None = None, history: int = 0) -> Any:
    """Make a class an entity: its objects live under keys, and do one operation at a time.

    Its public methods are the operations, plain or async, but for those under ``@entity.read``. The
    fields of an object are its state: those with annotations are read as these say, others as plain
    JSON. A fresh object is made by the class without arguments. ``name`` (default: the class's)
    stands in the log. ``history`` (0 to 100) operations that have ended are kept for audit: see
    ``EntityHandle.history``. Raises ``InvalidArgument``.
    """
    if name is not None:
        checks.name(name, "@entity.define: name")
    if checks.whole(history, "@entity.define: history", 0) > HISTORY_MAX:
        raise InvalidArgument(
            f"@entity.define: history: {history:,} is more than {HISTORY_MAX}, since each turn "
            "writes them: keep fewer, or publish each one to a topic (workflow.publish)"
        )

    def decorate(cls: Any, depth: int = 2) -> Any:
        what = "@entity.define"
        if not isinstance(cls, type):
            given = checks.shown(cls)
            raise InvalidArgument(f"{what}: put it on a class, not on {given}")
        known, where = name or cls.__name__, f"{what}: class {cls.__qualname__}"
        if ENTITY_MARK in known:
            raise InvalidArgument(
                f"{what}: name: {known!r} has an {ENTITY_MARK}: give it another one"
            )
        _check(cls, where)
        entity = Entity(cls, known, _place(cls), names_at(depth, cls), history)
        if not entity.operations:
            raise InvalidArgument(f"{where} has no public method: give it an operation (def)")
        for operation in entity.operations.values():
            for each in unanswered(inspect.unwrap(operation.function)):
                warnings.warn(
                    f"entity {known!r} uses {each}: it does not answer from the entity, so that "
                    "replay cannot repeat it",
                    stacklevel=depth + 1,
                )
        for attribute, value in vars(cls).items():
            if attribute in entity.operations:
                setattr(value, OPERATION, (entity, attribute))
        setattr(cls, DEFINED, entity)
        return cls

    return decorate if given is None else decorate(given)


def read(function: F, /) -> F:
    """Let a plain method answer from the last state that is recorded, beside a running operation.

    It gets a copy: what it changes is lost. Raises ``InvalidArgument``.
    """
    what = "@entity.read"
    if not inspect.isfunction(function):
        given = checks.shown(function)
        raise InvalidArgument(f"{what}: put it on a method of the class, not on {given}")
    if is_async(function) or inspect.isgeneratorfunction(function):
        raise InvalidArgument(
            f"{what}: {function.__qualname__} cannot answer at once: make it a plain method (def)"
        )
    setattr(function, READ, True)
    return function


def migrate(function: Callable[[dict[str, Any]], dict[str, Any]], /) -> Any:
    """Let a function of the class change the fields of recorded states before they are read.

    It takes the fields as plain JSON and returns them, for example under other names. It is a
    static method, and sees fields of each release: those that it has changed before, too. Raises
    ``InvalidArgument``.
    """
    given = function.__func__ if isinstance(function, staticmethod) else function
    if not inspect.isfunction(given) or is_async(given):
        shown = checks.shown(given)
        raise InvalidArgument(f"@entity.migrate: put it on a function (def), not on {shown}")
    setattr(given, MIGRATE, True)
    return staticmethod(given)


def _check(cls: type[Any], where: str) -> None:
    """Refuse a class whose objects cannot be made, or have no fields."""
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise InvalidArgument(
            f"{where}: an object is made without arguments ({error}): give each a default"
        ) from None
    except ValueError:
        pass  # a class in C tells nothing
    if not hasattr(cls, "__dict__") or not any("__dict__" in vars(each) for each in cls.__mro__):
        raise InvalidArgument(
            f"{where}: its objects have no __dict__, which holds their state: leave __slots__ out"
        )
    for attribute, value in inspect.getmembers_static(cls):
        if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
            if not attribute.startswith("_"):
                raise InvalidArgument(
                    f"{where}: {attribute} has a yield, so that calling it does nothing: take it "
                    "out, or begin its name with _"
                )


def _place(cls: type[Any]) -> str:
    for value in vars(cls).values():
        code = getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None
        if code is not None:
            return f"{code.co_filename}:{code.co_firstlineno}"
    return cls.__module__
