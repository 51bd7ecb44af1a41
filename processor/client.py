"""The client: start workflows, talk to running ones, get results."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Generic, TypeVar, TypeVarTuple, overload

import msgspec

from processor import errors
from processor.assembly import open_gateway
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.answers import Accepted, Closed, Page, Refused, ReplyBody
from processor.core.inputs import (
    AwaitResult,
    CancelRun,
    ClientCommand,
    CommandBody,
    DescribeRun,
    ListRuns,
    RaiseEvent,
    ReadHistory,
    StartRun,
    TerminateRun,
)
from processor.errors import (
    CommandRejected,
    PayloadTooLarge,
    ProcessorError,
    ShardUnavailable,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.failures import exception_of
from processor.gateway import Gateway
from processor.policy import ConflictPolicy, ReusePolicy, Status, milliseconds
from processor.workflow import Workflow

__all__ = ("Client", "Handle", "HistoryEvent", "RunDescription")

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_log = logging.getLogger("processor.client")

_ASK_AGAIN_S = 0.2
_WAIT_S = 30.0
"""How long a shard keeps a waiting client, which then asks again."""


@dataclass(frozen=True)
class RunDescription:
    """A run as its shard sees it. ``pending``: activities, timers and lines of code it waits for.

    ``parked`` is there while the run waits for fixed code: kind, error, where, traceback.
    ``undelivered`` is there once something that it published went to dead letters: how many records
    (count), and why (reasons, of the first ten). The worker that has the shard knows it until it
    ends; the dead letters say it for as long as they are kept.
    """

    workflow_id: str
    run_id: str
    workflow: str
    status: Status
    started: datetime
    closed: datetime | None
    events: int
    custom_status: Any = None
    cancel_reason: str | None = None
    parked: dict[str, Any] | None = None
    pending: dict[str, Any] = field(default_factory=dict)
    memo: Any = None
    shard: int = 0
    undelivered: dict[str, Any] | None = None


@dataclass(frozen=True)
class HistoryEvent:
    """One event; ``fields`` are those of its type, payloads as plain JSON values."""

    number: int
    time: datetime
    type: str
    fields: dict[str, Any]


class Client:
    """Use as ``async with Client("localhost:9092") as client`` (or ``embedded:./state``).

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
        self._settings = settings or Settings()
        self._payloads = JsonPayloads()
        self._gateway: Gateway = open_gateway(server, namespace, self._settings, kafka or {})

    async def __aenter__(self) -> Client:
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
        execution_timeout: timedelta | float | None = None,
        memo: Any = None,
        timeout: float | None = None,
    ) -> Handle[R]: ...

    @overload
    async def start(
        self,
        workflow: str,
        *args: Any,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: timedelta | float | None = None,
        memo: Any = None,
        timeout: float | None = None,
    ) -> Handle[Any]: ...

    async def start(  # type: ignore[misc]  # mypy cannot match *Ts with the implementation's *Any
        self,
        workflow: Any,
        *args: Any,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: timedelta | float | None = None,
        memo: Any = None,
        timeout: float | None = None,
    ) -> Handle[Any]:
        """Start a workflow, durably, and return its handle.

        ``id`` is the workflow id (default: a new one). ``reuse`` says what a closed run of that id
        means ("allow", "allow-failed", "reject"), ``conflict`` what an open one does ("fail",
        "use-existing", "terminate"). Times are seconds or ``timedelta``; ``timeout`` is how long
        to wait for the shard's answer. Raises ``WorkflowAlreadyStarted``,
        ``WorkflowNotRegistered``, ``SchemaMismatch``, ``PayloadTooLarge``, ``ShardUnavailable``.
        """
        handle, body = self._prepared(
            workflow, args, id, reuse, conflict, execution_timeout, memo, None
        )
        handle._begun(await self._accepted(handle.id, body, timeout))
        return handle

    @overload
    async def run(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: timedelta | float | None = None,
        memo: Any = None,
        timeout: float | None = None,
    ) -> R: ...

    @overload
    async def run(
        self,
        workflow: str,
        *args: Any,
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: timedelta | float | None = None,
        memo: Any = None,
        timeout: float | None = None,
    ) -> Any: ...

    async def run(  # type: ignore[misc]  # as above
        self, workflow: Any, *args: Any, timeout: float | None = None, **how: Any
    ) -> Any:
        """Start a workflow and return its result; the rest is as for ``start``.

        ``timeout`` is for all of it, in seconds (default: none). Both travel in one request: a
        short run has one answer, which is its result.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        patience_s = self._settings.request_timeout_s
        within_s = patience_s if timeout is None else min(timeout, patience_s)
        handle, body = self._prepared(workflow, args, within_ms=int(within_s * 1000), **how)
        try:
            answer = await self._ask(handle.id, body, within_s)
        except ShardUnavailable as error:
            if timeout is None or timeout > patience_s:
                raise
            raise TimeoutError(f"no result of {handle.id!r} within {timeout} s: {error}") from error
        if isinstance(answer, Closed):
            return self._outcome(handle.id, answer, handle._result_type)
        assert isinstance(answer, Accepted), f"a shard answers {body} with {answer}"
        handle._begun(answer)
        return await handle._result(timeout, deadline)

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
        return Handle(self, id, run_id, Any if workflow is None else _named(workflow)[1])

    async def list(
        self,
        *,
        status: Status | str | None = None,
        workflow: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[RunDescription]:
        """Yield the latest run of each workflow id, shard by shard, from the state tables."""
        wanted = None if status is None else Status(status).value
        left = limit
        for partition in range(self._gateway.partitions):
            after: str | None = ""
            while after is not None:
                count = 100 if left is None else min(left, 100)
                body = ListRuns(wanted, workflow, after, count)
                page = await self._page("", body, partition=partition)
                for view in msgspec.json.decode(page.content):
                    yield _description({**view, "shard": partition})
                    left = None if left is None else left - 1
                    if left == 0:
                        return
                after = page.after

    # --- requests ---------------------------------------------------------------------------

    def _prepared(
        self,
        workflow: Any,
        args: tuple[Any, ...],
        id: str | None = None,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy = "fail",
        execution_timeout: timedelta | float | None = None,
        memo: Any = None,
        within_ms: int | None = None,
    ) -> tuple[Handle[Any], StartRun]:
        """Return the handle of a workflow that is to be started, and what starts it."""
        name, result_type = _named(workflow)
        start = StartRun(
            name,
            self._encoded(f"the arguments of workflow {name!r}", list(args)),
            reuse,
            conflict,
            _limit_ms(workflow, execution_timeout),
            self._encoded("the memo", memo),
            result_within_ms=within_ms,
        )
        return Handle(self, id or uuid.uuid4().hex, None, result_type), start

    def _encoded(self, what: str, value: Any) -> bytes | None:
        payload = self._payloads.encode(value)
        limit = self._settings.payload_bytes_max
        if payload is not None and len(payload) > limit:
            raise PayloadTooLarge(
                f"{what}: {len(payload):,} bytes; the limit is {limit:,}. Keep the value elsewhere "
                "and pass where it is"
            )
        return payload

    async def _ask(
        self,
        workflow_id: str,
        body: CommandBody,
        timeout: float | None = None,
        partition: int | None = None,
    ) -> ReplyBody:
        timeout_s = self._settings.request_timeout_s if timeout is None else timeout
        command = ClientCommand(workflow_id, body)
        answer = await self._gateway.request(command, timeout_s=timeout_s, partition=partition)
        if isinstance(answer, Refused):
            raise _refusal(answer)
        return answer

    async def _accepted(
        self, workflow_id: str, body: CommandBody, timeout: float | None = None
    ) -> Accepted:
        answer = await self._ask(workflow_id, body, timeout)
        assert isinstance(answer, Accepted), f"a shard answers {body} with {answer}"
        return answer

    async def _page(
        self, workflow_id: str, body: CommandBody, partition: int | None = None
    ) -> Page:
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
            return self._payloads.decoder(result_type)(closed.result)
        which = {"workflow_id": workflow_id, "run_id": closed.run_id}
        run = f"run {closed.run_id} of {workflow_id!r}"
        match Status(closed.status):
            case Status.CANCELLED:
                raise WorkflowCancelled(f"{run} was cancelled", **which)
            case Status.TERMINATED:
                raise WorkflowTerminated(f"{run} was terminated", **which)
            case Status.TIMED_OUT:
                raise WorkflowTimedOut(f"{run} passed its execution time-out", **which)
            case _:
                assert closed.failure is not None, "a failed run has a failure"
                cause = exception_of(closed.failure, self._payloads)
                raise WorkflowFailed(f"{run} failed: {cause}", **which) from cause


class Handle(Generic[R]):
    """One workflow id. A handle from ``start`` means the chain of runs that it began.

    A handle that was made with a ``run_id`` means that run only, any other one the latest run.
    ``run_id`` is the run that the handle was made with, or that its start made.
    """

    def __init__(self, client: Client, id: str, run_id: str | None, result_type: Any) -> None:
        self._client = client
        self._result_type = result_type
        self._which: tuple[str | None, str | None] = (run_id, None)
        self.id = id
        self.run_id = run_id

    def __repr__(self) -> str:
        return f"Handle(id={self.id!r}, run_id={self.run_id!r})"

    def _begun(self, accepted: Accepted) -> None:
        """Mean the chain of the run that a start made, or found."""
        self.run_id = accepted.run_id
        self._which = (None, accepted.first_run_id or accepted.run_id)

    async def result(self, timeout: float | None = None) -> R:
        """Wait for the end and return the result; ``timeout`` in seconds (default: none).

        Raises ``WorkflowFailed`` (the cause is the original error), ``WorkflowCancelled``,
        ``WorkflowTerminated``, ``WorkflowTimedOut``, or ``TimeoutError`` when the time is up.
        """
        return await self._result(timeout, None if timeout is None else time.monotonic() + timeout)

    async def _result(self, timeout: float | None, deadline: float | None) -> R:
        while True:
            left_s = _WAIT_S if deadline is None else min(deadline - time.monotonic(), _WAIT_S)
            if left_s <= 0:
                raise TimeoutError(f"no result of {self.id!r} within {timeout} s")
            try:
                closed = await self._client._closed(self, left_s)
            except ShardUnavailable as error:
                _log.warning("still waiting for the result of %r: %s", self.id, error)
                await asyncio.sleep(min(left_s, _ASK_AGAIN_S))
                continue
            outcome: R = self._client._outcome(self.id, closed, self._result_type)
            return outcome

    async def raise_event(self, name: str, payload: Any = None) -> None:
        """Send an external event; it is durable once this returns."""
        encoded = self._client._encoded(f"event {name!r}", payload)
        await self._client._accepted(self.id, RaiseEvent(name, encoded, *self._which))

    async def cancel(self, reason: str = "") -> None:
        """Ask the workflow to stop: ``asyncio.CancelledError`` is raised where it waits."""
        await self._client._accepted(self.id, CancelRun(reason, *self._which))

    async def terminate(self, reason: str = "") -> None:
        """End the run at once, without running its code again."""
        await self._client._accepted(self.id, TerminateRun(reason, *self._which))

    async def describe(self) -> RunDescription:
        page = await self._client._page(self.id, DescribeRun(*self._which))
        return _description(msgspec.json.decode(page.content))

    async def history(self) -> list[HistoryEvent]:
        """Return all events of the run, in order."""
        which, first = self._which, 0
        events: list[HistoryEvent] = []
        while True:
            page = await self._client._page(self.id, ReadHistory(*which, first))
            content = msgspec.json.decode(page.content)
            which = (content["run_id"], None)
            events += [_history_event(view) for view in content["events"]]
            if page.after is None:
                return events
            first = int(page.after)


def _named(workflow: Any) -> tuple[str, Any]:
    if isinstance(workflow, str):
        return workflow, Any
    if isinstance(workflow, Workflow):
        return workflow.name, workflow.result_type
    raise TypeError(f"{workflow!r} is no workflow: decorate it with @workflow.define")


def _limit_ms(workflow: Any, execution_timeout: timedelta | float | None) -> int | None:
    if execution_timeout is not None:
        return milliseconds(execution_timeout)
    return workflow.execution_timeout_ms if isinstance(workflow, Workflow) else None


def _refusal(refused: Refused) -> ProcessorError:
    error = getattr(errors, refused.error, CommandRejected)
    raised: ProcessorError = error(refused.message)
    return raised


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _description(view: dict[str, Any]) -> RunDescription:
    closed_ms = view.get("closed_ms")
    return RunDescription(
        view["workflow_id"],
        view["run_id"],
        view["workflow"],
        Status(view["status"]),
        _time(view["started_ms"]),
        None if closed_ms is None else _time(closed_ms),
        view["events"],
        view.get("custom_status"),
        view.get("cancel_reason"),
        view.get("parked"),
        view.get("pending", {}),
        view.get("memo"),
        view.get("shard", 0),
        view.get("undelivered"),
    )


def _history_event(view: dict[str, Any]) -> HistoryEvent:
    number, time_ms, type = view.pop("number"), view.pop("time_ms"), view.pop("type")
    return HistoryEvent(number, _time(time_ms), type, view)
