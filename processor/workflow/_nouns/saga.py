"""Sagas: what was done is undone, in reverse, where a later step fails."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self

from processor import checks
from processor.errors import InvalidArgument
from processor.workflow._context import current
from processor.workflow._handlers import check_handler

__all__ = ("Saga",)

P = ParamSpec("P")


class Saga:
    """``async with workflow.Saga() as saga``: undo what was done if the block does not end well.

    Register what undoes each step: ``saga.compensate(refund, order)``. Where the block raises an
    error or is cancelled, all that is registered is run, the last one first, one after the other. A
    cancellation waits for that. Then the error goes on. Where compensations fail, the others are
    run all the same, and an ``ExceptionGroup`` has their errors. The error of the block is its
    cause.
    """

    def __init__(self) -> None:
        current("Saga")
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
        if not isinstance(exc, Exception | asyncio.CancelledError):
            return  # it ended well, or goes on as another run
        undoing = asyncio.ensure_future(self._undo())
        interrupted: asyncio.CancelledError | None = None
        while not undoing.done():
            try:
                await asyncio.wait([undoing])
            except asyncio.CancelledError as error:
                interrupted = error
        if errors := undoing.result():
            count = f"{len(errors)} of {len(self._compensations)} compensations failed"
            raise ExceptionGroup(f"{count}, after {type(exc).__name__}", errors) from exc
        if interrupted is not None and not isinstance(exc, asyncio.CancelledError):
            raise interrupted

    async def _undo(self) -> list[Exception]:
        """Run all compensations; return the errors of those that fail."""
        errors: list[Exception] = []
        for what, undo in reversed(self._compensations):
            try:
                result = undo()
                if inspect.isawaitable(result):
                    await result
            except asyncio.CancelledError:
                errors.append(RuntimeError(f"{what} was cancelled"))
            except Exception as error:
                errors.append(error)
        return errors
