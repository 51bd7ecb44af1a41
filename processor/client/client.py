"""The client: start workflows, talk to running ones, get results."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

from processor import arguments as given
from processor import checks
from processor.arguments import Seconds
from processor.assembly import injected, open_gateway
from processor.attributes import Attributes, encoded
from processor.client.activities import ActivityCalls
from processor.client.alone import RunsActivities
from processor.client.calls import ClientCalls, deadline_of
from processor.client.correlated import HasKeys
from processor.client.entities import HasEntities
from processor.client.handle import Handle
from processor.client.options import RunOptions, StartOptions
from processor.client.promises import PromiseCalls
from processor.client.schedules import HasSchedules
from processor.client.search import ListsRuns, ReadsTables
from processor.client.vigil import Parked, overdue
from processor.client.with_start import StartsWith
from processor.config import Settings
from processor.core.data.headers import NO_HEADERS
from processor.core.nouns.lineage import Plan
from processor.core.nouns.start import StartPlanned, StartRun
from processor.core.records.answers import Accepted, Closed
from processor.errors import InvalidArgument, ShardUnavailable
from processor.gateway import only_outside
from processor.injection.interceptors import Interceptor
from processor.injection.payloads import GivenPayloads
from processor.policy import (
    CONFLICT_POLICIES,
    REUSE_POLICIES,
    ConflictPolicy,
    RetryPolicy,
    ReusePolicy,
)
from processor.schedules.cron import check as check_cron
from processor.workflow._options import retry_options

__all__ = ("Client",)

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Client(
    StartsWith,
    ListsRuns,
    ReadsTables,
    RunsActivities,
    ActivityCalls,
    PromiseCalls,
    HasEntities,
    HasKeys,
    HasSchedules,
):
    """Starts runs, talks to them, and waits for their results.

    Use it as ``async with Client("localhost:9092") as client`` (or ``embedded:./state``, or the URL
    of an HTTP API, ``http://localhost:8233``; ``PROCESSOR_TOKEN`` in the environment is its token).
    ``kafka`` holds further properties of librdkafka for all Kafka clients: ``security.protocol``,
    ``sasl.mechanism``, ``sasl.username``, ``sasl.password``, ``ssl.ca.location``, for example; and
    ``producer``, which sends records: ``"native"`` (default) or ``"librdkafka"``. ``views_dir`` is
    the folder of the view that ``processor views run`` keeps: it answers queries, and describes
    runs while no worker does. ``replies`` names a topic of replies, ``<namespace>.replies.<name>``,
    that only clients with permission read (default: ``<namespace>.replies``, for all clients).
    ``payloads`` are codecs (encryption, compression), and in front of them a converter in place of
    JSON, the same ones everywhere. ``interceptors`` are put around requests, the first outermost.
    """

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
        only_outside()
        checked = given.settings(settings, "Client")
        folder = None if views_dir is None else given.path(views_dir, "Client: views_dir")
        kafka = {} if kafka is None else kafka
        gateway = open_gateway(server, namespace, checked, kafka, folder, replies)
        self._calls = ClientCalls(gateway, checked, injected(payloads, interceptors, "Client"))

    async def __aenter__(self) -> Client:
        only_outside()
        await self._calls.gateway.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._calls.gateway.close()

    @overload
    async def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        **how: Unpack[StartOptions],
    ) -> Handle[R]: ...

    @overload
    async def start(
        self,
        workflow: str,
        *args: Any,
        **how: Unpack[StartOptions],
    ) -> Handle[Any]: ...

    async def start(  # type: ignore[misc]  # mypy cannot match *Ts with the implementation's *Any
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
        """Start a workflow, durably, and return its handle.

        ``key`` is an idempotency key: who starts with one again gets the run that it has started,
        whatever became of that; without ``id``, the workflow id is the workflow's name and the key.
        ``id`` is the workflow id (default: a new one). ``reuse`` says what a closed run of that id
        means ("allow", "allow-failed", "reject", "use-existing": its result is the result),
        ``conflict`` what an open one does ("fail", which ``reuse="use-existing"`` makes
        "use-existing"; "terminate"). A run that fails is followed by another one as ``retry`` says,
        and ``execution_timeout`` is for all of them (default: what the definition says in the
        worker). The code begins after ``delay``, or ``at`` a time (an aware ``datetime``); until
        then the run is open and takes events. ``attributes`` are typed values by which the run is
        found (``workflow.upsert_attributes``). ``cron`` lets runs begin at the times of a cron
        string, one after the other, until somebody ends that: ``"30 6 * * MON-FRI"`` in UTC, or
        ``"CRON_TZ=Europe/Berlin @daily"``; ``execution_timeout`` is then for what begins at each
        time. Times are seconds or ``timedelta``; ``timeout`` is how long to wait for the shard.
        Raises ``InvalidArgument``, ``WorkflowAlreadyStarted``, ``WorkflowNotRegistered``,
        ``SchemaMismatch``, ``PayloadTooLarge``, ``ShardUnavailable``.
        """
        timeout_s = given.seconds(timeout, "start: timeout")
        how = id, reuse, conflict, execution_timeout, retry, memo, attributes, None, delay, at
        handle, body = self._prepared("start", workflow, args, *how, cron, key)
        handle._begun(await self._calls.accepted(handle.id, body, timeout_s, key))
        return handle

    @overload
    async def run(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        parked: Parked | None = None,
        **how: Unpack[RunOptions],
    ) -> R: ...

    @overload
    async def run(
        self,
        workflow: str,
        *args: Any,
        parked: Parked | None = None,
        **how: Unpack[RunOptions],
    ) -> Any: ...

    async def run(  # type: ignore[misc]  # as above
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
        """Start a workflow and return its result; the rest is as for ``start``.

        ``timeout`` (a ``timedelta`` or seconds; default: none) is for all of it, ``parked`` as for
        ``Handle.result``. Both travel in one request: a short run has one answer, its result.
        """
        limit_s = given.seconds(timeout, "run: timeout")
        deadline = deadline_of(limit_s)
        patience_s = self._calls.settings.request_timeout_s
        within_s = patience_s if limit_s is None else min(limit_s, patience_s)
        begins = int(within_s * 1000), delay, at
        how = id, reuse, conflict, execution_timeout, retry, memo, attributes, *begins
        handle, body = self._prepared("run", workflow, args, *how, key=key)
        async with handle._vigil(parked, "run: parked") as vigil:
            try:
                answer = await self._calls.ask(handle.id, body, within_s, key=key)
            except ShardUnavailable as error:
                if limit_s is None or limit_s > patience_s:
                    raise
                raise overdue(handle.id, limit_s, vigil, str(error)) from error
            if isinstance(answer, Closed):
                return handle._outcome(answer)
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
        return self._handle(id, run_id, result_type)

    def _handle(self, id: str, run_id: str | None, result_type: Any) -> Handle[Any]:
        return Handle(self._calls, id, run_id, result_type)

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
        retry: RetryPolicy | None = None,
        memo: Any = None,
        attributes: Attributes | None = None,
        within_ms: int | None = None,
        delay: Seconds | None = None,
        at: datetime | None = None,
        cron: str | None = None,
        key: str | None = None,
    ) -> tuple[Handle[Any], StartRun]:
        """Return the handle of a workflow that is to be started, and what starts it."""
        name, result_type = given.named(call, workflow)
        key = None if key is None else checks.name(key, f"{call}: key")
        named = f"{call}: id"
        if id is None and key is not None:
            id, named = f"{name}/{key}", f"{call}: key: it makes the workflow id, name/key"
        elif id is None:
            id = uuid.uuid4().hex
        limit = execution_timeout
        fields = (
            name,
            self._calls.encoded_arguments(workflow, name, args),
            given.one_of(REUSE_POLICIES, reuse, f"{call}: reuse"),
            given.one_of(CONFLICT_POLICIES, conflict, f"{call}: conflict"),
            None if limit is None else checks.duration_ms(limit, f"{call}: execution_timeout"),
            self._calls.encoded(f"{call}: memo", memo),
            NO_HEADERS,
            within_ms,
        )
        plan = _plan(call, self._calls.now_ms(), retry, delay, at, cron)
        if attributes is not None:
            plan = replace(plan, attributes=encoded(attributes, f"{call}: attributes"))
        start = StartRun(*fields) if plan == Plan() else StartPlanned(*fields, plan)
        return self._handle(checks.id_for(name, id, named), None, result_type), start


def _plan(
    call: str,
    now_ms: int,
    retry: RetryPolicy | None,
    delay: Seconds | None,
    at: datetime | None,
    cron: str | None,
) -> Plan:
    """Return how the runs of a start are to be run."""
    if (delay is not None) + (at is not None) + (cron is not None) > 1:
        raise InvalidArgument(f"{call}: give one of delay, at and cron")
    begins_ms = checks.due_ms(delay, at, now_ms, call)
    options = None if retry is None else retry_options(retry, f"{call}: retry")
    cron = None if cron is None else check_cron(cron, f"{call}: cron")
    return Plan(retry=options, cron=cron, start_at_ms=begins_ms)
