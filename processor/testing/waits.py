"""Waits of a test: each ends in virtual time, or as soon as what it waits for cannot come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from processor import arguments, checks
from processor.arguments import Seconds
from processor.client import Handle, RunDescription
from processor.client.calls import ClientCalls
from processor.client.vigil import PARKED, Parked, parked_error
from processor.core.records.effects import ActivityTask
from processor.errors import InvalidArgument
from processor.registry import Registry
from processor.simulation.driver import Driver
from processor.simulation.world import World
from processor.testing.errors import NoEndInSight
from processor.testing.watch import (
    Bounds,
    Watch,
    looping,
    nothing_left,
    retried,
    tried_again,
    unregistered,
    where_it_stands,
)

__all__ = ("HOST", "NOT_ENTERED", "EnvironmentHandle", "Waits")

R = TypeVar("R")

HOST: Final = "host"
NOT_ENTERED: Final = "Environment: it does not run: use `async with Environment(...) as env`"


class Waits:
    """The waits of one environment. ``handle`` makes a handle of it; ``entered`` drives it."""

    def __init__(
        self, world: World, registry: Registry, bounds: Bounds, handle: Callable[..., Handle[Any]]
    ) -> None:
        self._world = world
        self._registry = registry
        self._bounds = bounds
        self._handle = handle
        self._watches: list[Watch] = []
        self._missing: dict[str, ActivityTask] = {}
        self.entered: Driver | None = None
        world.on_attempt = self._attempt_begins

    @property
    def driver(self) -> Driver:
        if self.entered is None:
            raise InvalidArgument(NOT_ENTERED)
        return self.entered

    def now(self) -> datetime:
        """Return the virtual time."""
        return datetime.fromtimestamp(self._world.scheduler.now_ms / 1000, UTC)

    def looping(self, what: str) -> NoEndInSight:
        """Return what is raised when too much happened in one wait."""
        return looping(self._bounds.steps_max, self.now(), what)

    @asynccontextmanager
    async def within(
        self, handle: Handle[Any], within: Seconds | None, what: str
    ) -> AsyncIterator[None]:
        """End a wait when its virtual time has passed."""
        if within is None:
            yield
            return
        within_ms = checks.duration_ms(within, what)
        due_ms = self._world.scheduler.now_ms + within_ms
        try:
            async with asyncio.timeout(None) as limit:
                with self.driver.until(due_ms, lambda: limit.reschedule(0)):
                    yield
        except TimeoutError:
            if not limit.expired():
                raise
            asked = f"no result of {handle.id!r} within {timedelta(milliseconds=within_ms)}"
            run = await handle.describe()
            raise TimeoutError(f"{asked} of virtual time: {where_it_stands(run)}") from None

    @asynccontextmanager
    async def looking(self, handle: Handle[Any], *, parks: bool) -> AsyncIterator[None]:
        """End a wait for what cannot come: with ``parks``, the run of ``handle`` is parked."""
        try:
            async with asyncio.timeout(None) as limit:
                stuck = partial(self._is_stuck, handle.id, parks)
                with self.watching(handle.id, limit, stuck) as watch:
                    yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise await self._reason(handle, watch, parks=parks) from None

    @contextmanager
    def watching(
        self, awaited: str | None, limit: asyncio.Timeout, is_stuck: Callable[[], bool]
    ) -> Iterator[Watch]:
        scheduler = self._world.scheduler
        watch = Watch(
            self._bounds,
            awaited,
            self._registry.activity_named,
            self._world.broker.outputs[0].records,
            lambda: scheduler.steps,
            is_stuck,
            lambda: None if limit.expired() else limit.reschedule(0),
        )
        self._watches.append(watch)
        try:
            with self.driver.looking(watch.look):
                yield watch
        finally:
            self._watches.remove(watch)

    def _attempt_begins(self, task: ActivityTask) -> None:
        if self._registry.activity_named(task.name) is None:
            self._missing[task.workflow_id] = task
        for watch in self._watches:
            watch.attempt_begins(task)

    def _waited_for(self, run: RunDescription) -> str | None:
        """Return the first child or other run that a run waits for."""
        for child in run.pending.get("children", ()):
            return str(child["workflow_id"])
        for call in run.pending.get("calls", ()):
            return str(call["to"])
        return None

    async def _reason(
        self, handle: Handle[Any], watch: Watch, *, parks: bool, seen: Set[str] = frozenset()
    ) -> Exception:
        """Return what ended a wait. ``seen`` are those that have been looked at on the way."""
        task = watch.task
        if task is not None:
            run = await self._handle(task.workflow_id, task.run_id).describe()
            return retried(task, run, self._bounds.attempts_max)
        if watch.run is not None:
            return tried_again(watch.run, self._bounds.attempts_max)
        if (missing := self._missing.get(handle.id)) is not None:
            return unregistered(missing, self._registry.activities)
        run = await handle.describe()
        if parks and run.parked is not None:
            return parked_error(run)
        if watch.nothing:
            other = self._waited_for(run)
            if other is not None and other not in seen:
                handle, seen = self._handle(other), {*seen, other}
                return await self._reason(handle, watch, parks=parks, seen=seen)
            return nothing_left(run)
        what = where_it_stands(run).replace(" is running", " is still running", 1)
        return self.looping(what)

    def _is_stuck(self, workflow_id: str, parks: bool) -> bool:
        """Return whether the latest run of an id waits for code: its own, or an activity's."""
        session = self._world.hosts[HOST].ownerships[0].session
        summary = None if session is None else session.ports.tables.latest(workflow_id)
        if summary is None or not summary.status.is_open:
            return False
        missing = self._missing.get(workflow_id)
        calls_none = missing is not None and missing.run_id == summary.run_id
        return calls_none or (parks and summary.parked is not None)


class EnvironmentHandle(Handle[R]):
    """A handle on a workflow id in an ``Environment``."""

    def __init__(
        self, calls: ClientCalls, waits: Waits, id: str, run_id: str | None, result_type: Any
    ) -> None:
        super().__init__(calls, id, run_id, result_type)
        self._waits = waits

    async def result(
        self,
        timeout: Seconds | None = None,
        *,
        parked: Parked | None = None,
        within: Seconds | None = None,
    ) -> R:
        """Wait for the end and return the result, within a virtual time where one is given.

        ``timeout`` is real time. Raises what ``Handle.result`` raises, ``TimeoutError`` when one of
        both has passed, and ``WorkflowParked``, ``NothingLeft``, ``NoEndInSight`` or
        ``ActivityNotRegistered`` as soon as the result cannot come.
        """
        async with self._waits.within(self, within, "result: within"):
            return await super().result(timeout, parked=parked)

    def _vigil(self, parked: Parked | None, what: str) -> AbstractAsyncContextManager[None]:
        if parked is not None:
            arguments.one_of(PARKED, parked, what)
        return self._waits.looking(self, parks=parked != "warn")
