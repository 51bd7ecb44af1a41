"""A business key in the hands of a client: events for whichever run holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVarTuple, overload

from processor import checks
from processor.arguments import Seconds
from processor.client.calls import ClientCalls
from processor.client.handle import Handle
from processor.core.correlation import delivered, delivers, key_id
from processor.errors import CommandRejected, QueryFailed, WorkflowNotFound
from processor.workflow._correlation import keep_ms
from processor.workflow._handlers import event_of

__all__ = ("Correlated", "CorrelationDescription", "HasKeys", "KeptEvent")

Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event that no run has taken: its ``name``, its ``value``, and ``until`` when it waits."""

    name: str
    value: Any
    until: datetime


@dataclass(frozen=True, slots=True)
class CorrelationDescription:
    """Who holds a business key, and what waits for it, in order.

    ``holder`` is a workflow id, and ``run_id`` the run that asked for the key; None: nobody does.
    """

    name: str
    key: str
    holder: str | None
    run_id: str | None
    kept: list[KeptEvent]


class Correlated:
    """A business key: its ``name`` ("shipment"), and the ``key`` itself ("S-7").

    ``id`` is the workflow id of the run that has what waits for it.
    """

    def __init__(self, calls: ClientCalls, handle: Handle[Any], name: str, key: str) -> None:
        self._calls = calls
        self._handle = handle
        self.id = handle.id
        self.name = name
        self.key = key

    def __repr__(self) -> str:
        return f"Correlated(name={self.name!r}, key={self.key!r})"

    @overload
    async def signal(
        self,
        handler: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        key: str | None = None,
        keep: Seconds | None = None,
    ) -> None: ...

    @overload
    async def signal(
        self, handler: str, /, *args: Any, key: str | None = None, keep: Seconds | None = None
    ) -> None: ...

    async def signal(  # type: ignore[misc]  # *Ts
        self,
        handler: Any,
        /,
        *args: Any,
        key: str | None = None,
        keep: Seconds | None = None,
    ) -> None:
        """Signal the run that holds this business key; it is durable once this returns.

        While nobody holds the key, the signal is kept for ``keep`` (a ``timedelta`` or seconds;
        default: a day), and goes to the dead letters then. Those of one key reach the run in their
        order. ``handler`` is a handler of the workflow's class, or a name, and ``key`` an
        idempotency key, as for ``Handle.signal``. Raises ``InvalidArgument``, ``SchemaMismatch``,
        ``PayloadTooLarge``, ``KeyReused``, ``ShardUnavailable``.
        """
        name, value = event_of(handler, args, "signal")
        told = delivered(name, value, keep_ms(keep, "signal"))
        encoded = self._calls.encoded(f"signal {name!r}", told)
        key = None if key is None else checks.name(key, "signal: key")
        await self._calls.accepted(self.id, delivers(encoded), key=key, asks_for=name)

    async def describe(self) -> CorrelationDescription:
        """Return who holds the key, and the signals that wait. Raises ``ShardUnavailable``."""
        told: dict[str, Any] = {"holder": None, "kept": []}
        try:
            told = await self._handle.query("describe", reject="not-open")
        except (QueryFailed, WorkflowNotFound):
            if await self._is_open():
                raise
        holder = told["holder"] or {}
        kept = [
            KeptEvent(
                each["name"], each["value"], datetime.fromtimestamp(each["until_ms"] / 1000, UTC)
            )
            for each in told["kept"]
        ]
        which = holder.get("workflow_id"), holder.get("run_id")
        return CorrelationDescription(self.name, self.key, *which, kept)

    async def release(self) -> str | None:
        """Free the key, whoever holds it; return the workflow id of who did, None: nobody.

        The run is not told. What reached it stays, and what comes now waits for another one. Raises
        ``ShardUnavailable``.
        """
        try:
            held: list[str] | None = await self._handle.update("release")
        except (CommandRejected, WorkflowNotFound):
            if await self._is_open():
                raise
            return None
        return None if held is None else held[0]

    async def _is_open(self) -> bool:
        try:
            return (await self._handle.describe()).status.is_open
        except WorkflowNotFound:
            return False


class HasKeys(ABC):
    """The part of a client that names business keys."""

    _calls: ClientCalls

    @abstractmethod
    def _handle(self, id: str, run_id: str | None, result_type: Any) -> Handle[Any]: ...

    def correlated(self, name: str, key: str) -> Correlated:
        """Return a business key, by which a run is signalled that holds it; nobody is asked.

        A run holds it by ``workflow.correlate(name, key)``. Raises ``InvalidArgument``.
        """
        handle = self._handle(key_id(name, key, "correlated"), None, Any)
        return Correlated(self._calls, handle, name, key)
