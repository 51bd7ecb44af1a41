"""The part of a handle that reads the values which a run sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, overload

from processor import arguments as given
from processor import checks
from processor.arguments import Seconds
from processor.client.calls import WAIT_MS, ClientCalls, deadline_of
from processor.client.vigil import Parked, Vigil
from processor.core.nouns.value import AwaitValue
from processor.core.records.answers import ValueIs
from processor.errors import ValueNotSet
from processor.workflow._engine.runtime import Decode, reader
from processor.workflow._outcomes import valued

__all__ = ("ReadsValues",)

T = TypeVar("T")


class ReadsValues(ABC):
    """The part of a handle that is about values."""

    id: str
    _calls: ClientCalls
    _which: tuple[str | None, str | None]

    @abstractmethod
    def _vigil(
        self, parked: Parked | None, what: str
    ) -> AbstractAsyncContextManager[Vigil | None]: ...

    @overload
    async def value(
        self, name: str, *, result_type: type[T], timeout: Seconds | None = None
    ) -> T: ...

    @overload
    async def value(self, name: str, *, timeout: Seconds | None = None) -> Any: ...

    async def value(
        self, name: str, *, result_type: Any = Any, timeout: Seconds | None = None
    ) -> Any:
        """Return a value that the run has set (``workflow.set_value``), or wait until it is set.

        Any number of clients may wait, and read it after the end of the run. ``timeout`` is a
        ``timedelta`` or seconds (default: none; 0 looks whether it is there). Raises
        ``ValueNotSet`` where the run has ended without it, ``WorkflowNotFound``,
        ``SchemaMismatch``, ``TimeoutError``.
        """
        name = checks.name(name, "value: name")
        decode = reader(self._calls.payloads, result_type, "value: result_type")
        limit_s = given.seconds(timeout, "value: timeout")
        async with self._vigil(None, "value: parked"):
            found = await self._awaited(name, limit_s)
        return self._decoded(name, found, decode)

    @overload
    def watch(self, name: str, *, result_type: type[T]) -> AsyncIterator[T]: ...

    @overload
    def watch(self, name: str) -> AsyncIterator[Any]: ...

    async def watch(self, name: str, *, result_type: Any = Any) -> AsyncIterator[Any]:
        """Yield a value, and each newer one of the name, until the run has ended.

        Where several are set meanwhile, the newest one is yielded.
        """
        name = checks.name(name, "watch: name")
        decode = reader(self._calls.payloads, result_type, "watch: result_type")
        seen: ValueIs | None = None
        while True:
            try:
                async with self._vigil(None, "watch: parked"):
                    seen = await self._awaited(name, None, seen)
            except ValueNotSet:
                return
            yield self._decoded(name, seen, decode)

    async def _awaited(
        self, name: str, limit_s: float | None, seen: ValueIs | None = None
    ) -> ValueIs:
        after, of_run = (-1, None) if seen is None else (seen.number, seen.run_id)
        body = AwaitValue(name, after, of_run, *self._which, WAIT_MS)
        what = f"value {name!r} of {self.id!r}"
        answer = await self._calls.awaited(self.id, body, deadline_of(limit_s), what)
        if answer is None:
            raise TimeoutError(f"no {what} within {limit_s:g} s")
        assert isinstance(answer, ValueIs), f"a shard answers {body} with {answer}"
        return answer

    def _decoded(self, name: str, found: ValueIs, decode: Decode) -> Any:
        return valued(self.id, name, found, decode)
