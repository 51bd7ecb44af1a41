"""Interceptors: what a user puts around requests, runs, and activities.

``interceptors=[...]`` of ``Worker``, ``Client`` and ``Environment`` takes them. A subclass of
``Interceptor`` overrides what it needs. Each method gets what is about to happen, and ``next``,
which lets it happen; the first interceptor of the list is the outermost. Headers are bytes by name
that go one step: with a request to its run, with a call to its activity, child or instance, with a
signal to its run. An interceptor hands on what is to go further. Payload codecs do not touch them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from processor.activity import ActivityInfo
from processor.core.data.payloads import Payloads
from processor.workflow import WorkflowInfo
from processor.workflow._outbound import ActivityCall, ChildCall, InstanceCall, Signal

__all__ = (
    "ActivityCall",
    "ActivityRun",
    "ChildCall",
    "ClientCall",
    "Injected",
    "InstanceCall",
    "Interceptor",
    "Signal",
    "WorkflowRun",
)


@dataclass
class ClientCall:
    """A client asks a shard: start, event, update, query, value, cancel, terminate, result, ...

    ``name`` is that of the workflow that is started, of the event, update or query. ``headers`` may
    be changed; those of starts, events and updates reach the run. A wait for a result asks again
    every 30 seconds.
    """

    operation: str
    workflow_id: str
    name: str
    headers: dict[str, bytes] = field(default_factory=dict)


@dataclass
class WorkflowRun:
    """The code of a run begins, with these arguments, which may be changed. ``info`` has headers.

    The interceptor is workflow code from then on: it runs again at each replay, and has to do the
    same. ``replaying`` says whether it does so now.
    """

    info: WorkflowInfo
    arguments: tuple[Any, ...]
    _is_replaying: Callable[[], bool]

    @property
    def replaying(self) -> bool:
        return self._is_replaying()


@dataclass
class ActivityRun:
    """An attempt of an activity begins, with these arguments, which may be changed."""

    info: ActivityInfo
    arguments: tuple[Any, ...]


class Interceptor:
    """Override what is of interest; what is not overridden costs nothing."""

    async def request(
        self, call: ClientCall, next: Callable[[ClientCall], Awaitable[None]]
    ) -> None:
        """Around a request of a client. Whatever the shard refuses is raised by ``next``."""
        await next(call)

    async def run_workflow(
        self, run: WorkflowRun, next: Callable[[WorkflowRun], Awaitable[Any]]
    ) -> Any:
        """Around the code of a run, from its begin to its end. Returns its result."""
        return await next(run)

    async def run_activity(
        self, attempt: ActivityRun, next: Callable[[ActivityRun], Awaitable[Any]]
    ) -> Any:
        """Around one attempt of an activity, on the worker's loop. Returns its result."""
        return await next(attempt)

    async def call_activity(
        self, call: ActivityCall, next: Callable[[ActivityCall], Awaitable[Any]]
    ) -> Any:
        """Around an activity that workflow code calls: this is workflow code, too."""
        return await next(call)

    async def call_child(self, call: ChildCall, next: Callable[[ChildCall], Awaitable[Any]]) -> Any:
        """Around a child that workflow code calls or starts: this is workflow code, too.

        Returns what ``next`` returns: the result, or the ``Child`` (``call.starts``).
        """
        return await next(call)

    async def call_instance(
        self, call: InstanceCall, next: Callable[[InstanceCall], Awaitable[Any]]
    ) -> Any:
        """Around what workflow code asks of another instance: this is workflow code, too.

        Returns what ``next`` returns: the answer, or the handle (``signal_with_start``). ``signal``
        and ``cancel`` of a handle are not here: the former is around ``signal``.
        """
        return await next(call)

    def signal(self, signal: Signal, next: Callable[[Signal], Any]) -> Any:
        """Around an event that workflow code sends with ``workflow.signal``; not async.

        Returns what ``next`` returns. This is workflow code, too.
        """
        return next(signal)


@dataclass(frozen=True)
class Injected:
    """What a user puts into clients and workers. ``assembly`` makes it of what was given."""

    payloads: Payloads
    interceptors: tuple[Interceptor, ...] = ()

    def around(self, name: str) -> tuple[Any, ...]:
        """Return what the interceptors do that override the method of this name."""
        usual = getattr(Interceptor, name)
        return tuple(
            getattr(each, name)
            for each in self.interceptors
            if getattr(type(each), name) is not usual
        )
