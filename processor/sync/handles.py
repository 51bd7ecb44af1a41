"""Handles: each call blocks until it has its answer.

Written by ``processor.dev.sync_client``. What each method does stands in full at its twin.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack, overload

from processor.arguments import Seconds
from processor.client.descriptions import RunDescription, RunHistory
from processor.client.vigil import Parked
from processor.policy import Reject
from processor.sync.blocking import Blocking
from processor.workflow._options import Options

__all__ = ("ActivityHandle", "Handle", "UpdateHandle")

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ActivityHandle:
    """One activity of a run, by its id; or (from a task token) one attempt of it."""

    def __init__(self, twin: Any, blocking: Blocking) -> None:
        self._twin = twin
        self._blocking = blocking

    def __repr__(self) -> str:
        return repr(self._twin)

    @property
    def workflow_id(self) -> str:
        found: str = self._twin.workflow_id
        return found

    @property
    def id(self) -> int:
        found: int = self._twin.id
        return found

    def complete(self, result: Any = None) -> None:
        """End it with its result; it is durable once this returns. What runs is told to stop."""
        self._blocking.call(self._twin.complete(result))

    def fail(self, error: Exception) -> None:
        """End its attempt with an error, as if the function had raised that: it may be tried
        again.
        """
        self._blocking.call(self._twin.fail(error))

    def heartbeat(self, details: Any = None) -> bool:
        """Say that its attempt is alive; return whether that should stop: nobody waits for it."""
        found: bool = self._blocking.call(self._twin.heartbeat(details))
        return found

    def cancelled(self) -> None:
        """Say that it has stopped as it was asked to; nothing happens where it is over."""
        self._blocking.call(self._twin.cancelled())

    def pause(self, reason: str = "") -> bool:
        """Let no other attempt begin. One that runs goes on, and what it comes to counts."""
        found: bool = self._blocking.call(self._twin.pause(reason))
        return found

    def resume(self, reason: str = "") -> bool:
        """Let attempts begin again; one that is due begins at once."""
        found: bool = self._blocking.call(self._twin.resume(reason))
        return found

    def retry_now(self) -> bool:
        """Begin the next attempt at once, where the activity waits for it; also while paused."""
        found: bool = self._blocking.call(self._twin.retry_now())
        return found

    def reset(self, reason: str = "") -> bool:
        """Let the retry policy count, and double its delays, from the next attempt on."""
        found: bool = self._blocking.call(self._twin.reset(reason))
        return found

    def set_options(self, **options: Unpack[Options]) -> bool:
        """Change its options (queue, retry, time-outs, eager) from its next attempt on."""
        found: bool = self._blocking.call(self._twin.set_options(**options))
        return found


class UpdateHandle(Generic[T]):
    """One update of one workflow id, by its ``id``. ``run_id`` is the run that accepted it."""

    def __init__(self, twin: Any, blocking: Blocking) -> None:
        self._twin = twin
        self._blocking = blocking

    def __repr__(self) -> str:
        return repr(self._twin)

    @property
    def workflow_id(self) -> str:
        found: str = self._twin.workflow_id
        return found

    @property
    def run_id(self) -> str | None:
        found: str | None = self._twin.run_id
        return found

    @property
    def id(self) -> str:
        found: str = self._twin.id
        return found

    def result(self, timeout: Seconds | None = None, *, parked: Parked | None = None) -> T:
        """Wait for the outcome and return the handler's result; ``timeout`` is in seconds, or
        none.
        """
        found: T = self._blocking.call(self._twin.result(timeout, parked=parked))
        return found


class _TakesUpdates:
    """The part of a handle of a workflow id that is about updates."""

    _twin: Any
    _blocking: Blocking

    @overload
    def update(
        self,
        handler: Callable[[*Ts], T],
        /,
        *args: *Ts,
        id: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> T: ...

    @overload
    def update(
        self,
        handler: str,
        /,
        *args: Any,
        result_type: type[T],
        id: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> T: ...

    @overload
    def update(
        self,
        handler: str,
        /,
        *args: Any,
        id: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any: ...

    def update(
        self,
        handler: Any,
        /,
        *args: Any,
        result_type: Any = None,
        id: str | None = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any:
        """Let a handler of the workflow's class, or of its name, do something; return its
        result.
        """
        found: Any = self._blocking.call(
            self._twin.update(
                handler, *args, result_type=result_type, id=id, timeout=timeout, parked=parked
            )
        )
        return found

    @overload
    def start_update(
        self, handler: Callable[[*Ts], T], /, *args: *Ts, id: str | None = None
    ) -> UpdateHandle[T]: ...

    @overload
    def start_update(
        self, handler: str, /, *args: Any, result_type: type[T], id: str | None = None
    ) -> UpdateHandle[T]: ...

    @overload
    def start_update(
        self, handler: str, /, *args: Any, id: str | None = None
    ) -> UpdateHandle[Any]: ...

    def start_update(
        self, handler: Any, /, *args: Any, result_type: Any = None, id: str | None = None
    ) -> UpdateHandle[Any]:
        """Return once an update is accepted: the handler has begun. The rest is as for
        ``update``.
        """
        return UpdateHandle(
            self._blocking.call(
                self._twin.start_update(handler, *args, result_type=result_type, id=id)
            ),
            self._blocking,
        )

    @overload
    def update_handle(self, id: str, *, result_type: type[T]) -> UpdateHandle[T]: ...

    @overload
    def update_handle(self, id: str) -> UpdateHandle[Any]: ...

    def update_handle(self, id: str, *, result_type: Any = Any) -> UpdateHandle[Any]:
        """Return a handle on an update by its id, without asking anybody."""
        return UpdateHandle(self._twin.update_handle(id, result_type=result_type), self._blocking)


class _ReadsValues:
    """The part of a handle that is about values."""

    _twin: Any
    _blocking: Blocking

    @overload
    def value(self, name: str, *, result_type: type[T], timeout: Seconds | None = None) -> T: ...

    @overload
    def value(self, name: str, *, timeout: Seconds | None = None) -> Any: ...

    def value(self, name: str, *, result_type: Any = Any, timeout: Seconds | None = None) -> Any:
        """Return a value that the run has set (``workflow.set_value``), or wait until it is set."""
        found: Any = self._blocking.call(
            self._twin.value(name, result_type=result_type, timeout=timeout)
        )
        return found

    @overload
    def watch(self, name: str, *, result_type: type[T]) -> Iterator[T]: ...

    @overload
    def watch(self, name: str) -> Iterator[Any]: ...

    def watch(self, name: str, *, result_type: Any = Any) -> Iterator[Any]:
        """Yield a value, and each newer one of the name, until the run has ended."""
        return self._blocking.each(self._twin.watch(name, result_type=result_type))


class Handle(_TakesUpdates, _ReadsValues, Generic[R]):
    """One workflow id. A handle from ``start`` means the chain of runs that it began."""

    def __init__(self, twin: Any, blocking: Blocking) -> None:
        self._twin = twin
        self._blocking = blocking

    def __repr__(self) -> str:
        return repr(self._twin)

    @property
    def id(self) -> str:
        found: str = self._twin.id
        return found

    @property
    def run_id(self) -> str | None:
        found: str | None = self._twin.run_id
        return found

    @property
    def created(self) -> bool:
        found: bool = self._twin.created
        return found

    def result(self, timeout: Seconds | None = None, *, parked: Parked | None = None) -> R:
        """Wait for the end and return the result; ``timeout``: a ``timedelta`` or seconds, or
        none.
        """
        found: R = self._blocking.call(self._twin.result(timeout, parked=parked))
        return found

    def raise_event(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send an external event; it is durable once this returns."""
        self._blocking.call(self._twin.raise_event(name, payload, key=key))

    @overload
    def signal(
        self, handler: Callable[[*Ts], Any], /, *args: *Ts, key: str | None = None
    ) -> None: ...

    @overload
    def signal(self, handler: str, /, *args: Any, key: str | None = None) -> None: ...

    def signal(self, handler: Any, /, *args: Any, key: str | None = None) -> None:
        """Send a signal to a handler of the workflow's class, or by its name."""
        self._blocking.call(self._twin.signal(handler, *args, key=key))

    @overload
    def query(
        self,
        handler: Callable[[*Ts], T],
        /,
        *args: *Ts,
        reject: Reject = "none",
        timeout: Seconds | None = None,
    ) -> T: ...

    @overload
    def query(
        self,
        handler: str,
        /,
        *args: Any,
        result_type: type[T],
        reject: Reject = "none",
        timeout: Seconds | None = None,
    ) -> T: ...

    @overload
    def query(
        self, handler: str, /, *args: Any, reject: Reject = "none", timeout: Seconds | None = None
    ) -> Any: ...

    def query(
        self,
        handler: Any,
        /,
        *args: Any,
        result_type: Any = None,
        reject: Reject = "none",
        timeout: Seconds | None = None,
    ) -> Any:
        """Ask the run's code, by a handler of its class or by its name, and return the answer."""
        found: Any = self._blocking.call(
            self._twin.query(
                handler, *args, result_type=result_type, reject=reject, timeout=timeout
            )
        )
        return found

    def cancel(self, reason: str = "") -> bool:
        """Ask the workflow to stop: ``asyncio.CancelledError`` is raised where it waits."""
        found: bool = self._blocking.call(self._twin.cancel(reason))
        return found

    def terminate(self, reason: str = "", *, recursive: bool = True, output: Any = None) -> bool:
        """End the run at once, without running its code again; return as ``cancel`` does."""
        found: bool = self._blocking.call(
            self._twin.terminate(reason, recursive=recursive, output=output)
        )
        return found

    def start_now(self) -> None:
        """Let the code of a run begin that waits for its time: a delay, a retry, a cron string."""
        self._blocking.call(self._twin.start_now())

    def activity(self, id: int) -> ActivityHandle:
        """Return a handle on one open activity: ``describe`` has their ids."""
        return ActivityHandle(self._twin.activity(id), self._blocking)

    def describe(self) -> RunDescription:
        """Return where the run stands."""
        found: RunDescription = self._blocking.call(self._twin.describe())
        return found

    def history(self) -> RunHistory:
        """Return all events of the run, in order: a list, which says whether a view told them."""
        found: RunHistory = self._blocking.call(self._twin.history())
        return found
