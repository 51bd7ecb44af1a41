"""The worker: shards, eager activities and activity queues of one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from processor import arguments, checks
from processor.activities.executor import Executor
from processor.api.options import HttpOptions, is_installed
from processor.assembly import check_target, embedded_path, injected, is_http
from processor.client import Client
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.connect.connection import Connection, Taking
from processor.core.data.payloads import Payloads
from processor.embedded.runtime import EmbeddedRuntime, SystemClock
from processor.errors import InvalidArgument
from processor.injection.interceptors import Interceptor
from processor.injection.payloads import GivenPayloads
from processor.kafka.options import PARTITIONS, QUEUES, STATE_DIR, KafkaWorkerOptions
from processor.node import ShardStatus
from processor.registry import Registry
from processor.shard.ports import Clock
from processor.views.tables.definition import by_name
from processor.views.tables.stored import UserTables
from processor.workflow._engine.runners import WorkflowRunners

__all__ = ("Worker", "WorkerRuntime")

_log = logging.getLogger("processor.worker")


class WorkerRuntime(Protocol):
    """What runs a worker's shards and queues: embedded or on Kafka."""

    async def start(self) -> None:
        """Connect and begin to take shards over."""

    async def drain(self) -> None:
        """Hand over gracefully: take nothing new, let what is decided be acknowledged."""

    async def close(self) -> None: ...

    def shards(self) -> Mapping[int, ShardStatus]: ...

    async def failed(self) -> None:
        """Wait for an error that this worker cannot go on with, and raise it."""


