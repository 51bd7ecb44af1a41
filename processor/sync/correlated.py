"""Business keys: each call blocks until it has its answer.

Written by ``processor.dev.sync_client``. What each method does stands in full at its twin.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVarTuple, overload

from processor.arguments import Seconds
from processor.client.correlated import CorrelationDescription
from processor.sync.blocking import Blocking

__all__ = ("Correlated",)

Ts = TypeVarTuple("Ts")


class Correlated:
    """A business key: its ``name`` ("shipment"), and the ``key`` itself ("S-7")."""

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
    def signal(
        self,
        handler: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        key: str | None = None,
        keep: Seconds | None = None,
    ) -> None: ...

    @overload
    def signal(
        self, handler: str, /, *args: Any, key: str | None = None, keep: Seconds | None = None
    ) -> None: ...

    def signal(
        self, handler: Any, /, *args: Any, key: str | None = None, keep: Seconds | None = None
    ) -> None:
        """Signal the run that holds this business key; it is durable once this returns."""
        self._blocking.call(self._twin.signal(handler, *args, key=key, keep=keep))

    def describe(self) -> CorrelationDescription:
        """Return who holds the key, and the signals that wait. Raises ``ShardUnavailable``."""
        found: CorrelationDescription = self._blocking.call(self._twin.describe())
        return found

    def release(self) -> str | None:
        """Free the key, whoever holds it; return the workflow id of who did, None: nobody."""
        found: str | None = self._blocking.call(self._twin.release())
        return found
