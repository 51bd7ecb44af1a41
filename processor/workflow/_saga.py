"""Sagas: what was done is undone, in reverse, where a later step fails."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self

from processor import checks
from processor.errors import ApplicationError, InvalidArgument
from processor.workflow._context import current
from processor.workflow._engine.failing import fails
from processor.workflow._guard.signals import is_signal
from processor.workflow._handlers import check_handler
from processor.workflow._nouns.chain import going_on

__all__ = ("Saga",)

P = ParamSpec("P")


class Saga:
    """``async with workflow.Saga() as saga``: undo what was done if the block does not end well.

    Register what undoes each step: ``saga.compensate(refund, order)``. Where the block raises an
    error or is cancelled, all that is registered is run, the last one first, one after the other. A
    cancellation waits for that. Then the error goes on. Where compensations fail, the others are
    run all the same, and an ``ExceptionGroup`` has their errors. The error of the block is its
    cause. A bug in the block (an exception that does not fail the workflow) parks the run before
    anything is undone: fixed code goes on with the block.
    """

    def __init__(self) -> None:
        self._runtime = current("Saga")
        self._compensations: list[tuple[str, Callable[[], Any]]] = []
        self._open = False

    def compensate(self, undo: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Register what undoes a step: an activity, a function that may be async, a child's call.

        Raises ``InvalidArgument``.
        """
        if not callable(undo):
            raise InvalidArgument(
                f"Saga.compensate: give what is to be called, and its arguments, not "
                f"{checks.shown(undo)}: saga.compensate(refund, order)"
            )
        check_handler(undo, "Saga.compensate")
        if not self._open:
            raise InvalidArgument("Saga.compensate: use it inside of `async with workflow.Saga()`")
        self._compensations.append((checks.shown(undo), partial(undo, *args, **kwargs)))

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        runtime = self._runtime
        if exc is None or runtime.loop.dropped or is_signal(exc) or going_on(exc):
            return
        is_cancelled = isinstance(exc, asyncio.CancelledError)
        if not is_cancelled and not fails(exc, runtime.code.workflow.failure_exception_types):
            runtime.breaks(exc)  # whatever catches it: what was done is not undone for a bug
            return
        undoing = asyncio.ensure_future(self._undo())
        interrupted: asyncio.CancelledError | None = None
        while not undoing.done():
            try:
                await asyncio.wait([undoing])
            except asyncio.CancelledError as error:
                interrupted = error
        if errors := undoing.result():
            count = f"{len(errors)} of {len(self._compensations)} compensations failed"
            raise BaseExceptionGroup(f"{count}, after {type(exc).__name__}", errors) from exc
        if interrupted is not None and not is_cancelled:
            raise interrupted

    async def _undo(self) -> list[BaseException]:
        """Run all compensations; return the errors of those that fail."""
        errors: list[BaseException] = []
        for what, undo in reversed(self._compensations):
            try:
                result = undo()
                if inspect.isawaitable(result):
                    await result
            except BaseException as error:
                if is_signal(error) or self._runtime.loop.dropped:
                    raise
                errors.append(_told(what, error))
        return errors


def _told(what: str, error: BaseException) -> BaseException:
    """Return the error of a compensation as it is told."""
    if isinstance(error, asyncio.CancelledError):
        return ApplicationError(f"{what} was cancelled")
    if going_on(error) is not None:
        return InvalidArgument(f"{what}: a compensation cannot continue as new")
    return error