class Worker:
    """Runs workflows and activities until it is cancelled or stopped.

    Use it as ``await Worker("localhost:9092", ...).run()``, or as ``async with Worker(...)``.

    - ``entities``: classes under ``@entity.define``. ``connections``: functions under
      ``@connect.define``, whose topics of Kafka are read here. ``views``: functions under
      ``@views.table``, with ``embedded:``; on Kafka ``processor views run`` feeds them.
    - ``queues``: the activity queues that are served here (default: ``default``).
      ``shards=False`` serves these alone. ``share_groups=True`` reads them through Kafka's share
      groups (KIP-932, brokers from 4.2 on; a preview in librdkafka), not a consumer group.
    - ``max_activities``, ``max_cached_runs``: bounds; ``max_cached_runs=0`` replays at every step.
    - ``strict_replay=True`` parks a run that replay gives other payloads; else a warning tells it.
    - ``guard="refuse"``: clocks and random numbers raise in workflow code instead of answering from
      the run. ``guard=False`` lets everything through but clients and what the event loop of a
      workflow does not have, and patches nothing.
      ``passthrough`` names modules that may reach files, sockets and threads there.
    - ``create_topics=True`` makes missing topics, with ``partitions`` (development and tests).
    - ``state_dir`` holds the tables of the shards (default: ``./processor-state``).
    - ``instance_id`` names this process in the consumer group (default:
      ``PROCESSOR_INSTANCE_ID``, else the first free one of the host's name, ``host-2``, ``host-3``
      ...). A restart under the same name has its shards back at once.
    - ``payloads``, ``interceptors``, ``kafka``: as for ``Client``. ``settings``: all other limits.
    - ``http``: serves the HTTP API as well (``processor.api.HttpOptions``); ``http_url`` is where.
    """

    def __init__(
        self,
        server: str,
        *,
        namespace: str = "default",
        workflows: Iterable[Any] = (),
        activities: Iterable[Any] = (),
        entities: Iterable[Any] = (),
        connections: Iterable[Any] = (),
        views: Iterable[Any] = (),
        queues: Sequence[str] | None = None,
        shards: bool = True,
        share_groups: bool = False,
        max_activities: int | None = None,
        max_cached_runs: int | None = None,
        strict_replay: bool | None = None,
        guard: Literal["answer", "refuse", False] | None = None,
        passthrough: Sequence[str] | None = None,
        create_topics: bool = False,
        partitions: int | None = None,
        state_dir: Path | str | None = None,
        instance_id: str | None = None,
        payloads: GivenPayloads | None = None,
        interceptors: Sequence[Interceptor] | None = None,
        settings: Settings | None = None,
        kafka: Mapping[str, str] | None = None,
        http: HttpOptions | None = None,
    ) -> None:
        check_target(server, namespace, {} if kafka is None else kafka)
        if is_http(server):
            raise InvalidArgument(
                f"Worker: server: {server!r} is an HTTP API, which serves clients and no workers: "
                "give Kafka's bootstrap servers ('localhost:9092') or 'embedded:PATH'"
            )
        self._settings = arguments.settings(
            settings,
            "Worker",
            max_activities=max_activities,
            cached_runs_max=max_cached_runs,
            strict_replay=strict_replay,
            guard=guard,
            passthrough=passthrough,
        )
        given = injected(payloads, interceptors, "Worker")
        listed = checks.listed(connections, "Worker: connections", "[orders]")
        connected = _connected(listed, given.payloads, self._settings)
        self._tables = _tables(views, server, given.payloads)
        shares = checks.yes_or_no(share_groups, "Worker: share_groups")
        if embedded_path(server) is not None:
            only_kafkas = {"queues": queues, "partitions": partitions, "state_dir": state_dir}
            _check_embedded(
                server,
                connected,
                checks.yes_or_no(shards, "Worker: shards"),
                {**only_kafkas, "share_groups": shares or None, "kafka": kafka or None},
            )
        if instance_id is not None:
            checks.name(instance_id, "Worker: instance_id")
        self._options = KafkaWorkerOptions(
            server=server,
            namespace=namespace,
            queues=_queues(QUEUES if queues is None else queues),
            owns_shards=checks.yes_or_no(shards, "Worker: shards"),
            share_groups=shares,
            create_topics=checks.yes_or_no(create_topics, "Worker: create_topics"),
            partitions=checks.whole(
                PARTITIONS if partitions is None else partitions, "Worker: partitions", 1
            ),
            state_dir=_state_dir(state_dir),
            instance_id=instance_id or os.environ.get("PROCESSOR_INSTANCE_ID") or None,
            kafka=dict(kafka or {}),
            connections=connected,
        )
        self._registry = Registry(
            checks.listed(workflows, "Worker: workflows", "[order_processing]"),
            checks.listed(activities, "Worker: activities", "[charge]"),
            given,
            checks.listed(entities, "Worker: entities", "[Account]"),
        )
        self._http = _http_options(http)
        self._client: Client | None = None
        if self._http is not None:
            self._client = Client(
                server,
                namespace=namespace,
                payloads=payloads,
                interceptors=interceptors,
                settings=self._settings,
                kafka=kafka,
            )
        self._serving = contextlib.AsyncExitStack()
        self._stop = asyncio.Event()
        self._http_url = ""
        self._executor: Executor | None = None
        self._runtime: WorkerRuntime | None = None

    @property
    def shards(self) -> Mapping[int, ShardStatus]:
        """The shards that this process has or takes over, by partition."""
        return {} if self._runtime is None else self._runtime.shards()

    @property
    def http_url(self) -> str:
        """Where its HTTP API is; "" where it has none."""
        return self._http_url

    @property
    def activities_running(self) -> int:
        return 0 if self._executor is None else self._executor.running

    @property
    def slots_free(self) -> int:
        if self._executor is None:
            return self._settings.max_activities
        return self._executor.free

    @property
    def queues(self) -> tuple[str, ...]:
        return self._options.queues

    async def run(self) -> None:
        """Serve until ``stop`` is called, then hand over and return; on cancellation as well."""
        async with self:
            assert self._runtime is not None, "a started worker has a runtime"
            stopped = asyncio.ensure_future(self._stop.wait())
            failed = asyncio.ensure_future(self._runtime.failed())
            try:
                await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()
                failed.cancel()
            if failed.done() and not failed.cancelled():
                failed.result()

    def stop(self) -> None:
        """Ask ``run`` to hand over and return."""
        self._stop.set()

    async def __aenter__(self) -> Worker:
        clock = SystemClock()
        # Not the static member id: a restarted process is another worker to its activities.
        identity = f"{self._options.instance_id or socket.gethostname()}/{uuid.uuid4().hex[:8]}"
        namespace = self._options.namespace
        self._executor = Executor(self._registry, self._settings, identity, clock, namespace)
        self._runtime = self._new_runtime(self._executor, clock)
        try:
            await self._runtime.start()
            if self._client is not None and self._http is not None:
                await self._serve(self._client, self._http)
        except BaseException:
            await self._serving.aclose()
            await self._runtime.close()
            raise
        return self

    async def _serve(self, client: Client, options: HttpOptions) -> None:
        """Serve the HTTP API until the worker ends."""
        from processor.api.running import served

        await self._serving.enter_async_context(client)
        api = served(client, self._options.namespace, options, self._hindered)
        self._http_url = (await self._serving.enter_async_context(api)).url
        _log.info("the HTTP API is at %s", self._http_url)

    def _hindered(self) -> str:
        """Return what keeps this worker from serving; "": nothing does."""
        late = [each for each in self.shards.values() if each.state != "running"]
        return ", ".join(f"shard {each.partition} is {each.state}" for each in late)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runtime is not None and self._executor is not None, "entered before"
        runtime, executor = self._runtime, self._executor
        try:
            await self._serving.aclose()
            if exc_type is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.shutdown_s):
                        await executor.drain(self._settings.shutdown_s * 0.8)
                        await runtime.drain()
        finally:
            await executor.drain(0)
            await runtime.close()

    def _new_runtime(self, executor: Executor, clock: Clock) -> WorkerRuntime:
        runners = WorkflowRunners(self._registry, self._settings)
        path = embedded_path(self._options.server)
        if path is not None:
            namespace = self._options.namespace
            return EmbeddedRuntime(
                path,
                runners,
                executor,
                self._settings,
                clock,
                namespace=namespace,
                tables=self._tables,
            )
        from processor.kafka.runtime import KafkaRuntime

        return KafkaRuntime(self._options, runners, executor, self._settings, clock)


