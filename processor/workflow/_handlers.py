"""What a class of a workflow has beside its ``run``: methods for signals, queries and updates.

``@workflow.signal``, ``@workflow.query`` and ``@workflow.update`` make methods handlers.
``@workflow.define`` on the class finds them, those of base classes too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from copy import copy
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    overload,
)

from processor import checks
from processor.errors import InvalidArgument
from processor.workflow._context import in_workflow, plainly
from processor.workflow._signature import Signature, event_value

__all__ = (
    "NO_HANDLERS",
    "Handler",
    "HandlerTable",
    "QueryHandler",
    "SignalHandler",
    "Unfinished",
    "UpdateHandler",
    "check_handler",
    "check_query",
    "check_unfinished",
    "check_validator",
    "event_of",
    "handlers_of",
    "parts_of",
    "query",
    "query_of",
    "signal_handler",
    "update",
    "update_of",
)

P = ParamSpec("P")
R = TypeVar("R")

Unfinished = Literal["warn", "abandon"]
"""What the end of a run means to a handler that has not ended: a warning, or nothing."""


class Handler(Generic[P, R]):
    """A method that takes what comes from outside. On an instance it is the method itself.

    ``name`` is "" where it takes every name that no other handler has.
    """

    kind: ClassVar[str]

    def __init__(self, function: Callable[..., Any], name: str, *, is_method: bool = True) -> None:
        self.function = function
        self.name = name
        self.is_method = is_method
        self._skipped = is_method + (not name)
        self.signature = Signature(self._what, function, self._skipped)

    @property
    def _what(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else f"the dynamic {self.kind}"

    @property
    def place(self) -> str:
        """Where it is defined, as ``file:line``."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Refuse: the class has no state. It is here for type checkers, which take the types."""
        raise TypeError(
            f"{self!r} is a handler. A client calls it with handle.{self.kind}(...), and a test "
            "on an instance of the class"
        )

    def defined(self, names: Mapping[str, Any] | None) -> None:
        """Let annotations name what is local to the place where the class is defined."""
        if names is not None:
            self.signature = Signature(self._what, self.function, self._skipped, names)

    def __repr__(self) -> str:
        return f"<{self._what} at {self.place}>"


class _Running(Handler[P, R]):
    """A method that runs beside the code, for as long as it takes. It may be async."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        unfinished: Unfinished,
        *,
        is_method: bool = True,
    ) -> None:
        super().__init__(function, name, is_method=is_method)
        self.unfinished = unfinished

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any]) -> Callable[P, R]: ...

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        if instance is None:
            return self
        bound = self.function.__get__(instance, owner)
        if inspect.iscoroutinefunction(self.function) and not in_workflow():
            return partial(plainly, bound)
        return bound


class SignalHandler(_Running[P, R]):
    """A method that takes signals, in the order in which they arrive."""

    kind = "signal"


class UpdateHandler(_Running[P, R]):
    """A method that does something, and whose outcome goes to whoever asked.

    ``check`` is its validator, None where it has none.
    """

    kind = "update"
    check: Callable[..., Any] | None = None

    def validator(self, function: Callable[Concatenate[Any, P], None], /) -> Any:
        """Let a plain method, with the same arguments, refuse updates: by raising any error.

        It only reads, and runs before the update is accepted. What it refuses leaves nothing in the
        history. Raises ``InvalidArgument``.
        """
        what = f"@{self.function.__name__}.validator"
        if self.check is not None:
            raise InvalidArgument(f"{what}: {self!r} has a validator already")
        if not inspect.isfunction(function):
            given = checks.shown(function)
            raise InvalidArgument(f"{what}: put it on a method of the class, not on {given}")
        check_validator(function, what)
        self.check = function
        return function


class QueryHandler(Handler[P, R]):
    """A method that answers queries. It only reads."""

    kind = "query"

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> QueryHandler[P, R]: ...

    @overload
    def __get__(self, instance: object, owner: type[Any]) -> Callable[P, R]: ...

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        return self if instance is None else self.function.__get__(instance, owner)


@dataclass(frozen=True)
class HandlerTable:
    """The handlers of a class by their names; "" has the one that takes all other names."""

    signals: Mapping[str, SignalHandler[..., Any]]
    queries: Mapping[str, QueryHandler[..., Any]]
    updates: Mapping[str, UpdateHandler[..., Any]]

    @property
    def all(self) -> tuple[Handler[..., Any], ...]:
        return (*self.signals.values(), *self.queries.values(), *self.updates.values())


NO_HANDLERS: Final = HandlerTable(*3 * (MappingProxyType[str, Any]({}),))


class _Query(Protocol):
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> QueryHandler[P, R]: ...


@overload
def query(function: Callable[Concatenate[Any, P], R], /) -> QueryHandler[P, R]: ...


@overload
def query(*, name: str | None = None, dynamic: bool = False) -> _Query: ...


def query(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, dynamic: bool = False
) -> Any:
    """Let a method of a workflow's class answer queries, under its own name or ``name``.

    The method reads, and returns at once: it is plain (not async), and can ask for nothing.
    ``dynamic``: it takes every name that no other query has, and gets the name before the
    arguments. Raises ``InvalidArgument``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        known = _name(function, "query", name, dynamic)
        check_query(function, "@workflow.query")
        return QueryHandler(function, known)

    return decorate if function is None else decorate(function)


