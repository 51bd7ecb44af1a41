"""``ActivityEnvironment``: runs one activity outside of a workflow, inside of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, overload

from processor import checks
from processor.activity import Activity, ActivityInfo, current
from processor.codec.payloads import JsonPayloads
from processor.errors import InvalidArgument
from processor.workflow._signature import is_async

__all__ = ("ActivityEnvironment",)

P = ParamSpec("P")
R = TypeVar("R")


class ActivityEnvironment:
    """One attempt of an activity: what the function sees of it, and what it did.

    ``heartbeat_details`` are those of an earlier attempt. ``attempt``, ``workflow_id``, ``run_id``,
    ``id``, ``deadline`` and ``headers`` are what ``activity.info()`` tells. ``on_heartbeat`` is
    called with the details of each heartbeat, in the thread of the activity; ``heartbeats`` has
    them all, in order (nothing is held back). No time-out ends the attempt: ``cancel`` does.
    Arguments and results are passed as they are, without a payload in between.
    """

    def __init__(
        self,
        *,
        heartbeat_details: Any = None,
        on_heartbeat: Callable[[Any], object] | None = None,
        attempt: int = 1,
        workflow_id: str = "test-workflow",
        run_id: str = "test-run",
        id: int = 1,
        deadline: datetime | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> None:
        call = "ActivityEnvironment"
        payloads = JsonPayloads()
        self._info = ActivityInfo(
            checks.workflow_id(workflow_id, f"{call}: workflow_id"),
            checks.name(run_id, f"{call}: run_id"),
            checks.whole(id, f"{call}: id", 0),
            checks.whole(attempt, f"{call}: attempt", 1),
            "",
            None if heartbeat_details is None else payloads.encode(heartbeat_details),
            deadline,
            dict(headers or {}),
        )
        self._attempt = _Attempt(self._info, payloads, on_heartbeat)
        self._running: asyncio.Task[Any] | None = None

    @property
    def heartbeats(self) -> list[Any]:
        """The details of all heartbeats so far, each as it was when it was given."""
        return list(self._attempt.heartbeats)

    @overload
    async def run(
        self, activity: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def run(self, activity: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def run(self, activity: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run an activity, or a function that is to be one, and return what it returns.

        An async function runs on the loop, a plain one in a thread, as in a worker. Raises what
        the function raises, and ``asyncio.CancelledError`` where a cancelled one lets that through.
        """
        name, function = _function(activity)
        self._attempt.info = replace(self._info, name=name)
        loop = asyncio.get_running_loop()
        self._running = loop.create_task(self._outcome(function, args, kwargs))
        self._attempt.stop = lambda: loop.call_soon_threadsafe(self._interrupt, function)
        if self._attempt.cancelled:
            self.cancel()
        try:
            outcome = await self._running
        except asyncio.CancelledError:  # whoever waits was cancelled before the activity began
            self._attempt.cancelled = True
            raise
        finally:
            self._attempt.stop = None
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def cancel(self) -> None:
        """Cancel the attempt, as a workflow does that does not want the activity any more.

        ``activity.is_cancelled()`` is true from now on. An async function gets
        ``asyncio.CancelledError`` at its next await; a plain one is not interrupted. May be called
        before ``run``, and from any thread.
        """
        self._attempt.cancelled = True
        if (stop := self._attempt.stop) is not None:
            stop()

    def _interrupt(self, function: Callable[..., Any]) -> None:
        if self._running is not None and is_async(function):
            self._running.cancel("the activity was cancelled")

    async def _outcome(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Outcome:
        """Return what came of a call; nothing that it raises can end the loop."""
        current.set(self._attempt)
        try:
            if is_async(function):
                return _Outcome(await function(*args, **kwargs))
            return await asyncio.to_thread(_called, function, args, kwargs)
        except BaseException as error:  # handed on as it is: the test's own task raises it
            self._attempt.cancelled |= isinstance(error, asyncio.CancelledError)
            return _Outcome(error=error)


@dataclass(slots=True)
class _Outcome:
    value: Any = None
    error: BaseException | None = None


@dataclass
class _Attempt:
    """Implements ``ActivityContext``; its methods are called from the activity's own thread."""

    info: ActivityInfo
    payloads: JsonPayloads
    on_heartbeat: Callable[[Any], object] | None
    cancelled: bool = False
    stop: Callable[[], object] | None = None
    heartbeats: list[Any] = field(default_factory=list)

    def heartbeat(self, details: Any) -> None:
        self.payloads.encode(details)  # what cannot be sent is refused here too
        self.heartbeats.append(deepcopy(details))
        if self.on_heartbeat is not None:
            self.on_heartbeat(details)

    def shield(self) -> AbstractContextManager[None]:
        return nullcontext()

    def is_cancelled(self) -> bool:
        return self.cancelled

    def decode(self, payload: bytes, type: Any) -> Any:
        return self.payloads.decoder(type)(payload)


def _called(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Outcome:
    try:
        return _Outcome(function(*args, **kwargs))
    except BaseException as error:  # ``StopIteration`` cannot pass through a future
        return _Outcome(error=error)


def _function(activity: object) -> tuple[str, Callable[..., Any]]:
    """Return the name and the function of an activity, or of a function that is to be one."""
    if isinstance(activity, Activity):
        if activity.is_unbound:
            name = activity.definition.function.__name__
            raise InvalidArgument(
                f"ActivityEnvironment.run: {activity!r} is a method of a class: give the one of an "
                f"instance, run(instance.{name}, ...)"
            )
        return activity.name, activity.definition.function
    if not callable(activity):
        raise InvalidArgument(
            f"ActivityEnvironment.run: {checks.shown(activity)} is no activity and no function"
        )
    return getattr(activity, "__name__", type(activity).__name__), activity