def _tables(views: Iterable[Any], server: str, payloads: Payloads) -> UserTables:
    """Return the tables of an embedded worker."""
    listed = checks.listed(views, "Worker: views", "[orders_per_hour]")
    if listed and embedded_path(server) is None:
        raise InvalidArgument(
            "Worker: views: on Kafka, `processor views run --module MODULE` feeds them: leave them "
            "out"
        )
    return UserTables(by_name(listed, "Worker: views"), payloads)


def _http_options(given: Any) -> HttpOptions | None:
    """Return the options of an HTTP API. Raises ``InvalidArgument`` where none can be served."""
    if given is None:
        return None
    if not isinstance(given, HttpOptions):
        raise InvalidArgument(
            "Worker: http: give processor.api.HttpOptions(port=8233), for example, not "
            f"{checks.shown(given)}"
        )
    if not is_installed():
        raise InvalidArgument(
            "Worker: http: the HTTP API needs processor[http]: pip install '.[http]' in a clone of "
            "processor's repository"
        )
    return given


def _check_embedded(
    server: str, connected: Sequence[Any], shards: bool, only_kafkas: Mapping[str, Any]
) -> None:
    """Refuse what has no effect without a broker."""
    if connected:
        raise InvalidArgument(
            f"Worker: connections: {server!r} is no Kafka and has no topics that could be read: "
            "leave them out. A test feeds a connection by Environment.feed(...)"
        )
    if not shards:
        raise InvalidArgument(
            f"Worker: shards: {server!r} is one shard with its activities, which shards=False "
            "leaves nobody to serve; give shards=True"
        )
    for name, value in only_kafkas.items():
        if value is not None:
            raise InvalidArgument(
                f"Worker: {name}: it is about Kafka and has no effect with {server!r}, whose one "
                "shard and all of whose activities are in this process: leave it out"
            )


def _connected(
    connections: Iterable[Any], payloads: Payloads, settings: Settings
) -> tuple[tuple[Connection[Any], Taking], ...]:
    """Return connections with what tells the requests of their records."""
    encode = partial(arguments.encoded, payloads, settings.payload_bytes_max)
    found: dict[str, tuple[Connection[Any], Taking]] = {}
    for each in connections:
        if not isinstance(each, Connection):
            shown = checks.shown(each)
            raise InvalidArgument(
                f"Worker: connections: {shown} is none: put @connect.define(topic) on a function"
            )
        if each.group in found:
            raise InvalidArgument(
                f"Worker: connections: two have the group {each.group!r}: give one of them a group "
                "of its own, @connect.define(topic, group=...)"
            )
        found[each.group] = each, each.taking(JsonPayloads(), encode)
    return tuple(found.values())


def _state_dir(given: Any) -> Path:
    if given is None:
        return STATE_DIR
    return arguments.path(given, "Worker: state_dir")


def _queues(queues: Any) -> tuple[str, ...]:
    if isinstance(queues, str) or not isinstance(queues, Iterable):
        given = checks.shown(queues)
        raise InvalidArgument(f"Worker: queues: give a list of names (['default']), not {given}")
    return tuple(checks.queue(each, "Worker: queues") for each in queues)
