"""What who waits for a result is told meanwhile: that the run is parked, or held up otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import time_ns
from types import TracebackType
from typing import Final, Literal, TypeAlias

from processor.descriptions import RunDescription, hindrances, parked_text
from processor.errors import ProcessorError, ShardUnavailable, WorkflowParked

__all__ = ("Parked", "Vigil", "parked_error")

_log = logging.getLogger("processor.client")

Parked: TypeAlias = Literal["warn", "raise"]
"""What a parked run does to whoever waits for its result."""

_LOOK_AFTER_S: Final = 1.0
_LOOK_LESS_OFTEN: Final = 4
_LOOK_MAX_S: Final = 120.0
"""When it is looked whether the run goes on: first soon, then less and less often."""


class Vigil:
    """``async with`` it, wait for a result; it warns of what holds the run up, each thing once.

    With ``raises``, a parked run ends the wait with ``WorkflowParked``.
    """

    def __init__(
        self, id: str, describe: Callable[[], Awaitable[RunDescription]], *, raises: bool
    ) -> None:
        self._id = id
        self._describe = describe
        self._limit = asyncio.timeout(None) if raises else None
        self._error: WorkflowParked | None = None
        self._looking: asyncio.Task[None] | None = None
        self._told: set[str] = set()

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_LOOK_AFTER_S, self._begin)
        if self._limit is not None:
            await self._limit.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
        if self._limit is not None:
            try:
                await self._limit.__aexit__(exc_type, exc, traceback)
            except TimeoutError:
                if self._error is None:
                    raise
                raise self._error from None

    def _begin(self) -> None:
        self._looking = self._loop.create_task(self._look())

    async def _look(self) -> None:
        pause_s = _LOOK_AFTER_S
        while True:
            try:
                self._tell(await self._describe())
            except ShardUnavailable as error:
                _log.warning("still waiting for the result of %r: %s", self._id, error)
            except ProcessorError:
                pass  # it is not there yet, or any more: whoever waits is told so
            pause_s = min(pause_s * _LOOK_LESS_OFTEN, _LOOK_MAX_S)
            await asyncio.sleep(pause_s)

    def _tell(self, run: RunDescription) -> None:
        if self._limit is not None and run.parked is not None:
            self._error = parked_error(run)
            self._limit.reschedule(self._loop.time())
            return
        for text in hindrances(run, time_ns() // 1_000_000):
            if text not in self._told:
                self._told.add(text)
                _log.warning("still waiting for the result of %r: %s", self._id, text)


def parked_error(run: RunDescription) -> WorkflowParked:
    """Return what ends the wait for a parked run."""
    which = {"workflow_id": run.workflow_id, "run_id": run.run_id}
    return WorkflowParked(parked_text(run), **which, parked=run.parked)
