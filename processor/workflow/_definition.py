"""``@workflow.define``: a function, or a class with ``@workflow.run``, is a ``Workflow``."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from functools import update_wrapper
from types import MethodType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from processor import checks
from processor.core.nouns.lineage import RetryOptions
from processor.errors import InvalidArgument
from processor.policy import RetryPolicy
from processor.workflow._asyncio import running_loop
from processor.workflow._context import cannot_wait, plainly
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._guard.names import unanswered
from processor.workflow._handlers import NO_HANDLERS, HandlerTable, handlers_of
from processor.workflow._options import retry_options
from processor.workflow._signature import AsyncFunction, Signature, is_async, names_at

__all__ = (
    "ALONE",
    "PlainRunMethod",
    "RunMethod",
    "Workflow",
    "called",
    "define",
    "defined",
    "named",
    "returned",
    "run",
)

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type[Any])

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_DEFINED = "__processor_workflow__"
"""Attribute of a class that is defined as a workflow: its ``Workflow``."""

ALONE: Final = "processor.activity:"
"""So begins the name of the workflow that runs one activity; the activity's name follows."""


class Workflow(Generic[P, R]):
    """A defined workflow. A call is awaited and runs the function, so that it can be unit-tested.

    ``is_async``: the function is; a plain one cannot wait. Use ``function`` to call that directly.
    ``failure_exception_types`` are the exceptions that fail a run; any other one that is not a
    ``ProcessorError`` is a bug and parks it. Where ``function`` is a method of a class,
    ``handlers`` are those of the class, and ``make`` makes an instance from the run's arguments.
    """

    def __init__(
        self,
        function: Callable[P, Any],
        name: str,
        execution_timeout_ms: int | None,
        retry: RetryOptions | None,
        failure_exception_types: tuple[type[BaseException], ...],
        signature: Signature,
        make: Callable[..., Any] | None = None,
        handlers: HandlerTable = NO_HANDLERS,
    ) -> None:
        self.function = function
        self.is_async = is_async(function)
        self.make = make
        self.handlers = handlers
        self.name = name
        self.execution_timeout_ms = execution_timeout_ms
        self.retry = retry
        self.failure_exception_types = failure_exception_types
        self.signature = signature
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R]:
        loop = running_loop()
        if type(loop) is WorkflowLoop:
            if loop.plain:
                raise cannot_wait(f"calls workflow {self.name!r}")
            if self.is_async:
                return cast("Coroutine[object, None, R]", self.function(*args, **kwargs))
        return plainly(self.function, *args, **kwargs)

    @property
    def parameter_types(self) -> tuple[Any, ...]:
        return self.signature.types

    @property
    def result_type(self) -> Any:
        return self.signature.result

    @property
    def place(self) -> str:
        """Where it is defined, as ``file:line``."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} at {self.place}>"


def called(workflow: Workflow[..., Any], arguments: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
    """Return the coroutine of a workflow's code. That of a plain one never waits."""
    if workflow.is_async:
        coroutine: Coroutine[Any, Any, Any] = workflow.function(*arguments)
        return coroutine
    return _ended(workflow, arguments)


async def _ended(workflow: Workflow[..., Any], arguments: tuple[Any, ...]) -> Any:
    return returned(workflow, arguments)


