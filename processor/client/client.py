"""The client: start workflows, talk to running ones, get results."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, TypeVarTuple, overload

from processor import arguments as given
from processor import checks
from processor.arguments import Seconds
from processor.assembly import open_gateway
from processor.client.descriptions import (
    HistoryEvent,
    RunDescription,
    description,
    descriptions,
    history,
    read,
)
from processor.client.vigil import PARKED, Parked, Vigil, Vigils, overdue
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.run import CancelRun, StartRun, TerminateRun
from processor.core.operation import Request
from processor.core.questions import AwaitResult, DescribeRun, ListRuns, ReadHistory
from processor.core.records.answers import Accepted, Closed, Page, Refused, ReplyBody
from processor.errors import (
    PayloadTooLarge,
    SchemaMismatch,
    ShardUnavailable,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.failures import exception_of, refusal
from processor.gateway import Gateway, only_outside
from processor.policy import (
    CONFLICT_POLICIES,
    REUSE_POLICIES,
    ConflictPolicy,
    ReusePolicy,
    Status,
)
from processor.readable import readable

__all__ = ("Client", "Handle", "HistoryEvent", "RunDescription")

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_log = logging.getLogger("processor.client")

_ASK_AGAIN_S: Final = 0.2
_WAIT_S: Final = 30.0
"""How long a shard keeps a waiting client, which then asks again."""


class Client:
    """Starts runs, talks to them, and waits for their results.

    Use it as ``async with Client("localhost:9092") as client`` (or ``embedded:./state``).
    ``kafka`` holds further properties of librdkafka for all Kafka clients: ``security.protocol``,
    ``sasl.mechanism``, ``sasl.username``, ``sasl.password``, ``ssl.ca.location``, for example.
    """

    def __init__(
        self,
        server: str,
        *,
        namespace: str = "default",
        settings: Settings | None = None,
        kafka: Mapping[str, str] | None = None,
    ) -> None:
        only_outside()
        self._settings = given.settings(settings, "Client")
        self._vigils = Vigils()
        self._payloads = JsonPayloads()
        self._gateway: Gateway = open_gateway(
            server, namespace, self._settings, {} if kafka is None else kafka
        )

    async def __aenter__(self) -> Client:
        only_outside()
        await self._gateway.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._gateway.close()

    @overload
    async def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        memo: Any = None,
        timeout: Seconds | None = None,
    ) -> Handle[R]: ...

    @overload
    async def start(
        self,
        workflow: str,
        *args: Any,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        memo: Any = None,
        timeout: Seconds | None = None,
    ) -> Handle[Any]: ...

    async def start(  # type: ignore[misc]  # mypy cannot match *Ts with the implementation's *Any
        self,
        workflow: Any,
        *args: Any,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        memo: Any = None,
        timeout: Seconds | None = None,
    ) -> Handle[Any]:
        """Start a workflow, durably, and return its handle.

        ``id`` is the workflow id (default: a new one). ``reuse`` says what a closed run of that id
        means ("allow", "allow-failed", "reject", "use-existing": its result is the result),
        ``conflict`` what an open one does ("fail", which ``reuse="use-existing"`` makes
        "use-existing"; "terminate"). Times are seconds or ``timedelta``; ``timeout`` is how long to
        wait for the shard's answer. Raises ``InvalidArgument``, ``WorkflowAlreadyStarted``,
        ``WorkflowNotRegistered``, ``SchemaMismatch``, ``PayloadTooLarge``, ``ShardUnavailable``.
        """
        timeout_s = given.seconds(timeout, "start: timeout")
        handle, body = self._prepared(
            "start", workflow, args, id, reuse, conflict, execution_timeout, memo
        )
        handle._begun(await self._accepted(handle.id, body, timeout_s))
        return handle

    @overload
    async def run(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        memo: Any = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> R: ...

    @overload
    async def run(
        self,
        workflow: str,
        *args: Any,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        memo: Any = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any: ...

    async def run(  # type: ignore[misc]  # as above
        self,
        workflow: Any,
        *args: Any,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        memo: Any = None,
        timeout: Seconds | None = None,
        parked: Parked | None = None,
    ) -> Any:
        """Start a workflow and return its result; the rest is as for ``start``.

        ``timeout`` (a ``timedelta`` or seconds; default: none) is for all of it, ``parked`` as for
        ``Handle.result``. Both travel in one request: a short run has one answer, its result.
        """
        limit_s = given.seconds(timeout, "run: timeout")
        deadline = None if limit_s is None else time.monotonic() + limit_s
        patience_s = self._settings.request_timeout_s
        within_s = patience_s if limit_s is None else min(limit_s, patience_s)
        within_ms = int(within_s * 1000)
        handle, body = self._prepared(
            "run", workflow, args, id, reuse, conflict, execution_timeout, memo, within_ms
        )
        async with self._vigil(handle, parked, "run: parked") as vigil:
            try:
                answer = await self._ask(handle.id, body, within_s)
            except ShardUnavailable as error:
                if limit_s is None or limit_s > patience_s:
                    raise
                raise overdue(handle.id, limit_s, vigil, str(error)) from error
            if isinstance(answer, Closed):
                return self._outcome(handle.id, answer, handle._result_type)
            assert isinstance(answer, Accepted), f"a shard answers {body} with {answer}"
            handle._begun(answer)
            return await handle._result(limit_s, deadline, vigil)

    @overload
    def handle(
        self,
        id: str,
        run_id: str | None = None,
        *,
        workflow: Callable[..., Coroutine[Any, Any, R]],
    ) -> Handle[R]: ...

    @overload
    def handle(self, id: str, run_id: str | None = None) -> Handle[Any]: ...

    def handle(self, id: str, run_id: str | None = None, *, workflow: Any = None) -> Handle[Any]:
        """Return a handle on a workflow id (and run) without asking anybody.

        ``workflow`` gives the result its type.
        """
        id = checks.workflow_id(id, "handle: id")
        if run_id is not None:
            run_id = checks.name(run_id, "handle: run_id")
        result_type = Any if workflow is None else given.named("handle", workflow)[1]
        return Handle(self, id, run_id, result_type)

    async def list(
        self,
        *,
        status: Status | str | None = None,
        workflow: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[RunDescription]:
        """Yield the latest run of each workflow id, shard by shard, from the state tables.

        ``limit`` is how many at the most (default: all). Raises ``InvalidArgument``.
        """
        only_outside()
        wanted = None if status is None else given.status(status)
        if workflow is not None:
            workflow = checks.name(workflow, "list: workflow")
        left = None if limit is None else checks.whole(limit, "list: limit", 1)
        for partition in range(self._gateway.partitions):
            after: str | None = ""
            while after is not None:
                count = 100 if left is None else min(left, 100)
                body = ListRuns(wanted, workflow, after, count)
                page = await self._page("", body, partition=partition)
                for run in descriptions(page, partition):
                    yield run
                    left = None if left is None else left - 1
                    if left == 0:
                        return
                after = page.after

    # --- requests ---------------------------------------------------------------------------

    def _prepared(
        self,
        call: str,
        workflow: Any,
        args: tuple[Any, ...],
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: Seconds | None = None,
        memo: Any = None,
        within_ms: int | None = None,
    ) -> tuple[Handle[Any], StartRun]:
        """Return the handle of a workflow that is to be started, and what starts it."""
        name, result_type = given.named(call, workflow)
        if id is None:
            id = uuid.uuid4().hex
        start = StartRun(
            name,
            self._encoded_arguments(workflow, name, args),
            given.one_of(REUSE_POLICIES, reuse, f"{call}: reuse"),
            given.one_of(CONFLICT_POLICIES, conflict, f"{call}: conflict"),
            given.limit_ms(call, workflow, execution_timeout),
            self._encoded(f"{call}: memo", memo),
            result_within_ms=within_ms,
        )
        return Handle(self, checks.workflow_id(id, f"{call}: id"), None, result_type), start

    def _encoded_arguments(self, workflow: Any, name: str, args: tuple[Any, ...]) -> bytes | None:
        try:
            return self._encoded(f"the arguments of workflow {name!r}", list(args))
        except SchemaMismatch:
            for number, each in enumerate(args):  # which one is it?
                which = given.argument(workflow, number)
                self._encoded(f"argument {which} of workflow {name!r}", each)
            raise

    def _encoded(self, what: str, value: Any) -> bytes | None:
        try:
            payload = self._payloads.encode(value)
        except SchemaMismatch as error:
            raise SchemaMismatch(f"{what}: {error}") from error
        limit = self._settings.payload_bytes_max
        if payload is not None and len(payload) > limit:
            raise PayloadTooLarge(
                f"{what}: {len(payload):,} bytes; the limit is {limit:,}. Keep the value elsewhere "
                "and pass where it is"
            )
        return payload

    def _vigil(
        self, handle: Handle[Any], parked: Parked | None, what: str
    ) -> AbstractAsyncContextManager[Vigil | None]:
        """Return what looks whether a run goes on, as long as somebody waits for its result."""
        only_outside()
        raises = parked is not None and given.one_of(PARKED, parked, what) == "raise"
        return Vigil(self._vigils, handle.id, handle.describe, raises=raises)

    async def _ask(
        self,
        workflow_id: str,
        body: Request,
        timeout: float | None = None,
        partition: int | None = None,
    ) -> ReplyBody:
        only_outside()
        timeout_s = self._settings.request_timeout_s if timeout is None else timeout
        command = ClientCommand(workflow_id, body)
        answer = await self._gateway.request(command, timeout_s=timeout_s, partition=partition)
        if isinstance(answer, Refused):
            raise refusal(answer)
        return answer

    async def _accepted(
        self, workflow_id: str, body: Request, timeout: float | None = None
    ) -> Accepted:
        answer = await self._ask(workflow_id, body, timeout)
        assert isinstance(answer, Accepted), f"a shard answers {body} with {answer}"
        return answer

    async def _page(self, workflow_id: str, body: Request, partition: int | None = None) -> Page:
        answer = await self._ask(workflow_id, body, partition=partition)
        assert isinstance(answer, Page), f"a shard answers {body} with {answer}"
        return answer

    async def _closed(self, handle: Handle[Any], timeout_s: float) -> Closed:
        body = AwaitResult(*handle._which, int(_WAIT_S * 1000))
        answer = await self._ask(handle.id, body, timeout_s)
        assert isinstance(answer, Closed), f"a shard answers {body} with {answer}"
        return answer

    def _outcome(self, workflow_id: str, closed: Closed, result_type: Any) -> Any:
        if closed.status == Status.COMPLETED:
            try:
                return self._payloads.decoder(result_type)(closed.result)
            except SchemaMismatch as error:
                run = f"run {closed.run_id} of {workflow_id!r}"
                raise SchemaMismatch(f"the result of {run}: {error}") from error
        which = {"workflow_id": workflow_id, "run_id": closed.run_id}
        run = f"run {closed.run_id} of {workflow_id!r}"
        match Status(closed.status):
            case Status.CANCELLED:
                raise WorkflowCancelled(
                    f"{run} was cancelled{_why(closed)}", **which, reason=closed.reason or ""
                )
            case Status.TERMINATED:
                raise WorkflowTerminated(
                    f"{run} was terminated{_why(closed)}", **which, reason=closed.reason or ""
                )
            case Status.TIMED_OUT:
                raise WorkflowTimedOut(f"{run} passed its execution time-out", **which)
            case _:
                assert closed.failure is not None, "a failed run has a failure"
                cause = exception_of(closed.failure, self._payloads)
                raise WorkflowFailed(f"{run} failed: {readable(str(cause))}", **which) from cause


class Handle(Generic[R]):
    """One workflow id. A handle from ``start`` means the chain of runs that it began.

    A handle that was made with a ``run_id`` means that run only, any other one the latest run.
    ``run_id`` is the run that the handle was made with, or that its start made. ``created`` is
    False where the start found that run.
    """

    def __init__(self, client: Client, id: str, run_id: str | None, result_type: Any) -> None:
        self._client = client
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

        While the run is parked or held up, a warning says so after a second; ``parked="raise"``
        raises ``WorkflowParked`` then. Raises ``WorkflowFailed`` (the cause is the code's error),
        ``WorkflowCancelled``, ``WorkflowTerminated``, ``WorkflowTimedOut``, or ``TimeoutError``
        when the time is up.
        """
        limit_s = given.seconds(timeout, "result: timeout")
        async with self._client._vigil(self, parked, "result: parked") as vigil:
            deadline = None if limit_s is None else time.monotonic() + limit_s
            return await self._result(limit_s, deadline, vigil)

    async def _result(
        self, limit_s: float | None, deadline: float | None, vigil: Vigil | None
    ) -> R:
        while True:
            left_s = _WAIT_S if deadline is None else min(deadline - time.monotonic(), _WAIT_S)
            if left_s <= 0:
                raise overdue(self.id, limit_s or 0.0, vigil)
            asked = time.monotonic()
            try:
                closed = await self._client._closed(self, left_s)
            except ShardUnavailable as error:
                if time.monotonic() - asked < left_s:  # else it still runs, or the vigil finds out
                    _log.warning("still waiting for the result of %r: %s", self.id, error)
                await asyncio.sleep(min(left_s, _ASK_AGAIN_S))
                continue
            outcome: R = self._client._outcome(self.id, closed, self._result_type)
            return outcome

    async def raise_event(self, name: str, payload: Any = None) -> None:
        """Send an external event; it is durable once this returns.

        Raises ``WorkflowNotFound``, ``CommandRejected`` (the run has ended, or keeps too many
        events that its code has not taken), ``SchemaMismatch``, ``PayloadTooLarge``,
        ``ShardUnavailable``, ``RequestExpired``.
        """
        name = checks.name(name, "raise_event: name")
        encoded = self._client._encoded(f"event {name!r}", payload)
        await self._client._accepted(self.id, RaiseEvent(name, encoded, *self._which))

    async def cancel(self, reason: str = "") -> bool:
        """Ask the workflow to stop: ``asyncio.CancelledError`` is raised where it waits.

        Return False where it had ended before, or had been asked by this very request, whose
        answer was lost.
        """
        body = CancelRun(checks.text(reason, "cancel: reason"), *self._which)
        return (await self._client._accepted(self.id, body)).created

    async def terminate(self, reason: str = "") -> bool:
        """End the run at once, without running its code again; return as ``cancel`` does."""
        body = TerminateRun(checks.text(reason, "terminate: reason"), *self._which)
        return (await self._client._accepted(self.id, body)).created

    async def describe(self) -> RunDescription:
        """Return how the run stands, and what it waits for."""
        page = await self._client._page(self.id, DescribeRun(*self._which))
        return read(page, description)

    async def history(self) -> list[HistoryEvent]:
        """Return all events of the run, in order."""
        which, first = self._which, 0
        events: list[HistoryEvent] = []
        while True:
            page = await self._client._page(self.id, ReadHistory(*which, first))
            run_id, more = read(page, history)
            which = (run_id, None)
            events += more
            if page.after is None:
                return events
            first = int(page.after)


def _why(closed: Closed) -> str:
    return f": {readable(closed.reason)}" if closed.reason else ""
