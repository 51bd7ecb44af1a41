"""The client: each call blocks until it has its answer.

Written by ``processor.dev.sync_client``. What each method does stands in full at its twin.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack, overload

from processor import client as _client
from processor.arguments import Seconds
from processor.attributes import Attributes
from processor.client.activities import ActivityToken
from processor.client.descriptions import RunDescription
from processor.client.options import ActivityRunOptions, RunOptions, StartOptions
from processor.client.vigil import Parked
from processor.config import Settings
from processor.injection.interceptors import Interceptor
from processor.injection.payloads import GivenPayloads
from processor.policy import ConflictPolicy, RetryPolicy, ReusePolicy, Status
from processor.sync.blocking import Blocking
from processor.sync.correlated import Correlated
from processor.sync.entities import EntityHandle
from processor.sync.handles import Handle
from processor.sync.schedules import Schedules
from processor.views.answers import RunCount, ViewRow
from processor.workflow._options import TypeForm

__all__ = ("Client",)

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Us = TypeVarTuple("Us")


class _StartsWith:
    """The part of a client that starts a workflow with a signal or an update."""

    _twin: Any
    _blocking: Blocking

    @overload
    def signal_with_start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        signal: tuple[Callable[[*Us], Any], *Us] | tuple[str, *tuple[Any, ...]],
        **how: Unpack[StartOptions],
    ) -> Handle[R]: ...

    @overload
    def signal_with_start(
        self, workflow: str, *args: Any, signal: tuple[Any, ...], **how: Unpack[StartOptions]
    ) -> Handle[Any]: ...

    def signal_with_start(
        self, workflow: Any, *args: Any, signal: tuple[Any, ...], **how: Any
    ) -> Handle[Any]:
        """Send a signal to a workflow, which is started with it where it does not run."""
        return Handle(
            self._blocking.call(
                self._twin.signal_with_start(workflow, *args, signal=signal, **how)
            ),
            self._blocking,
        )

    @overload
    def update_with_start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, Any]],
        *args: *Ts,
        update: tuple[Callable[[*Us], T], *Us],
        update_id: str | None = None,
        **how: Unpack[StartOptions],
    ) -> T: ...

    @overload
    def update_with_start(
        self,
        workflow: Any,
        *args: Any,
        update: tuple[str, *tuple[Any, ...]],
        update_id: str | None = None,
        **how: Unpack[StartOptions],
    ) -> Any: ...

    def update_with_start(
        self,
        workflow: Any,
        *args: Any,
        update: tuple[Any, ...],
        update_id: str | None = None,
        **how: Any,
    ) -> Any:
        """Let a workflow, which is started where it does not run, do an update; return its
        result.
        """
        found: Any = self._blocking.call(
            self._twin.update_with_start(workflow, *args, update=update, update_id=update_id, **how)
        )
        return found


class _ListsRuns:
    """The part of a client that finds runs."""

    _twin: Any
    _blocking: Blocking

    def list(
        self,
        query: str | None = None,
        *,
        status: Status | str | None = None,
        workflow: str | None = None,
        limit: int | None = None,
    ) -> Iterator[RunDescription]:
        """Yield the runs that a query finds; without one, the latest run of each workflow id."""
        return self._blocking.each(
            self._twin.list(query, status=status, workflow=workflow, limit=limit)
        )

    def count(self, query: str = "") -> RunCount:
        """Return how many runs a query finds, and how many in each group."""
        found: RunCount = self._blocking.call(self._twin.count(query))
        return found


class _ReadsTables:
    """The part of a client that reads tables."""

    _twin: Any
    _blocking: Blocking

    def view(self, name: str, *, prefix: str = "", limit: int | None = None) -> Iterator[ViewRow]:
        """Yield the rows of a table of yours (``@views.table``) in the order of their keys."""
        return self._blocking.each(self._twin.view(name, prefix=prefix, limit=limit))


class _RunsActivities:
    """The part of a client that runs an activity alone."""

    _twin: Any
    _blocking: Blocking

    @overload
    def start_activity(
        self,
        activity: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        **how: Unpack[ActivityRunOptions],
    ) -> Handle[R]: ...

    @overload
    def start_activity(
        self, activity: str, *args: Any, result_type: type[T], **how: Unpack[ActivityRunOptions]
    ) -> Handle[T]: ...

    @overload
    def start_activity(
        self,
        activity: str,
        *args: Any,
        result_type: TypeForm = ...,
        **how: Unpack[ActivityRunOptions],
    ) -> Handle[Any]: ...

    def start_activity(
        self, activity: Any, *args: Any, result_type: Any = None, **how: Any
    ) -> Handle[Any]:
        """Start an activity without a workflow, durably, and return its handle."""
        return Handle(
            self._blocking.call(
                self._twin.start_activity(activity, *args, result_type=result_type, **how)
            ),
            self._blocking,
        )

    @overload
    def run_activity(
        self,
        activity: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        parked: Parked | None = None,
        **how: Unpack[ActivityRunOptions],
    ) -> R: ...

    @overload
    def run_activity(
        self,
        activity: str,
        *args: Any,
        result_type: type[T],
        parked: Parked | None = None,
        **how: Unpack[ActivityRunOptions],
    ) -> T: ...

    @overload
    def run_activity(
        self,
        activity: str,
        *args: Any,
        result_type: TypeForm = ...,
        parked: Parked | None = None,
        **how: Unpack[ActivityRunOptions],
    ) -> Any: ...

    def run_activity(
        self,
        activity: Any,
        *args: Any,
        result_type: Any = None,
        parked: Parked | None = None,
        **how: Any,
    ) -> Any:
        """Start an activity without a workflow, and return its result."""
        found: Any = self._blocking.call(
            self._twin.run_activity(activity, *args, result_type=result_type, parked=parked, **how)
        )
        return found


class _ActivityCalls:
    """What a client says about activities, from any process."""

    _twin: Any
    _blocking: Blocking

    def complete(self, token: ActivityToken, result: Any = None) -> None:
        """End an attempt with its result; it is durable once this returns."""
        self._blocking.call(self._twin.complete(token, result))

    def fail(self, token: ActivityToken, error: Exception) -> None:
        """End an attempt with an error. As if the function had raised it: it may be tried again."""
        self._blocking.call(self._twin.fail(token, error))

    def heartbeat(self, token: ActivityToken, details: Any = None) -> bool:
        """Say that an attempt is alive; return whether it should stop: nobody waits for it."""
        found: bool = self._blocking.call(self._twin.heartbeat(token, details))
        return found

    def cancelled(self, token: ActivityToken) -> None:
        """Say that an attempt has stopped as it was asked to; nothing happens where it is over."""
        self._blocking.call(self._twin.cancelled(token))


class _PromiseCalls:
    """What a client says about promises, from any process."""

    _twin: Any
    _blocking: Blocking

    def resolve(self, id: str, value: Any = None) -> None:
        """Resolve a promise with a value; it is durable once this returns."""
        self._blocking.call(self._twin.resolve(id, value))

    def reject(
        self, id: str, message: str, *, type: str | None = None, details: Any = None
    ) -> None:
        """Reject a promise: who awaits it gets an ``ApplicationError`` with these."""
        self._blocking.call(self._twin.reject(id, message, type=type, details=details))


class _HasSchedules:
    """The part of a client that has schedules."""

    _twin: Any
    _blocking: Blocking

    @property
    def schedules(self) -> Schedules:
        """The schedules of the namespace: ``create``, ``list``, ``handle``, ``preview``."""
        return Schedules(self._twin.schedules, self._blocking)


class _HasEntities:
    """The part of a client that names entities."""

    _twin: Any
    _blocking: Blocking

    @overload
    def entity(self, entity: type[E], key: str) -> EntityHandle[E]: ...

    @overload
    def entity(self, entity: str, key: str) -> EntityHandle[Any]: ...

    def entity(self, entity: Any, key: str) -> EntityHandle[Any]:
        """Return an entity by its class, or its name, and its key, without asking anybody."""
        return EntityHandle(self._twin.entity(entity, key), self._blocking)


class _HasKeys:
    """The part of a client that names business keys."""

    _twin: Any
    _blocking: Blocking

    def correlated(self, name: str, key: str) -> Correlated:
        """Return a business key, by which a run is signalled that holds it; nobody is asked."""
        return Correlated(self._twin.correlated(name, key), self._blocking)


class Client(
    _StartsWith,
    _ListsRuns,
    _ReadsTables,
    _RunsActivities,
    _ActivityCalls,
    _PromiseCalls,
    _HasEntities,
    _HasKeys,
    _HasSchedules,
):
    """Starts runs, talks to them, and waits for their results."""

    def __init__(
        self,
        server: str,
        *,
        namespace: str = "default",
        payloads: GivenPayloads | None = None,
        interceptors: Sequence[Interceptor] | None = None,
        settings: Settings | None = None,
        kafka: Mapping[str, str] | None = None,
        views_dir: str | Path | None = None,
        replies: str | None = None,
    ) -> None:
        self._twin = _client.Client(
            server,
            namespace=namespace,
            payloads=payloads,
            interceptors=interceptors,
            settings=settings,
            kafka=kafka,
            views_dir=views_dir,
            replies=replies,
        )
        self._blocking = Blocking()

    def __enter__(self) -> Self:
        self._blocking.start()
        try:
            self._blocking.call(self._twin.__aenter__())
        except BaseException:
            self._blocking.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._blocking.leave(self._twin.__aexit__(exc_type, exc, traceback))

    @overload
    def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        **how: Unpack[StartOptions],
    ) -> Handle[R]: ...

    @overload
    def start(self, workflow: str, *args: Any, **how: Unpack[StartOptions]) -> Handle[Any]: ...

    def start(
        self,
        workflow: Any,
        *args: Any,
        id: str | None = None,
        key: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        retry: RetryPolicy | None = None,
        memo: Any = None,
        attributes: Attributes | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
        timeout: Seconds | None = None,
        cron: str | None = None,
    ) -> Handle[Any]:
        """Start a workflow, durably, and return its handle."""
        return Handle(
            self._blocking.call(
                self._twin.start(
                    workflow,
                    *args,
                    id=id,
                    key=key,
                    reuse=reuse,
                    conflict=conflict,
                    execution_timeout=execution_timeout,
                    retry=retry,
                    memo=memo,
                    attributes=attributes,
                    delay=delay,
                    at=at,
                    timeout=timeout,
                    cron=cron,
                )
            ),
            self._blocking,
        )

    @overload
    def run(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        parked: Parked | None = None,
        **how: Unpack[RunOptions],
    ) -> R: ...

    @overload
    def run(
        self, workflow: str, *args: Any, parked: Parked | None = None, **how: Unpack[RunOptions]
    ) -> Any: ...

    def run(
        self,
        workflow: Any,
        *args: Any,
        id: str | None = None,
        key: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        retry: RetryPolicy | None = None,
        memo: Any = None,
        attributes: Attributes | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any:
        """Start a workflow and return its result; the rest is as for ``start``."""
        found: Any = self._blocking.call(
            self._twin.run(
                workflow,
                *args,
                id=id,
                key=key,
                reuse=reuse,
                conflict=conflict,
                execution_timeout=execution_timeout,
                retry=retry,
                memo=memo,
                attributes=attributes,
                delay=delay,
                at=at,
                timeout=timeout,
                parked=parked,
            )
        )
        return found

    @overload
    def handle(
        self, id: str, run_id: str | None = None, *, workflow: Callable[..., Coroutine[Any, Any, R]]
    ) -> Handle[R]: ...

    @overload
    def handle(self, id: str, run_id: str | None = None) -> Handle[Any]: ...

    def handle(self, id: str, run_id: str | None = None, *, workflow: Any = None) -> Handle[Any]:
        """Return a handle on a workflow id (and run) without asking anybody."""
        return Handle(self._twin.handle(id, run_id, workflow=workflow), self._blocking)