def returned(workflow: Workflow[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Return what the code of a plain workflow returns; its loop is the one that runs."""
    loop = running_loop()
    assert type(loop) is WorkflowLoop, "runs have no other loop"
    loop.plain = True
    try:
        result = workflow.function(*arguments)
    finally:
        loop.plain = False
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise cannot_wait(f"returns {checks.shown(result)}")
    return result


class RunMethod(Workflow[P, R]):
    """The method of a class that is run. Named by way of its class, it is the class's workflow."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        update_wrapper(self, function)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Workflow[P, R]: ...

    @overload
    def __get__(
        self, instance: object, owner: type[Any]
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        if instance is None:
            return vars(owner).get(_DEFINED, self)
        return MethodType(super().__call__, instance)

    def __repr__(self) -> str:
        return f"<the run method {self.function.__qualname__!r}>"


class PlainRunMethod(RunMethod[P, R]):
    """A plain method that is run; on an instance it is that method."""

    @overload  # type: ignore[override]
    def __get__(self, instance: None, owner: type[Any]) -> Workflow[P, R]: ...

    @overload
    def __get__(self, instance: object, owner: type[Any]) -> Callable[P, R]: ...

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        if instance is None:
            return super().__get__(None, owner)
        return MethodType(self.function, instance)


@overload
def run(  # type: ignore[overload-overlap]
    function: AsyncFunction[Concatenate[Any, P], R], /
) -> RunMethod[P, R]: ...


@overload
def run(function: Callable[Concatenate[Any, P], R], /) -> PlainRunMethod[P, R]: ...


def run(function: Callable[..., Any], /) -> Any:
    """Mark the method of a class that is the workflow's code.

    Put ``@workflow.define`` on the class. ``client.start(MyClass.run, ...)`` starts it. A plain
    method (``def``) cannot wait. Raises ``InvalidArgument``.
    """
    _check_code(function, "@workflow.run", "put it on a method of a class, which has a name")
    return RunMethod(function) if is_async(function) else PlainRunMethod(function)


def defined(given: object) -> Workflow[..., Any] | None:
    """Return the workflow that somebody names, by its class or by itself; None: it is none."""
    if isinstance(given, RunMethod):
        raise InvalidArgument(
            f"{given!r} is of a class that is no workflow: put @workflow.define on the class (a "
            "class that inherits from a workflow needs it, too)"
        )
    if isinstance(given, type):
        found = vars(given).get(_DEFINED)
        return found if isinstance(found, Workflow) else None
    return given if isinstance(given, Workflow) else None


def named(call: str, workflow: Any) -> tuple[str, Any]:
    """Return the name of a workflow, and the type of its result."""
    if isinstance(workflow, str):
        return checks.name(workflow, f"{call}: workflow"), Any
    if (known := defined(workflow)) is not None:
        if known is not workflow:
            which = f"{workflow.__qualname__}.{known.function.__name__}"
            raise InvalidArgument(f"{call}: workflow: name the method that is run: {which}")
        return known.name, known.result_type
    given = checks.shown(workflow)
    raise InvalidArgument(f"{call}: workflow: {given} is none: put @workflow.define on a function")


class _Define(Protocol):
    @overload
    def __call__(self, given: C, /) -> C: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, given: AsyncFunction[P, R], /) -> Workflow[P, R]: ...

    @overload
    def __call__(self, given: Callable[P, R], /) -> Workflow[P, R]: ...


@overload
def define(given: C, /) -> C: ...  # type: ignore[overload-overlap]


@overload
def define(given: AsyncFunction[P, R], /) -> Workflow[P, R]: ...


@overload
def define(given: Callable[P, R], /) -> Workflow[P, R]: ...


@overload
def define(
    *,
    name: str | None = None,
    execution_timeout: timedelta | float | None = None,
    retry: RetryPolicy | None = None,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> _Define: ...


def define(
    given: Any = None,
    /,
    *,
    name: str | None = None,
    execution_timeout: timedelta | float | None = None,
    retry: RetryPolicy | None = None,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> Any:
    """Make a function a workflow, or a class; under its own name or ``name``.

    A function is async; a plain one (``def``) cannot wait, so that its run ends in its first turn.
    A class has one method under ``@workflow.run``, and takes signals and answers queries by
    the methods under ``@workflow.signal`` and ``@workflow.query``. Each run has an instance of its
    own. ``__init__`` gets the arguments of the run if it needs any, or has the same parameters.
    ``execution_timeout`` (a ``timedelta`` or seconds; default: none) ends a run that takes longer,
    ``retry`` says when a run that failed is followed by another one (default: never); a start may
    say otherwise. ``failure_exception_types`` are exceptions that fail a run instead of parking it.
    Warns of names in the code whose answers replay cannot repeat (``datetime.now``). Raises
    ``InvalidArgument``.
    """
    retries = None if retry is None else retry_options(retry, "@workflow.define: retry")
    timeout_ms = _checked(name, execution_timeout, failure_exception_types)

    def decorate(given: Any, depth: int = 2) -> Any:
        owner = given if isinstance(given, type) else None
        function = given if owner is None else _run_of(owner)
        names, handlers = names_at(depth, given), NO_HANDLERS
        if owner is not None:
            handlers = handlers_of(owner, names)
        else:
            _check_code(
                function,
                "@workflow.define",
                "put it on a function outside of any class, or on a class with a method under "
                "@workflow.run; a name is given as name=...",
            )
        known = name or given.__name__
        for each in (function, *(handler.function for handler in handlers.all)):
            for what in unanswered(inspect.unwrap(each)):
                warnings.warn(
                    f"workflow {known!r} uses {what}: it does not answer from the run, so that "
                    "replay cannot repeat it",
                    stacklevel=depth + 1,
                )
        skipped = 0 if owner is None else 1
        made: Workflow[..., Any] = Workflow(
            function,
            known,
            timeout_ms,
            retries,
            tuple(failure_exception_types),
            Signature(f"workflow {known!r}", function, skipped, names),
            None if owner is None else _maker(owner, function),
            handlers,
        )
        if owner is None:
            return made
        setattr(owner, _DEFINED, made)
        return owner

    if given is not None:
        return decorate(given)
    return lambda given: decorate(given, 2)


def _check_code(function: Any, what: str, instead: str) -> None:
    """Refuse what is no function that can be run; ``what`` names the call in the error."""
    inner = inspect.unwrap(function)
    if not hasattr(inner, "__code__"):
        raise InvalidArgument(f"{what}: {checks.shown(function)} is no function: {instead}")
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise InvalidArgument(
            f"{what}: {function.__qualname__} has a yield, but workflows await: make it an "
            "`async def`, and write `result = await charge(order)` for `result = yield "
            "context.call_activity(...)`"
        )


def _run_of(owner: type[Any]) -> Callable[..., Any]:
    """Return the function of a class that is run."""
    found = [
        (attribute, value)
        for attribute, value in inspect.getmembers_static(owner)
        if isinstance(value, RunMethod)
    ]
    if len(found) != 1:
        names = ", ".join(attribute for attribute, _ in found) or "none"
        raise InvalidArgument(
            f"@workflow.define: class {owner.__qualname__} needs one method under "
            f"@workflow.run; it has {names}. (A method that hides the run method of a base class "
            "needs @workflow.run, too)"
        )
    function: Callable[..., Any] = found[0][1].function
    return function


def _maker(owner: type[Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes an instance from the run's arguments, which ``__init__`` takes or not.

    It takes them if it needs any, or has the very parameters of the run method.
    """
    init: Any = owner.__init__
    parameters = [*inspect.signature(init).parameters.values()][1:]
    needs = any(each.default is each.empty and each.kind not in _REST for each in parameters)
    names = [each.name for each in parameters]
    if (not needs and names != [*inspect.signature(run).parameters][1:]) or not names:
        return lambda *_: owner()
    takes = Signature(f"{owner.__qualname__}.__init__", init, 1)
    code = Signature(f"{owner.__qualname__}.{run.__name__}", run, 1)
    if (takes.required, takes.maximum) != (code.required, code.maximum):
        raise InvalidArgument(
            f"@workflow.define: class {owner.__qualname__}: __init__ gets the arguments of the "
            f"run, so it has to take the same ones as {run.__name__}, or need none"
        )
    return owner


def _checked(
    name: str | None,
    execution_timeout: timedelta | float | None,
    failure_exception_types: Sequence[type[BaseException]],
) -> int | None:
    if name is not None:
        checks.name(name, "@workflow.define: name")
        if name.startswith(ALONE):
            raise InvalidArgument(
                f"@workflow.define: name: {name!r} is what the activity "
                f"{name.removeprefix(ALONE)!r} has that a client runs without a workflow: give "
                "another name"
            )
    if not isinstance(failure_exception_types, tuple | list):
        raise InvalidArgument(
            "@workflow.define: failure_exception_types: give a tuple or list of exception classes, "
            f"not {checks.shown(failure_exception_types)}"
        )
    for each in failure_exception_types:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise InvalidArgument(
                "@workflow.define: failure_exception_types: it holds "
                f"{checks.shown(each)}, which is no exception class"
            )
    if execution_timeout is None:
        return None
    return checks.duration_ms(execution_timeout, "@workflow.define: execution_timeout")
