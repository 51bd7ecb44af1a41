"""Starts of workflows that tell the run something at once, whether it is new or runs already."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import fields
from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

from processor import arguments as given
from processor import checks
from processor.client.calls import ClientCalls, deadline_of
from processor.client.handle import Handle
from processor.client.options import StartOptions
from processor.client.updates import outcome_within_ms
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun, StartWith
from processor.core.nouns.update import UpdateRun
from processor.errors import InvalidArgument
from processor.workflow._handlers import event_of, parts_of, update_of

__all__ = ("StartsWith",)

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Us = TypeVarTuple("Us")


class StartsWith(ABC):
    """The part of a client that starts a workflow with a signal or an update."""

    _calls: ClientCalls

    @abstractmethod
    def _prepared(self, *args: Any, **how: Any) -> tuple[Handle[Any], StartRun]: ...

    def _begins(
        self, call: str, workflow: Any, args: tuple[Any, ...], how: dict[str, Any]
    ) -> tuple[float | None, Handle[Any], StartRun]:
        """Return how long to wait, the handle of the workflow, and what starts it."""
        if how.get("key") is not None and call == "update_with_start":
            raise InvalidArgument(f"{call}: key: an update counts once by its id: give update_id")
        for name in how:
            if name not in StartOptions.__annotations__:
                raise TypeError(f"{call}() got an unexpected keyword argument {name!r}")
        timeout_s = given.seconds(how.pop("timeout", None), f"{call}: timeout")
        how.setdefault("conflict", "use-existing")
        return timeout_s, *self._prepared(call, workflow, args, **how)

    @overload
    async def signal_with_start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        signal: tuple[Callable[[*Us], Any], *Us] | tuple[str, *tuple[Any, ...]],
        **how: Unpack[StartOptions],
    ) -> Handle[R]: ...

    @overload
    async def signal_with_start(
        self,
        workflow: str,
        *args: Any,
        signal: tuple[Any, ...],
        **how: Unpack[StartOptions],
    ) -> Handle[Any]: ...

    async def signal_with_start(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self,
        workflow: Any,
        *args: Any,
        signal: tuple[Any, ...],
        **how: Any,
    ) -> Handle[Any]:
        """Send a signal to a workflow, which is started with it where it does not run.

        ``signal`` is a handler of the workflow's class, or its name, and the arguments:
        ``signal=(Cart.add, "apple")``. A run that begins has the signal before its code does. Both
        are one request, which counts once. The rest is as for ``start``, but for ``conflict``: an
        open run of that id is used unless it says otherwise. Raises as ``start`` and ``signal`` do.
        """
        key: str | None = how.get("key")
        timeout_s, handle, start = self._begins("signal_with_start", workflow, args, how)
        handler, rest = parts_of(signal, "signal_with_start: signal")
        name, value = event_of(handler, rest, "signal_with_start: signal")
        event = RaiseEvent(name, self._calls.encoded(f"event {name!r}", value))
        handle._begun(await self._calls.accepted(handle.id, _with(start, event), timeout_s, key))
        return handle

    @overload
    async def update_with_start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, Any]],
        *args: *Ts,
        update: tuple[Callable[[*Us], T], *Us],
        update_id: str | None = None,
        **how: Unpack[StartOptions],
    ) -> T: ...

    @overload
    async def update_with_start(
        self,
        workflow: Any,
        *args: Any,
        update: tuple[str, *tuple[Any, ...]],
        update_id: str | None = None,
        **how: Unpack[StartOptions],
    ) -> Any: ...

    async def update_with_start(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self,
        workflow: Any,
        *args: Any,
        update: tuple[Any, ...],
        update_id: str | None = None,
        **how: Any,
    ) -> Any:
        """Let a workflow, which is started where it does not run, do an update; return its result.

        ``update`` is a handler of the workflow's class, or its name, and the arguments:
        ``update=(Cart.add, "apple")``. In a run that begins, the handler begins before the code.
        The start stands even if the validator refuses the update. ``timeout`` is for all of it.
        The rest is as for ``signal_with_start``. Raises as ``start`` and ``Handle.update`` do.
        """
        timeout_s, handle, start = self._begins("update_with_start", workflow, args, how)
        handler, rest = parts_of(update, "update_with_start: update")
        name, type, arguments = update_of(handler, rest, "update_with_start: update")
        encoded = self._calls.encoded(f"the arguments of update {name!r}", arguments)
        id = uuid.uuid4().hex if update_id is None else update_id
        id = checks.name(id, "update_with_start: update_id")
        within_ms = outcome_within_ms(self._calls, timeout_s)
        body = _with(start, UpdateRun(id, name, encoded, outcome_within_ms=within_ms))
        deadline = deadline_of(timeout_s)
        async with handle._vigil(None, "update_with_start: parked"):
            again = update_id is not None
            sent = await handle._sent(body, id, type, timeout_s, name=name, again=again)
            return await sent._result(timeout_s, deadline)


def _with(start: StartRun, first: RaiseEvent | UpdateRun) -> StartWith:
    """Return a start that tells the run something."""
    known = {each.name: getattr(start, each.name) for each in fields(start)}
    return StartWith(**known, first=first)
