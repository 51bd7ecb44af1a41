"""One workflow id in the hands of a client: its result, and what is asked of its run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar, TypeVarTuple, overload

from processor import arguments as given
from processor import checks
from processor.arguments import Seconds
from processor.client.activities import ActivityHandle
from processor.client.calls import WAIT_MS, ClientCalls, deadline_of
from processor.client.descriptions import (
    HistoryEvent,
    RunDescription,
    RunHistory,
    description,
    history,
    read,
)
from processor.client.updates import TakesUpdates
from processor.client.values import ReadsValues
from processor.client.vigil import PARKED, Parked, Vigil, overdue
from processor.core.nouns.child import TerminateWith
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.stop import CancelRun
from processor.core.nouns.timer import StartNow
from processor.core.questions import REJECTS, AwaitResult, DescribeRun, QueryRun, ReadHistory
from processor.core.records.answers import Accepted, Closed, QueryAnswered
from processor.gateway import only_outside
from processor.policy import Reject
from processor.workflow._engine.runtime import reader
from processor.workflow._handlers import event_of, query_of
from processor.workflow._outcomes import answered, outcome

__all__ = ("Handle",)

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Handle(TakesUpdates, ReadsValues, Generic[R]):
    """One workflow id. A handle from ``start`` means the chain of runs that it began.

    A handle that was made with a ``run_id`` means that run only, any other one the latest run.
    ``run_id`` is the run that the handle was made with, or that its start made. ``created`` is
    False where the start found that run.
    """

    def __init__(self, calls: ClientCalls, id: str, run_id: str | None, result_type: Any) -> None:
        self._calls = calls
        self._result_type = result_type
        self._which: tuple[str | None, str | None] = (run_id, None)
        self.id = id
        self.run_id = run_id
        self.created = False

    def __repr__(self) -> str:
        return f"Handle(id={self.id!r}, run_id={self.run_id!r})"

    def _begun(self, accepted: Accepted) -> None:
        """Mean the chain of the run that a start made, or found."""
        self.run_id, self.created = accepted.run_id, accepted.created
        self._which = (None, accepted.first_run_id or accepted.run_id)

    async def result(self, timeout: Seconds | None = None, *, parked: Parked | None = None) -> R:
        """Wait for the end and return the result; ``timeout``: a ``timedelta`` or seconds, or none.

        With 0 it looks whether the result is there.
        While the run is parked or held up, a warning says so after a second; ``parked="raise"``
        raises ``WorkflowParked`` then. Raises ``WorkflowFailed`` (the cause is the code's error),
        ``WorkflowCancelled``, ``WorkflowTerminated``, ``WorkflowTimedOut``, or ``TimeoutError``
        when the time is up; ``WorkflowContinued`` where the handle names a run that went on as
        another one.
        """
        limit_s = given.seconds(timeout, "result: timeout")
        async with self._vigil(parked, "result: parked") as vigil:
            return await self._result(limit_s, deadline_of(limit_s), vigil)

    def _vigil(self, parked: Parked | None, what: str) -> AbstractAsyncContextManager[Vigil | None]:
        """Return what looks whether the run goes on, as long as somebody waits for its result."""
        only_outside()
        raises = parked is not None and given.one_of(PARKED, parked, what) == "raise"
        return Vigil(self._calls.vigils, self.id, self._looked_at, raises=raises)

    async def _looked_at(self, child: str | None) -> RunDescription:
        if child is None:
            return await self.describe()
        page = await self._calls.page(child, DescribeRun())
        return read(page, description, self._calls.payloads)

    async def _result(
        self, limit_s: float | None, deadline: float | None, vigil: Vigil | None
    ) -> R:
        body = AwaitResult(*self._which, WAIT_MS)
        what = f"the result of {self.id!r}"
        closed = await self._calls.awaited(self.id, body, deadline, what)
        if closed is None:
            raise overdue(self.id, limit_s or 0.0, vigil)
        assert isinstance(closed, Closed), f"a shard answers {body} with {closed}"
        return self._outcome(closed)

    def _outcome(self, closed: Closed) -> R:
        """Return the result of a run that has ended, or raise what it ended with."""
        result: R = outcome(self.id, closed, self._calls.payloads, self._result_type)
        return result

    async def raise_event(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send an external event; it is durable once this returns.

        ``key`` is an idempotency key: what has the key of an event that this workflow id has taken
        counts no more, whoever sends it. Raises ``WorkflowNotFound``, ``CommandRejected`` (the run
        has ended, or keeps too many events that its code has not taken), ``SchemaMismatch``,
        ``PayloadTooLarge``, ``ShardUnavailable``, ``RequestExpired``.
        """
        name = checks.name(name, "raise_event: name")
        encoded = self._calls.encoded(f"event {name!r}", payload)
        key = None if key is None else checks.name(key, "raise_event: key")
        await self._calls.accepted(self.id, RaiseEvent(name, encoded, *self._which), key=key)

    @overload
    async def signal(
        self, handler: Callable[[*Ts], Any], /, *args: *Ts, key: str | None = None
    ) -> None: ...

    @overload
    async def signal(self, handler: str, /, *args: Any, key: str | None = None) -> None: ...

    async def signal(  # type: ignore[misc]  # *Ts
        self, handler: Any, /, *args: Any, key: str | None = None
    ) -> None:
        """Send a signal to a handler of the workflow's class, or by its name.

        A signal is an external event: its value is the one argument, or the list of several.
        ``key`` is as for ``raise_event``. Raises as that does.
        """
        name, value = event_of(handler, args, "signal")
        await self.raise_event(name, value, key=key)

    @overload
    async def query(
        self,
        handler: Callable[[*Ts], T],
        /,
        *args: *Ts,
        reject: Reject = "none",
        timeout: Seconds | None = None,
    ) -> T: ...

    @overload
    async def query(
        self,
        handler: str,
        /,
        *args: Any,
        result_type: type[T],
        reject: Reject = "none",
        timeout: Seconds | None = None,
    ) -> T: ...

    @overload
    async def query(
        self,
        handler: str,
        /,
        *args: Any,
        reject: Reject = "none",
        timeout: Seconds | None = None,
    ) -> Any: ...

    async def query(  # type: ignore[misc]  # *Ts
        self,
        handler: Any,
        /,
        *args: Any,
        result_type: Any = None,
        reject: Reject = "none",
        timeout: Seconds | None = None,
    ) -> Any:
        """Ask the run's code, by a handler of its class or by its name, and return the answer.

        The handler only reads; the answer sees all that was acknowledged before. Closed and parked
        runs answer too, while a worker has their code. ``reject`` refuses runs that are "not-open",
        or "not-completed" (closed in another way). ``timeout`` is a ``timedelta`` or seconds.
        Raises ``QueryFailed``, ``WorkflowNotFound``, ``SchemaMismatch``, ``ShardUnavailable``.
        """
        name, known, arguments = query_of(handler, args, "query")
        reject = given.one_of(tuple(REJECTS), reject, "query: reject")
        expected = known
        if result_type is not None:
            reader(self._calls.payloads, expected := result_type, "query: result_type")
        encoded = self._calls.encoded(f"the arguments of query {name!r}", arguments)
        body = QueryRun(name, encoded, *self._which, reject)
        timeout_s = given.seconds(timeout, "query: timeout")
        answer = await self._calls.ask(self.id, body, timeout_s)
        assert isinstance(answer, QueryAnswered), f"a shard answers {body} with {answer}"
        return answered(self.id, name, answer, self._calls.payloads, expected)

    async def cancel(self, reason: str = "") -> bool:
        """Ask the workflow to stop: ``asyncio.CancelledError`` is raised where it waits.

        Return False where it had ended before, or had been asked by this very request, whose
        answer was lost.
        """
        body = CancelRun(checks.text(reason, "cancel: reason"), *self._which)
        return (await self._calls.accepted(self.id, body)).created

    async def terminate(
        self, reason: str = "", *, recursive: bool = True, output: Any = None
    ) -> bool:
        """End the run at once, without running its code again; return as ``cancel`` does.

        Its children end as their ``parent_close`` says; with ``recursive=False`` they go on.
        ``output`` is a value for whoever waits for the end: ``WorkflowTerminated.output``. Raises
        ``WorkflowNotFound``, ``SchemaMismatch``, ``PayloadTooLarge``, ``ShardUnavailable``.
        """
        body = TerminateWith(
            checks.text(reason, "terminate: reason"),
            *self._which,
            recursive=checks.yes_or_no(recursive, "terminate: recursive"),
            output=None if output is None else self._calls.encoded("terminate: output", output),
        )
        return (await self._calls.accepted(self.id, body.plain)).created

    async def start_now(self) -> None:
        """Let the code of a run begin that waits for its time: a delay, a retry, a cron string.

        Raises ``CommandRejected`` where it has begun, and ``WorkflowNotFound``.
        """
        await self._calls.accepted(self.id, StartNow(*self._which))

    def activity(self, id: int) -> ActivityHandle:
        """Return a handle on one open activity: ``describe`` has their ids."""
        id = checks.whole(id, "activity: id", 0)
        return ActivityHandle(self._calls, self.id, id, *self._which)

    async def describe(self) -> RunDescription:
        """Return where the run stands.

        Where no worker answers, on Kafka, the view of ``views_dir`` does: then ``view`` says how
        far that is. Raises ``WorkflowNotFound``, ``ShardUnavailable``.
        """
        page = await self._calls.page(self.id, DescribeRun(*self._which))
        return read(page, description, self._calls.payloads)

    async def history(self) -> RunHistory:
        """Return all events of the run, in order: a list, which says whether a view told them."""
        which, first = self._which, 0
        events: list[HistoryEvent] = []
        while True:
            page = await self._calls.page(self.id, ReadHistory(*which, first))
            more = read(page, history, self._calls.payloads)
            which = (more.run_id, None)
            events += more
            if page.after is None:
                return RunHistory(more.run_id, events, more.view)
            first = int(page.after)
