"""``Environment``: runs workflows in virtual time, inside of a test.

It is the real shard, engine and client over simulated ports. Two hours pass as soon as everything
waits for them and somebody awaits a result, or sleeps.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypedDict, TypeVar, TypeVarTuple, Unpack, overload

from processor import arguments, checks
from processor.activity import Activity
from processor.arguments import Seconds
from processor.client import Client, Handle
from processor.client.vigil import PARKED, Parked, parked_error
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.records.answers import ReplyBody
from processor.core.records.effects import ActivityTask, DeadLetter, Publish
from processor.errors import InvalidArgument
from processor.policy import ConflictPolicy, ReusePolicy
from processor.registry import Registry
from processor.simulation.driver import Driver
from processor.simulation.gateway import SimulatedGateway
from processor.simulation.hosts.host import Code
from processor.simulation.scheduler import START_MS
from processor.simulation.threads import Threads
from processor.simulation.world import World
from processor.testing.mocks import Mocks, mocked
from processor.testing.watch import (
    Bounds,
    Watch,
    looping,
    nothing_left,
    retried,
    standing,
    unregistered,
)
from processor.workflow import Workflow
from processor.workflow._engine.runner import WorkflowRunners
from processor.workflow._guard import guard as _guard

__all__ = ("Environment", "EnvironmentHandle")

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_HOST = "host"
_NOT_ENTERED = "Environment: it does not run: use `async with Environment(...) as env`"


class _NotEntered:
    """The gateway of an environment that does not run."""

    partitions = 1

    async def start(self) -> None:
        """Nothing to connect."""

    async def request(self, *_: Any, **__: Any) -> ReplyBody:
        raise InvalidArgument(_NOT_ENTERED)

    async def close(self) -> None:
        """Nothing to close."""


class StartOptions(TypedDict, total=False):
    """What ``start`` and ``run`` take beside the arguments of the workflow: as for ``Client``."""

    id: str | None
    reuse: ReusePolicy
    conflict: ConflictPolicy
    execution_timeout: Seconds | None
    memo: Any
    timeout: Seconds | None


class EnvironmentHandle(Handle[R]):
    """A handle on a workflow id in an ``Environment``."""

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
        environment = self._client
        assert isinstance(environment, Environment), "it made this handle"
        async with environment._within(self, within, "result: within"):
            return await super().result(timeout, parked=parked)


class Environment(Client):
    """A client with a runtime of its own: ``async with Environment(workflows=[...]) as env``.

    ``mocks`` are functions that stand in for activities, by activity or by name; they get the same
    arguments, and may be async or not. ``seed`` decides everything that is left to chance, such as
    which of two results arrives first. ``start`` is the first moment of virtual time.
    ``max_cached_runs=0`` replays at every step, which finds code that is not deterministic: a
    decision that replay does not repeat, or a payload that it makes otherwise, parks the run.
    ``guard`` and ``passthrough``: as for ``Worker``. Plain activities run in threads; meanwhile
    virtual time passes as real time does.

    ``result`` and ``run`` raise ``WorkflowParked`` as soon as the run is parked (unless
    ``parked="warn"``), ``ActivityNotRegistered`` when it calls an activity that is neither
    registered nor mocked, and ``NothingLeft`` when nothing could wake it any more. One wait lets
    an activity be tried again ``attempts_max`` times, and takes ``steps_max`` steps (a message, a
    timer, a turn are one each): then it raises ``NoEndInSight``.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow[..., Any]] = (),
        activities: Iterable[Activity[..., Any]] = (),
        *,
        mocks: Mocks | None = None,
        seed: int = 0,
        start: datetime | None = None,
        max_cached_runs: int | None = None,
        guard: Literal["answer", "refuse", False] | None = None,
        passthrough: Sequence[str] | None = None,
        attempts_max: int = 1_000,
        steps_max: int = 200_000,
        settings: Settings | None = None,
    ) -> None:
        settings = arguments.settings(
            settings,
            "Environment",
            strict_replay=True,
            cached_runs_max=max_cached_runs,
            guard=guard,
            passthrough=passthrough,
        )
        self._bounds = Bounds(
            checks.whole(attempts_max, "Environment: attempts_max", 1),
            checks.whole(steps_max, "Environment: steps_max", 1),
        )
        self._settings = settings
        self._payloads = JsonPayloads()
        self._registry = Registry(
            checks.listed(workflows, "Environment: workflows", "[order_processing]"),
            mocked(
                checks.listed(activities, "Environment: activities", "[charge]"),
                {} if mocks is None else mocks,
            ),
            self._payloads,
        )
        self._code = Code(self._registry, WorkflowRunners(self._registry, settings), None)
        self._threads = Threads()
        self._world = World(
            _seed(seed), settings=settings, now_ms=_start_ms(start), threads=self._threads
        )
        self._world.on_attempt = self._attempt_begins
        self._watches: list[Watch] = []
        self._missing: dict[str, ActivityTask] = {}
        self._entered: Driver | None = None
        self._gateway = _NotEntered()

    async def __aenter__(self) -> Environment:
        _guard.install()
        host = self._world.host(_HOST, self._code)
        self._entered = Driver(self._world, host, self._threads)
        self._world.assign(0, _HOST)
        self._gateway = SimulatedGateway(self._world, self._entered)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._driver.close()
        self._world.close()

    @property
    def _driver(self) -> Driver:
        if self._entered is None:
            raise InvalidArgument(_NOT_ENTERED)
        return self._entered

    # --- what is started, and waited for ------------------------------------------------------

    @overload
    async def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        **how: Unpack[StartOptions],
    ) -> EnvironmentHandle[R]: ...

    @overload
    async def start(
        self, workflow: str, *args: Any, **how: Unpack[StartOptions]
    ) -> EnvironmentHandle[Any]: ...

    async def start(self, workflow: Any, *args: Any, **how: Any) -> Any:  # type: ignore[misc]
        """Start a workflow, as ``Client.start`` does; its handle waits in virtual time."""
        return await super().start(workflow, *args, **how)

    @overload
    async def run(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        parked: Parked | None = None,
        within: Seconds | None = None,
        **how: Unpack[StartOptions],
    ) -> R: ...

    @overload
    async def run(
        self,
        workflow: str,
        *args: Any,
        parked: Parked | None = None,
        within: Seconds | None = None,
        **how: Unpack[StartOptions],
    ) -> Any: ...

    async def run(  # type: ignore[misc]  # mypy cannot match *Ts with the implementation's *Any
        self,
        workflow: Any,
        *args: Any,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
        within: Seconds | None = None,
        **how: Any,
    ) -> Any:
        """Start a workflow and return its result; ``timeout`` is real time, ``within`` virtual.

        The rest is as for ``start`` and ``EnvironmentHandle.result``.
        """
        limit_s = arguments.seconds(timeout, "run: timeout")
        deadline = None if limit_s is None else time.monotonic() + limit_s
        handle, body = self._prepared("run", workflow, args, **how)
        async with (
            self._within(handle, within, "run: within"),
            self._vigil(handle, parked, "run: parked"),
        ):
            handle._begun(await self._accepted(handle.id, body))
            return await handle._result(limit_s, deadline, None)

    @overload
    def handle(
        self,
        id: str,
        run_id: str | None = None,
        *,
        workflow: Callable[..., Coroutine[Any, Any, R]],
    ) -> EnvironmentHandle[R]: ...

    @overload
    def handle(self, id: str, run_id: str | None = None) -> EnvironmentHandle[Any]: ...

    def handle(self, id: str, run_id: str | None = None, *, workflow: Any = None) -> Any:
        """Return a handle on a workflow id (and run), as ``Client.handle`` does."""
        made: Handle[Any] = super().handle(id, run_id, workflow=workflow)
        return EnvironmentHandle(self, made.id, made.run_id, made._result_type)

    def _prepared(self, *args: Any, **how: Any) -> Any:
        made, body = super()._prepared(*args, **how)
        return EnvironmentHandle(self, made.id, None, made._result_type), body

    # --- time ---------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the virtual time."""
        return datetime.fromtimestamp(self._world.scheduler.now_ms / 1000, UTC)

    async def sleep(self, delay: timedelta | float) -> None:
        """Let virtual time pass (a ``timedelta``, or seconds), and all that is due by then.

        Raises ``NoEndInSight`` where more happens than one wait may let happen.
        """
        delay_ms = math.ceil(checks.seconds(delay, "Environment.sleep: delay") * 1000)
        due_ms = self._world.scheduler.now_ms + delay_ms
        try:
            async with asyncio.timeout(None) as limit:
                with self._watching(None, limit, lambda: False):
                    await self._driver.sleep_until(due_ms)
        except TimeoutError:
            if not limit.expired():
                raise
            open = [run.workflow_id async for run in self.list(status="running", limit=5)]
            ids = ", ".join(map(repr, open))
            what = f"the sleep is not over while {ids} run"
            raise looping(self._bounds.steps_max, self.now(), what) from None

    @asynccontextmanager
    async def _within(
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
                with self._driver.until(due_ms, lambda: limit.reschedule(0)):
                    yield
        except TimeoutError:
            if not limit.expired():
                raise
            asked = f"no result of {handle.id!r} within {timedelta(milliseconds=within_ms)}"
            run = await handle.describe()
            raise TimeoutError(f"{asked} of virtual time: {standing(run)}") from None

    def _vigil(
        self, handle: Handle[Any], parked: Parked | None, what: str
    ) -> AbstractAsyncContextManager[None]:
        if parked is not None:
            arguments.one_of(PARKED, parked, what)
        return self._looking(handle, parks=parked != "warn")

    @asynccontextmanager
    async def _looking(self, handle: Handle[Any], *, parks: bool) -> AsyncIterator[None]:
        """End a wait for what cannot come: with ``parks``, the run of ``handle`` is parked."""
        try:
            async with asyncio.timeout(None) as limit:
                stuck = partial(self._is_stuck, handle.id, parks)
                with self._watching(handle.id, limit, stuck) as watch:
                    yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise await self._reason(handle, watch, parks=parks) from None

    @contextmanager
    def _watching(
        self, awaited: str | None, limit: asyncio.Timeout, is_stuck: Callable[[], bool]
    ) -> Iterator[Watch]:
        scheduler = self._world.scheduler
        watch = Watch(
            self._bounds,
            awaited,
            self._registry.activity_named,
            lambda: scheduler.steps,
            is_stuck,
            lambda: None if limit.expired() else limit.reschedule(0),
        )
        self._watches.append(watch)
        try:
            with self._driver.looking(watch.look):
                yield watch
        finally:
            self._watches.remove(watch)

    def _attempt_begins(self, task: ActivityTask) -> None:
        if self._registry.activity_named(task.name) is None:
            self._missing[task.workflow_id] = task
        for watch in self._watches:
            watch.attempt_begins(task)

    async def _reason(self, handle: Handle[Any], watch: Watch, *, parks: bool) -> Exception:
        """Return what ended a wait."""
        task = watch.task
        if task is not None:
            run = await self.handle(task.workflow_id, task.run_id).describe()
            return retried(task, run, self._bounds.attempts_max)
        if (missing := self._missing.get(handle.id)) is not None:
            return unregistered(missing, self._registry.activities)
        run = await handle.describe()
        if parks and run.parked is not None:
            return parked_error(run)
        if watch.nothing:
            return nothing_left(run)
        what = standing(run).replace(" is running", " is still running", 1)
        return looping(self._bounds.steps_max, self.now(), what)

    def _is_stuck(self, workflow_id: str, parks: bool) -> bool:
        """Return whether the latest run of an id waits for code: its own, or an activity's."""
        session = self._world.hosts[_HOST].ownerships[0].session
        summary = None if session is None else session.tables.latest(workflow_id)
        if summary is None or not summary.status.is_open:
            return False
        missing = self._missing.get(workflow_id)
        calls_none = missing is not None and missing.run_id == summary.run_id
        return calls_none or (parks and summary.parked is not None)

    # --- what came of it ----------------------------------------------------------------------

    @property
    def published(self) -> list[Publish]:
        """What workflows have published, in order."""
        return self._world.broker.published()

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What could not be used, with the reasons."""
        return list(self._world.broker.dead_letters)

    @property
    def trace_hash(self) -> str:
        """A hash over all that happened: the same for the same seed and the same test."""
        return self._world.trace_hash


def _seed(given: Any) -> int:
    if type(given) is not int:
        shown = checks.shown(given)
        raise InvalidArgument(f"Environment: seed: give a whole number, not {shown}")
    return given


def _start_ms(given: Any) -> int:
    if given is None:
        return START_MS
    if not isinstance(given, datetime):
        shown = checks.shown(given)
        raise InvalidArgument(f"Environment: start: give a datetime, not {shown}")
    start_ms = int(given.timestamp() * 1000)
    if not 0 <= start_ms <= checks.DURATION_S_MAX * 1000:
        shown = checks.shown(given)
        raise InvalidArgument(f"Environment: start: give a time from 1970 on, not {shown}")
    return start_ms
