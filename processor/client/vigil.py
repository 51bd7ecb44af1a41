"""What who waits for a result is told meanwhile: that the run is parked, or held up otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import islice
from math import ceil, inf
from time import time_ns
from types import TracebackType
from typing import Final, Literal, TypeAlias, get_args

from processor.client.descriptions import (
    RunDescription,
    hindrances,
    parked_text,
    standing,
)
from processor.errors import ProcessorError, ShardUnavailable, WorkflowParked

__all__ = ("PARKED", "Parked", "Vigil", "Vigils", "overdue", "parked_error")

_log = logging.getLogger("processor.client")

Parked: TypeAlias = Literal["warn", "raise"]
"""What a parked run does to whoever waits for its result."""

PARKED: Final = get_args(Parked)

_PAUSES_S: Final = (1.0, 4.0, 16.0, 64.0, 120.0)
"""When it is looked whether a run goes on: first soon, then less and less often."""

_TOGETHER: Final = 20
_APART_S: Final = 0.5
"""So many looks after the same pause are together, and the next ones so much later: thousands of
waits are no flood of questions, and questions that are asked together cost a fifth."""

_LATE_S: Final = 60.0
"""No look is later than this: where more wait, more looks are together."""

_CHILDREN_MAX: Final = 10
"""So many children of a run, and theirs, are looked at: the first ones hold it up the longest."""


class _Pause:
    """The waits that are looked at when a pause is over: one timer for all, a few at a time.

    ``_together`` only grows until nothing is late, so that whoever is late now is not later than
    ``_LATE_S``: of those before it, a fixed part is looked at each time.
    """

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._due: dict[Vigil, float] = {}
        self._together = _TOGETHER
        self._timed_on: asyncio.AbstractEventLoop | None = None

    def add(self, vigil: Vigil, loop: asyncio.AbstractEventLoop) -> None:
        self._due[vigil] = due = loop.time() + self._pause_s
        if self._timed_on is not loop:
            self._look_at(due, loop)

    def remove(self, vigil: Vigil) -> None:
        self._due.pop(vigil, None)

    def _look_at(self, due: float, loop: asyncio.AbstractEventLoop) -> None:
        self._timed_on = loop
        loop.call_at(due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now, begun = loop.time(), 0
        self._timed_on = None
        self._together = max(self._together, ceil(len(self._due) * _APART_S / _LATE_S))
        for vigil, due in list(islice(self._due.items(), self._together)):
            if due > now:
                break
            del self._due[vigil]
            vigil.begin()
            begun += 1
        first = next(iter(self._due.values()), inf)
        if first > now:
            self._together = _TOGETHER
        if self._due:
            self._look_at(max(first, now + _APART_S) if begun else first, loop)


class Vigils:
    """The waits of one client: most are short, and over before anybody looks."""

    def __init__(self) -> None:
        self._pauses = tuple(map(_Pause, _PAUSES_S))

    def after(self, looks: int) -> _Pause:
        """Return the pause that follows on so many looks."""
        return self._pauses[min(looks, len(_PAUSES_S) - 1)]


class Vigil:
    """``async with`` it, wait for a result; it warns of what holds the run up.

    Each thing is told once, and again if another look has not seen it.

    With ``raises``, a parked run ends the wait with ``WorkflowParked``, and so does one of its
    children. ``describe`` asks for the run (None), or for a child by its id. ``seen`` is the run
    as it was when it was last looked at.
    """

    def __init__(
        self,
        vigils: Vigils,
        id: str,
        describe: Callable[[str | None], Awaitable[RunDescription]],
        *,
        raises: bool,
    ) -> None:
        self._vigils = vigils
        self._id = id
        self._describe = describe
        self._limit = asyncio.timeout(None) if raises else None
        self._error: WorkflowParked | None = None
        self._looking: asyncio.Task[None] | None = None
        self._over = False
        self._looks = 0
        self._shard_ms, self._noted_s = 0, 0.0
        self._told: set[str] = set()
        self._told_before: set[str] = set()
        self.seen: RunDescription | None = None

    async def __aenter__(self) -> Vigil:
        self._loop = asyncio.get_running_loop()
        self._wait()
        if self._limit is not None:
            await self._limit.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        self._pause.remove(self)
        if self._looking is not None:
            self._looking.cancel()
        if self._limit is not None:
            try:
                await self._limit.__aexit__(exc_type, exc, traceback)
            except TimeoutError:
                if self._error is None:
                    raise
                raise self._error from None

    def _wait(self) -> None:
        self._pause = self._vigils.after(self._looks)
        self._pause.add(self, self._loop)

    def begin(self) -> None:
        """Look whether the run goes on, and look again after a longer pause."""
        self._looking = self._loop.create_task(self._look())

    async def _look(self) -> None:
        self._told_before, self._told = self._told, set()
        run = await self._described(None)
        self.seen = run or self.seen
        left = _children(run)
        for _ in range(min(_CHILDREN_MAX, len(left))):
            left += _children(await self._described(left.pop(0)))
        self._looks += 1
        if not self._over:
            self._wait()

    async def _described(self, child: str | None) -> RunDescription | None:
        """Return the run, or a child, once its hindrances are told; None where nobody knows it."""
        try:
            run = await self._describe(child)
        except ShardUnavailable as error:
            self._say(str(error))
        except ProcessorError:
            pass  # it is not there yet, or any more: whoever waits is told so
        except Exception as error:  # of an interceptor or a codec: the next look may do
            self._say(f"whether it goes on is not known, because looking failed: {error!r}")
        else:
            self._tell(run)
            return run
        return None

    def _tell(self, run: RunDescription) -> None:
        if self._over or self._error is not None:
            return
        if self._limit is not None and run.parked is not None:
            self._error = parked_error(run)
            self._limit.reschedule(self._loop.time())
            return
        for text in hindrances(run, self._now_ms(run)):
            if text not in self._told | self._told_before:
                self._say(text)
            self._told.add(text)

    def _now_ms(self, run: RunDescription) -> int:
        """Return the time: the clock's, or a later one where the shards' clocks are ahead of it.

        What a shard has dispatched was dispatched before now, and since then our own time went on.
        """
        activities = run.pending.get("activities", ())
        told_ms = max((each["dispatched_ms"] for each in activities), default=0)
        now_s = self._loop.time()
        shard_ms = self._shard_ms + int((now_s - self._noted_s) * 1000)
        if told_ms > shard_ms:
            self._shard_ms, self._noted_s, shard_ms = told_ms, now_s, told_ms
        return max(time_ns() // 1_000_000, shard_ms)

    def _say(self, text: str) -> None:
        _log.warning("still waiting for the result of %r: %s", self._id, text)


def _children(run: RunDescription | None) -> list[str]:
    """Return the ids of the children that an open run waits for, the first ones."""
    if run is None:
        return []
    return [child["workflow_id"] for child in run.pending.get("children", ())]


def parked_error(run: RunDescription) -> WorkflowParked:
    """Return what ends the wait for a parked run."""
    which = {"workflow_id": run.workflow_id, "run_id": run.run_id}
    return WorkflowParked(parked_text(run), **which, parked=run.parked)


def overdue(id: str, limit_s: float, vigil: Vigil | None, why: str = "") -> TimeoutError:
    """Return what ends a wait when the time is up: it says what the run does, if that is known."""
    if vigil is not None and vigil.seen is not None:
        told = f": {standing(vigil.seen)}"
    else:
        told = f": {why}; it may have begun all the same" if why else ""
        told += f"; client.handle({id!r}).describe() says how it stands"
    return TimeoutError(f"no result of {id!r} within {limit_s:g} s{told}")
