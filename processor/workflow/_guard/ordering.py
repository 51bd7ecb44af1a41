"""Two places where asyncio goes by memory addresses, put in order.

``as_completed`` starts its coroutines in the order of a set of them, and the future that
``gather`` returns hashes by address. Everything else in asyncio that iterates over a set does so
over tasks, which hash to their number (see ``_engine.loop``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import FunctionType
from typing import Any

from processor.workflow._asyncio import GATHERING, running_loop
from processor.workflow._engine.loop import WorkflowLoop

__all__ = ("as_completed", "put_in_order")

_as_asyncio_has_it: Any = None


def put_in_order() -> None:
    """Put asyncio in order, for workflow loops only. Doing it twice changes nothing.

    The code of ``as_completed`` is exchanged, not the name: modules that imported the name
    earlier have to see the change too.
    """
    global _as_asyncio_has_it
    if _as_asyncio_has_it is not None:
        return
    function: Any = asyncio.as_completed
    _as_asyncio_has_it = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    _as_asyncio_has_it.__kwdefaults__ = function.__kwdefaults__
    function.__code__ = _entry.__code__
    if GATHERING is not None:
        GATHERING.__hash__ = _hash


def _entry(fs: Any, *, timeout: float | None = None) -> Any:
    from processor.workflow._guard.ordering import as_completed

    return as_completed(fs, timeout=timeout)


def as_completed(awaitables: Iterable[Any], *, timeout: float | None = None) -> Any:
    """asyncio's own, after making tasks of coroutines in the order in which they are given."""
    loop = running_loop()
    if type(loop) is WorkflowLoop and not asyncio.isfuture(awaitables):
        if not asyncio.iscoroutine(awaitables):
            unique = dict.fromkeys(awaitables)
            awaitables = [asyncio.ensure_future(each, loop=loop) for each in unique]
    return _as_asyncio_has_it(awaitables, timeout=timeout)


def _hash(self: Any) -> int:
    loop = self.get_loop()
    if type(loop) is not WorkflowLoop:
        return object.__hash__(self)
    number: int | None = getattr(self, "_number", None)
    if number is None:
        number = self._number = loop.next_number()[0]
    return number