class _Updates(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> UpdateHandler[P, R]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> UpdateHandler[P, R]: ...


@overload
def update(
    function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
) -> UpdateHandler[P, R]: ...


@overload
def update(function: Callable[Concatenate[Any, P], R], /) -> UpdateHandler[P, R]: ...


@overload
def update(
    *, name: str | None = None, dynamic: bool = False, unfinished: Unfinished = "warn"
) -> _Updates: ...


def update(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished: Unfinished = "warn",
) -> Any:
    """Let a method of a workflow's class take updates, under its own name or ``name``.

    It may be async, await activities, and change the state. What it returns goes to whoever asked,
    and so does an ``ApplicationError``; any other error parks the run. ``@that_method.validator``
    adds a check. ``dynamic``: it takes every name that no other update has, and gets the name
    before the arguments. The end of the run warns of handlers that have not ended, unless
    ``unfinished="abandon"``. Raises ``InvalidArgument``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        check_unfinished(unfinished, "@workflow.update")
        return UpdateHandler(function, _name(function, "update", name, dynamic), unfinished)

    return decorate if function is None else decorate(function)


def check_validator(function: Callable[..., Any], what: str) -> None:
    """Refuse a validator that does not answer at once; ``what`` names the call in the error."""
    check_handler(function, what)
    if inspect.iscoroutinefunction(function):
        raise InvalidArgument(
            f"{what}: {checks.shown(function)} is async, but a validator only reads, and answers "
            "at once: make it a plain function (def)"
        )


def check_handler(function: Callable[..., Any], what: str) -> None:
    """Refuse a function that does nothing when it is called; ``what`` names the call in errors."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidArgument(
            f"{what}: {checks.shown(function)} has a yield, so that calling it does nothing: take "
            "it out"
        )


def check_query(function: Callable[..., Any], what: str) -> None:
    """Refuse a function that does not answer at once; ``what`` names the call in the error."""
    if inspect.iscoroutinefunction(function):
        raise InvalidArgument(
            f"{what}: {checks.shown(function)} is async, but a query only reads, and answers at "
            "once: make it a plain function (def)"
        )


def signal_handler(
    function: Callable[..., Any],
    name: str | None = None,
    *,
    dynamic: bool = False,
    unfinished: Unfinished = "warn",
) -> Any:
    """Make a method the handler of a signal; see ``workflow.signal``."""
    check_unfinished(unfinished, "@workflow.signal")
    return SignalHandler(function, _name(function, "signal", name, dynamic), unfinished)


def check_unfinished(unfinished: Unfinished, what: str) -> None:
    if unfinished not in ("warn", "abandon"):
        given = checks.shown(unfinished)
        raise InvalidArgument(f'{what}: unfinished: give "warn" or "abandon", not {given}')


def _name(function: Any, kind: str, name: str | None, dynamic: bool) -> str:
    """Return the name of a handler, "" where it takes all names."""
    decorator = f"@workflow.{kind}"
    if not inspect.isfunction(function):
        given = checks.shown(function)
        raise InvalidArgument(f"{decorator}: put it on a method of a class, not on {given}")
    check_handler(function, decorator)
    if dynamic:
        if name is not None:
            raise InvalidArgument(f"{decorator}: a dynamic one has no name: leave name=... out")
        return ""
    return checks.name(function.__name__ if name is None else name, f"{decorator}: name")


