"""``Environment``: runs workflows in virtual time, inside of a test.

It is the real shard, engine and client over simulated ports. Two hours pass as soon as everything
waits for them and somebody awaits a result, or sleeps.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal

from processor import arguments, checks
from processor.activity import Activity
from processor.client import Client, Handle
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.answers import ReplyBody
from processor.core.effects import DeadLetter, Publish
from processor.descriptions import RunDescription
from processor.errors import InvalidArgument, ProcessorError
from processor.registry import Registry
from processor.simulation.driver import Driver
from processor.simulation.gateway import SimulatedGateway
from processor.simulation.host import Code
from processor.simulation.scheduler import START_MS
from processor.simulation.world import World
from processor.vigil import PARKED, Parked, parked_error
from processor.workflow import Workflow, _guard
from processor.workflow._runner import WorkflowRunners

__all__ = ("Environment", "NothingLeft")

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


class NothingLeft(ProcessorError, TimeoutError):
    """A result was waited for, and nothing is left that could bring it: no timer, no attempt.

    The message says what the run waits for. A test that sends it later sends it within a second.
    """


class Environment(Client):
    """A client with a runtime of its own: ``async with Environment(workflows=[...]) as env``.

    ``mocks`` are functions that stand in for activities; they get the same arguments, and may be
    async or not. ``seed`` decides everything that is left to chance, such as which of two results
    arrives first. ``start`` is the first moment of virtual time. ``max_cached_runs=0`` replays at
    every step, which finds code that is not deterministic: a decision that replay does not repeat,
    or a payload that it makes otherwise, parks the run. ``guard`` and ``passthrough``: as for
    ``Worker``.

    ``result`` and ``run`` raise ``WorkflowParked`` as soon as the run is parked (unless
    ``parked="warn"``), and ``NothingLeft`` when nothing could wake it any more.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow[..., Any]] = (),
        activities: Iterable[Activity[..., Any]] = (),
        *,
        mocks: Mapping[Activity[..., Any], Callable[..., Any]] | None = None,
        seed: int = 0,
        start: datetime | None = None,
        max_cached_runs: int | None = None,
        guard: Literal["answer", "refuse", False] | None = None,
        passthrough: Sequence[str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "cached_runs_max": max_cached_runs,
            "guard": guard,
            "passthrough": passthrough,
        }
        settings = replace(
            arguments.settings(settings, "Environment"),
            strict_replay=True,
            **{name: value for name, value in given.items() if value is not None},
        )
        self._settings = settings
        self._payloads = JsonPayloads()
        replaced = _mocked(_activities(activities), _mocks(mocks))
        defined = checks.listed(workflows, "Environment: workflows", "[order_processing]")
        registry = Registry(defined, replaced, self._payloads)
        self._code = Code(registry, WorkflowRunners(registry, settings), _queues(replaced))
        self._world = World(_seed(seed), settings=settings, now_ms=_start_ms(start))
        self._driver: Driver | None = None
        self._gateway = _NotEntered()

    async def __aenter__(self) -> Environment:
        _guard.install()
        host = self._world.host(_HOST, self._code)
        self._world.assign(0, _HOST)
        self._driver = Driver(self._world, host)
        self._gateway = SimulatedGateway(self._world, self._driver)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._driver is not None, "entered before"
        self._driver.close()
        self._world.close()

    def _vigil(
        self, handle: Handle[Any], parked: Parked | None, what: str
    ) -> AbstractAsyncContextManager[None]:
        if parked is not None:
            arguments.one_of(PARKED, parked, what)
        return self._looking(handle, parks=parked != "warn")

    @asynccontextmanager
    async def _looking(self, handle: Handle[Any], *, parks: bool) -> AsyncIterator[None]:
        """End a wait for what cannot come: with ``parks``, the run of ``handle`` is parked."""
        if self._driver is None:
            raise InvalidArgument(_NOT_ENTERED)
        nothing_left = False
        limit = asyncio.timeout(None)

        def look(nothing: bool) -> None:
            nonlocal nothing_left
            if not limit.expired() and (nothing or (parks and self._is_parked(handle))):
                nothing_left = nothing
                limit.reschedule(0)

        try:
            async with limit:
                with self._driver.looking(look):
                    yield
        except TimeoutError:
            if not limit.expired():
                raise
            run = await handle.describe()
            if run.parked is not None:
                raise parked_error(run) from None
            assert nothing_left, "one of two reasons"
            raise NothingLeft(_waits_in_vain(run)) from None

    def _is_parked(self, handle: Handle[Any]) -> bool:
        session = self._world.hosts[_HOST].ownerships[0].session
        summary = None if session is None else session.tables.latest(handle.id)
        return summary is not None and summary.parked is not None

    def now(self) -> datetime:
        """Return the virtual time."""
        return datetime.fromtimestamp(self._world.scheduler.now_ms / 1000, UTC)

    async def sleep(self, delay: timedelta | float) -> None:
        """Let virtual time pass (a ``timedelta``, or seconds), and all that is due by then."""
        delay_ms = math.ceil(checks.seconds(delay, "Environment.sleep: delay") * 1000)
        if self._driver is None:
            raise InvalidArgument(_NOT_ENTERED)
        await self._driver.sleep_until(self._world.scheduler.now_ms + delay_ms)

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


def _waits_in_vain(run: RunDescription) -> str:
    places = "; ".join(run.pending.get("waiting", ())) or "nothing"
    return (
        f"run {run.run_id} of {run.workflow_id!r} is {run.status.value} and waits at {places}, and "
        "nothing is left that could wake it: no timer, no activity. Send what it waits for "
        "(raise_event), or give it a time-out"
    )


def _activities(given: Any) -> dict[str, Activity[..., Any]]:
    """Return the activities by name. What is none is refused as a worker refuses it."""
    listed = checks.listed(given, "Environment: activities", "[charge]")
    Registry((), listed, JsonPayloads())
    return {each.name: each for each in listed}


def _mocks(given: Any) -> Mapping[Activity[..., Any], Callable[..., Any]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        shown = checks.shown(given)
        raise InvalidArgument(
            f"Environment: mocks: give a dictionary, as {{charge: function}}, not {shown}"
        )
    for activity, function in given.items():
        if not isinstance(activity, Activity):
            shown = checks.shown(activity)
            raise InvalidArgument(
                f"Environment: mocks: {shown} is no activity: the keys are what is replaced"
            )
        if not callable(function):
            shown = checks.shown(function)
            raise InvalidArgument(
                f"Environment: mocks: give a function for {activity.name!r}, not {shown}"
            )
    return given


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


def _mocked(
    activities: dict[str, Activity[..., Any]],
    mocks: Mapping[Activity[..., Any], Callable[..., Any]],
) -> list[Activity[..., Any]]:
    for activity, function in mocks.items():
        activities[activity.name] = _with_function(activity, function)
    return list(activities.values())


def _with_function(activity: Activity[..., Any], function: Callable[..., Any]) -> Any:
    async def mock(*args: Any) -> Any:
        value = function(*args)
        return await value if inspect.isawaitable(value) else value

    definition = replace(activity.definition, function=mock, is_async=True)
    return Activity(definition, activity.wire_options)


def _queues(activities: Iterable[Activity[..., Any]]) -> tuple[str, ...]:
    """Return the queues that the activities name, so that each has a worker."""
    return tuple(sorted({"default", *(each.wire_options.queue for each in activities)}))
