"""``@workflow.define``: an async function becomes a ``Workflow``, which keeps its types."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from processor import checks
from processor.core.nouns.lineage import RetryOptions
from processor.errors import InvalidArgument
from processor.policy import RetryPolicy
from processor.workflow._asyncio import running_loop
from processor.workflow._context import plain
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._guard.names import unanswered
from processor.workflow._options import retry_options
from processor.workflow._signature import Signature, names_at

__all__ = ("Workflow", "define")

P = ParamSpec("P")
R = TypeVar("R")


class Workflow(Generic[P, R]):
    """A defined workflow. Calling it runs the plain function, so that it can be unit-tested.

    ``failure_exception_types`` are the exceptions that fail a run; any other one that is not a
    ``ProcessorError`` is a bug and parks it.
    """

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        name: str,
        execution_timeout_ms: int | None,
        retry: RetryOptions | None,
        failure_exception_types: tuple[type[BaseException], ...],
        signature: Signature,
    ) -> None:
        self.function = function
        self.name = name
        self.execution_timeout_ms = execution_timeout_ms
        self.retry = retry
        self.failure_exception_types = failure_exception_types
        self.signature = signature
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R]:
        if type(running_loop()) is WorkflowLoop:
            return self.function(*args, **kwargs)
        return self._plainly(*args, **kwargs)

    async def _plainly(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run with activities that can be awaited, also those that are plain functions."""
        token = plain.set(True)
        try:
            return await self.function(*args, **kwargs)
        finally:
            plain.reset(token)

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


class _Define(Protocol):
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...


@overload
def define(function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...


@overload
def define(
    *,
    name: str | None = None,
    execution_timeout: timedelta | float | None = None,
    retry: RetryPolicy | None = None,
    failure_exception_types: tuple[type[BaseException], ...] = (),
) -> _Define: ...


def define(
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None,
    /,
    *,
    name: str | None = None,
    execution_timeout: timedelta | float | None = None,
    retry: RetryPolicy | None = None,
    failure_exception_types: tuple[type[BaseException], ...] = (),
) -> Any:
    """Make an async function a workflow, under its own name or ``name``.

    ``execution_timeout`` (a ``timedelta`` or seconds; default: none) ends a run that takes longer,
    ``retry`` says when a run that failed is followed by another one (default: never); a start may
    say otherwise. ``failure_exception_types`` are exceptions that fail a run instead of parking it.
    Warns of names in the code whose answers replay cannot repeat (``datetime.now``). Raises
    ``InvalidArgument``.
    """
    retries = None if retry is None else retry_options(retry, "@workflow.define: retry")
    timeout_ms = _checked(name, execution_timeout, failure_exception_types)

    def decorate(function: Callable[..., Coroutine[Any, Any, Any]], depth: int = 2) -> Any:
        shown = getattr(function, "__qualname__", repr(function))
        if not inspect.iscoroutinefunction(function):
            raise InvalidArgument(
                f"@workflow.define: {shown} has to be an async function (async def), outside of "
                "any class; a name is given as name=..."
            )
        known = name or function.__name__
        for what in unanswered(inspect.unwrap(function)):
            warnings.warn(
                f"workflow {known!r} uses {what}: it does not answer from the run, so that replay "
                "cannot repeat it",
                stacklevel=depth + 1,
            )
        return Workflow(
            function,
            known,
            timeout_ms,
            retries,
            tuple(failure_exception_types),
            Signature(f"workflow {known!r}", function, 0, names_at(depth, function)),
        )

    if function is not None:
        return decorate(function)
    return lambda function: decorate(function, 2)


def _checked(
    name: str | None,
    execution_timeout: timedelta | float | None,
    failure_exception_types: tuple[type[BaseException], ...],
) -> int | None:
    if name is not None:
        checks.name(name, "@workflow.define: name")
    if not isinstance(failure_exception_types, tuple | list):
        raise InvalidArgument(
            "@workflow.define: failure_exception_types: give a tuple of exception classes, not "
            f"{checks.shown(failure_exception_types)}"
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