def handlers_of(cls: type[Any], names: Mapping[str, Any] | None) -> HandlerTable:
    """Return the handlers of a class. Raises ``InvalidArgument`` where they contradict."""
    found: dict[str, dict[str, Any]] = {"signal": {}, "query": {}, "update": {}}
    for attribute, handler in inspect.getmembers_static(cls):
        _check_override(cls, attribute, handler)
        _check_wrapped(cls, attribute, handler)
        if not isinstance(handler, Handler):
            continue
        other = found[handler.kind].setdefault(handler.name, handler)
        if other is not handler:
            which = f"{handler.kind}s have the name {handler.name!r}"
            which = which if handler.name else f"dynamic {handler.kind} handlers"
            raise InvalidArgument(
                f"@workflow.define: class {cls.__qualname__}: two {which}: one at {other.place}, "
                f"one at {handler.place}. Give one of them another name"
            )
        handler.defined(names)
        if isinstance(handler, UpdateHandler) and handler.check is not None:
            found[handler.kind][handler.name] = _with_check_of(cls, attribute, handler)
    return HandlerTable(found["signal"], found["query"], found["update"])


def _with_check_of(
    cls: type[Any], attribute: str, handler: UpdateHandler[..., Any]
) -> UpdateHandler[..., Any]:
    """Return an update with the validator that a subclass has in the place of the base's."""
    assert handler.check is not None, "it has a validator"
    name = handler.check.__name__
    for base in cls.__mro__:
        stands_here = vars(base).get(attribute) is handler
        if stands_here:
            return handler
        if inspect.isfunction(check := vars(base).get(name)):
            check_validator(check, f"@workflow.define: {base.__qualname__}.{name}")
            mine: UpdateHandler[..., Any] = copy(handler)
            mine.check = check
            return mine
    return handler


def _check_wrapped(cls: type[Any], attribute: str, value: object) -> None:
    """Refuse a handler under another decorator, which hides it."""
    for name in ("__func__", "__wrapped__", "fget", "func"):
        if isinstance(getattr(value, name, None), Handler):
            raise InvalidArgument(
                f"@workflow.define: {cls.__qualname__}.{attribute} is a handler under another "
                f"decorator ({type(value).__name__}): put @workflow.signal, @workflow.query "
                "or @workflow.update on top, and on a plain method"
            )


def event_of(handler: Any, args: tuple[Any, ...], what: str) -> tuple[str, Any]:
    """Return the name and the value of the event that calls a handler, named by name or itself.

    ``what`` names the call in errors.
    """
    if isinstance(handler, SignalHandler):
        return _named(handler, what), event_value(handler.signature, args)
    if isinstance(handler, Handler):
        raise InvalidArgument(f"{what}: {handler!r} is no handler of signals")
    return checks.name(handler, f"{what}: name"), event_value(None, args)


def parts_of(message: Any, what: str) -> tuple[Any, tuple[Any, ...]]:
    """Return the handler and the arguments of what goes with a start."""
    if not isinstance(message, tuple) or not message:
        shown = checks.shown(message)
        raise InvalidArgument(f"{what}: give a handler and its arguments in a tuple, not {shown}")
    return message[0], message[1:]


def query_of(handler: Any, args: tuple[Any, ...], what: str) -> tuple[str, Any, list[Any]]:
    """Return the name of a query, the type of its answer, and its arguments."""
    return _called(handler, args, what, QueryHandler, "queries")


def update_of(handler: Any, args: tuple[Any, ...], what: str) -> tuple[str, Any, list[Any]]:
    """Return the name of an update, the type of its result, and its arguments."""
    return _called(handler, args, what, UpdateHandler, "updates")


def _called(
    handler: Any, args: tuple[Any, ...], what: str, kind: type[Handler[..., Any]], kinds: str
) -> tuple[str, Any, list[Any]]:
    if not isinstance(handler, kind):
        if isinstance(handler, Handler):
            raise InvalidArgument(f"{what}: {handler!r} is no handler of {kinds}")
        return checks.name(handler, f"{what}: name"), Any, list(args)
    name = _named(handler, what)
    return name, handler.signature.result, list(handler.signature.positions(args, {}))


def _named(handler: Handler[..., Any], what: str) -> str:
    if not handler.name:
        raise InvalidArgument(f"{what}: {handler!r} has no name of its own: give the name as text")
    return handler.name


def _check_override(cls: type[Any], attribute: str, value: object) -> None:
    """Refuse a method that hides a handler of a base class and is none itself."""
    for base in cls.__mro__[1:]:
        hidden = vars(base).get(attribute)
        if isinstance(hidden, Handler) and type(value) is not type(hidden):
            raise InvalidArgument(
                f"@workflow.define: {cls.__qualname__}.{attribute} hides the {hidden.kind} of "
                f"{base.__qualname__}: put @workflow.{hidden.kind} on it, too"
            )
