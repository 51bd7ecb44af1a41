"""``Environment``: runs workflows in virtual time, inside of a test.

It is the real shard, engine and client over simulated ports. Two hours pass as soon as everything
waits for them and somebody awaits a result, or sleeps.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, TypeVar, TypeVarTuple, Unpack, overload

from processor import arguments, checks
from processor.arguments import Seconds
from processor.assembly import injected
from processor.client import Client
from processor.client.calls import ClientCalls, deadline_of
from processor.client.options import RunOptions, StartOptions
from processor.client.vigil import Parked
from processor.config import Settings
from processor.core.records.answers import ReplyBody
from processor.core.records.effects import DeadLetter, Publish
from processor.errors import InvalidArgument
from processor.injection.interceptors import Interceptor
from processor.injection.payloads import GivenPayloads
from processor.registry import Registry
from processor.simulation.driver import Driver
from processor.simulation.gateway import SimulatedGateway
from processor.simulation.hosts.host import Code
from processor.simulation.scheduler import START_MS
from processor.simulation.threads import Threads
from processor.simulation.world import World
from processor.testing.feeding import FeedsConnections
from processor.testing.mocks import Mocks, mocked
from processor.testing.waits import HOST, NOT_ENTERED, EnvironmentHandle, Waits
from processor.testing.watch import Bounds
from processor.views.tables.definition import by_name
from processor.views.tables.stored import UserTables
from processor.workflow._engine.runners import WorkflowRunners

__all__ = ("Environment", "EnvironmentHandle")

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class _NotEntered:
    """The gateway of an environment that does not run."""

    partitions = 1

    async def start(self) -> None:
        """Nothing to connect."""

    async def request(self, *_: Any, **__: Any) -> ReplyBody:
        raise InvalidArgument(NOT_ENTERED)

    async def search(self, *_: Any, **__: Any) -> Any:
        raise InvalidArgument(NOT_ENTERED)

    async def view(self, *_: Any, **__: Any) -> Any:
        raise InvalidArgument(NOT_ENTERED)

    async def close(self) -> None:
        """Nothing to close."""


class Environment(FeedsConnections, Client):
    """A client with a runtime of its own: ``async with Environment(workflows=[...]) as env``.

    ``entities`` are classes under ``@entity.define``, ``views`` functions under ``@views.table``:
    ``env.view`` reads their tables. ``mocks`` are functions that stand in for
    activities, by activity or by name; they get the same arguments, and may be async or not.
    ``seed`` decides everything that is left to chance, such as which of two results arrives first.
    ``start`` is the first moment of virtual time.
    ``max_cached_runs=0`` replays at every step, which finds code that is not deterministic: a
    decision that replay does not repeat, or a payload that it makes otherwise, parks the run.
    ``guard``, ``passthrough``, ``payloads`` and ``interceptors``: as for ``Worker``. Plain
    activities run in threads; meanwhile virtual time passes as real time does.

    ``result`` and ``run`` raise ``WorkflowParked`` as soon as the run is parked (unless
    ``parked="warn"``), ``ActivityNotRegistered`` when it calls an activity that is neither
    registered nor mocked, and ``NothingLeft`` when nothing could wake it any more. One wait lets
    an activity be tried again ``attempts_max`` times, and takes ``steps_max`` steps (a message, a
    timer, a turn are one each): then it raises ``NoEndInSight``.
    """

    def __init__(
        self,
        workflows: Iterable[Any] = (),
        activities: Iterable[Any] = (),
        *,
        entities: Iterable[Any] = (),
        views: Iterable[Any] = (),
        mocks: Mocks | None = None,
        seed: int = 0,
        start: datetime | None = None,
        max_cached_runs: int | None = None,
        guard: Literal["answer", "refuse", False] | None = None,
        passthrough: Sequence[str] | None = None,
        attempts_max: int = 1_000,
        steps_max: int = 200_000,
        payloads: GivenPayloads | None = None,
        interceptors: Sequence[Interceptor] | None = None,
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
        bounds = Bounds(
            checks.whole(attempts_max, "Environment: attempts_max", 1),
            checks.whole(steps_max, "Environment: steps_max", 1),
        )
        given = injected(payloads, interceptors, "Environment")
        self._calls = ClientCalls(_NotEntered(), settings, given)
        tables = checks.listed(views, "Environment: views", "[orders_per_hour]")
        self._tables = UserTables(by_name(tables, "Environment: views"), given.payloads)
        registry = Registry(
            checks.listed(workflows, "Environment: workflows", "[order_processing]"),
            mocked(
                checks.listed(activities, "Environment: activities", "[charge]"),
                {} if mocks is None else mocks,
            ),
            given,
            checks.listed(entities, "Environment: entities", "[Account]"),
        )
        self._code = Code(registry, WorkflowRunners(registry, settings), None)
        self._threads = Threads()
        self._world = World(
            _seed(seed), settings=settings, now_ms=_start_ms(start), threads=self._threads
        )
        self._waits = Waits(self._world, registry, bounds, self.handle)

    async def __aenter__(self) -> Environment:
        host = self._world.host(HOST, self._code)
        self._waits.entered = Driver(self._world, host, self._threads)
        self._world.assign(0, HOST)
        entered = self._waits.entered
        self._calls.gateway = SimulatedGateway(self._world, entered, self._tables)
        self._calls.now_ms = lambda: self._world.scheduler.now_ms
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._waits.driver.close()
        self._world.close()

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
        **how: Unpack[RunOptions],
    ) -> R: ...

    @overload
    async def run(
        self,
        workflow: str,
        *args: Any,
        parked: Parked | None = None,
        within: Seconds | None = None,
        **how: Unpack[RunOptions],
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
        deadline = deadline_of(limit_s)
        handle, body = self._prepared("run", workflow, args, **how)
        async with (
            self._waits.within(handle, within, "run: within"),
            handle._vigil(parked, "run: parked"),
        ):
            handle._begun(await self._calls.accepted(handle.id, body, key=how.get("key")))
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
        return super().handle(id, run_id, workflow=workflow)

    def _handle(self, id: str, run_id: str | None, result_type: Any) -> EnvironmentHandle[Any]:
        return EnvironmentHandle(self._calls, self._waits, id, run_id, result_type)

    # --- time ---------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the virtual time."""
        return self._waits.now()

    async def sleep(self, delay: timedelta | float) -> None:
        """Let virtual time pass (a ``timedelta``, or seconds), and all that is due by then.

        Raises ``NoEndInSight`` where more happens than one wait may let happen.
        """
        delay_ms = math.ceil(checks.seconds(delay, "Environment.sleep: delay") * 1000)
        due_ms = self._world.scheduler.now_ms + delay_ms
        try:
            async with asyncio.timeout(None) as limit:
                with self._waits.watching(None, limit, lambda: False):
                    await self._waits.driver.sleep_until(due_ms)
        except TimeoutError:
            if not limit.expired():
                raise
            open = [run.workflow_id async for run in self.list(status="running", limit=5)]
            ids = ", ".join(map(repr, open))
            raise self._waits.looping(f"the sleep is not over while {ids} run") from None

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
