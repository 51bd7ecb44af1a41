"""Entities: each call blocks until it has its answer.

Written by ``processor.dev.sync_client``. What each method does stands in full at its twin.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Generic, TypeVar, TypeVarTuple, overload

from processor.arguments import Seconds
from processor.client.descriptions import EntityOperation, RunDescription
from processor.client.vigil import Parked
from processor.sync.blocking import Blocking

__all__ = ("EntityHandle",)

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class EntityHandle(Generic[E]):
    """One entity: the ``name`` of its class, and its ``key``. ``id`` is that of its run."""

    def __init__(self, twin: Any, blocking: Blocking) -> None:
        self._twin = twin
        self._blocking = blocking

    def __repr__(self) -> str:
        return repr(self._twin)

    @property
    def id(self) -> str:
        found: str = self._twin.id
        return found

    @property
    def name(self) -> str:
        found: str = self._twin.name
        return found

    @property
    def key(self) -> str:
        found: str = self._twin.key
        return found

    @overload
    def call(
        self,
        operation: Callable[[E, *Ts], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> R: ...

    @overload
    def call(
        self,
        operation: Callable[[E, *Ts], R],
        /,
        *args: *Ts,
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> R: ...

    @overload
    def call(
        self,
        operation: str,
        /,
        *args: Any,
        result_type: type[T],
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> T: ...

    @overload
    def call(
        self,
        operation: str,
        /,
        *args: Any,
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any: ...

    def call(
        self,
        operation: Any,
        /,
        *args: Any,
        result_type: Any = None,
        key: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any:
        """Let the entity do an operation, or answer a read, and return the result."""
        found: Any = self._blocking.call(
            self._twin.call(
                operation, *args, result_type=result_type, key=key, timeout=timeout, parked=parked
            )
        )
        return found

    @overload
    def signal(
        self,
        operation: Callable[[E, *Ts], Any],
        /,
        *args: *Ts,
        key: str | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
    ) -> None: ...

    @overload
    def signal(
        self,
        operation: str,
        /,
        *args: Any,
        key: str | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
    ) -> None: ...

    def signal(
        self,
        operation: Any,
        /,
        *args: Any,
        key: str | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
    ) -> None:
        """Ask the entity for an operation, and go on: it is durable once this returns."""
        self._blocking.call(self._twin.signal(operation, *args, key=key, delay=delay, at=at))

    def cancel(self, reason: str = "") -> bool:
        """Cancel the operation that runs; return False where none does."""
        found: bool = self._blocking.call(self._twin.cancel(reason))
        return found

    def state(self, timeout: Seconds | None = None) -> E | None:
        """Return the state that is recorded; None where there is none."""
        found: E | None = self._blocking.call(self._twin.state(timeout))
        return found

    def history(self, timeout: Seconds | None = None) -> list[EntityOperation]:
        """Return the operations that ended last, the oldest first: those that the class keeps."""
        found: list[EntityOperation] = self._blocking.call(self._twin.history(timeout))
        return found

    def describe(self) -> RunDescription:
        """Return how its run stands. Raises ``WorkflowNotFound`` where nobody has called it."""
        found: RunDescription = self._blocking.call(self._twin.describe())
        return found

    def unlock(self, reason: str = "", *, number: int | None = None) -> bool:
        """Free the entity from the run that holds its lock; return whether one did."""
        found: bool = self._blocking.call(self._twin.unlock(reason, number=number))
        return found
