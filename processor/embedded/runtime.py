"""The embedded runtime of one path: its node, its disk, and the gateway to them.

One process holds a path; in it, clients and workers of that path share the runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from os import urandom
from pathlib import Path
from time import monotonic, time_ns
from typing import Final, Protocol, TypeVar

from processor.checks import shown
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.inputs import ClientCommand
from processor.core.operation import Operation
from processor.core.records.answers import ReplyBody
from processor.core.records.effects import Reply
from processor.core.runner import Runners
from processor.embedded.commits import Commits
from processor.embedded.disk import Disk, DiskLog, open_disk
from processor.embedded.ports import MemoryInbox, MemoryOutbox, QueuedTasks
from processor.embedded.view import DiskView
from processor.errors import (
    InvalidArgument,
    ProcessorError,
    ShardUnavailable,
    StateDirectoryInUse,
    StoreCorrupt,
)
from processor.gateway import CLOSED, Requester, new_client_id
from processor.node import Node, ShardStatus
from processor.shard.messages.border import Border
from processor.shard.ports import Activities, Clock, ShardPorts
from processor.store import open_tables
from processor.store.folder import take_folder
from processor.store.rocks import destroy
from processor.views.answers import Found, RunCount
from processor.views.search import RunSearch
from processor.views.tables.pages import TablePage, TableSearch
from processor.views.tables.stored import UserTables

__all__ = ("EmbeddedGateway", "EmbeddedRuntime", "LocalActivities", "SystemClock", "running")

A = TypeVar("A")

_OPEN: dict[Path, EmbeddedRuntime] = {}
"""The runtimes of this process, by path, from the moment that they want it."""

_RUNNING: dict[Path, EmbeddedRuntime] = {}

_LOOK_S: Final = 0.05
"""How often a client looks for a worker that is not there yet."""


class LocalActivities(Activities, QueuedTasks, Protocol):
    """Runs eager and queued activities alike."""


class SystemClock:
    def now_ms(self) -> int:
        return time_ns() // 1_000_000


def running(path: Path) -> EmbeddedRuntime | None:
    """Return the runtime of this (resolved) path in this process, once it takes commands."""
    runtime = _RUNNING.get(path)
    return runtime if runtime is not None and runtime.takes_commands else None


class EmbeddedRuntime:
    """Use ``start`` and ``close``. Implements the node's ``PortsFactory`` for its one shard."""

    def __init__(
        self,
        path: Path,
        runners: Runners,
        activities: LocalActivities,
        settings: Settings,
        clock: Clock,
        *,
        namespace: str = "default",
        sync: bool = True,
        tables: UserTables | None = None,
    ) -> None:
        self.path = path.resolve()
        self.namespace = namespace
        self._runners = runners
        self._activities = activities
        self._settings = settings
        self._clock = clock
        self._sync = sync
        self._gateways: dict[str, EmbeddedGateway] = {}
        self._disk: Disk | None = None
        self._commits: Commits | None = None
        self._inbox: MemoryInbox | None = None
        self._log: DiskLog | None = None
        self._view = DiskView(self.path / "views", tables or UserTables())
        self.node: Node | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Open the path and take its shard over; returns once it runs.

        Raises ``StateDirectoryInUse`` where another worker, of this process or not, has the path,
        ``InvalidArgument`` where it holds another namespace or what is not ours, ``StoreCorrupt``.
        """
        if (other := _OPEN.setdefault(self.path, self)) is not self:
            raise StateDirectoryInUse(
                f"another Worker of this process (namespace {other.namespace!r}) serves "
                f"embedded:{self.path}, and a path has one. Give that one all workflows and "
                "activities, or give this one a path of its own"
            )
        self.loop = asyncio.get_running_loop()
        self._disk = await asyncio.to_thread(self._open_disk)
        _RUNNING[self.path] = self
        owner = f"embedded:{self.path.name}"
        self.node = Node(self, self._runners, self._settings, owner, self._clock)
        self._commits = Commits(self._disk, self.path, self.node)
        self.node.assign(0)
        await asyncio.sleep(0)
        await self.node.wait_running()

    def _open_disk(self) -> Disk:
        take_folder(self.path)
        try:
            disk = open_disk(self.path / "log", sync=self._sync)
        except StoreCorrupt as error:
            raise StoreCorrupt(
                f"the log of embedded:{self.path} is damaged ({error}). It is the only copy of its "
                "runs, so nothing was changed: put a backup of the whole folder in its place, or "
                "move the folder away and begin anew with an empty one"
            ) from error
        if (held := disk.claim(self.namespace)) != self.namespace:
            disk.close()
            raise InvalidArgument(
                f"namespace: embedded:{self.path} holds the runs of namespace {held!r}, and not of "
                f"{self.namespace!r}: a path holds one namespace. Give {self.namespace!r} a path "
                f"of its own, or this worker the namespace {held!r}"
            )
        return disk

    async def close(self) -> None:
        if self.node is not None:
            await self.node.close()
        disk, self._disk = self._disk, None
        if self._commits is not None:
            await self._commits.close()
        await asyncio.to_thread(self._view.close)
        if disk is not None:
            await asyncio.to_thread(disk.close)
        for known in (_RUNNING, _OPEN):
            if known.get(self.path) is self:
                del known[self.path]

    async def drain(self) -> None:
        """Let what is decided be committed."""
        if self.node is not None:
            await self.node.drain(self._settings.shutdown_s)

    def shards(self) -> Mapping[int, ShardStatus]:
        return {} if self.node is None else self.node.shards

    async def failed(self) -> None:
        """Raise when the shard is stopped for good."""
        assert self.node is not None, "the runtime is started"
        await self.node.wait_stopped()

    # --- PortsFactory -------------------------------------------------------------------------

    def open(self, partition: int, wake: Callable[[], None]) -> ShardPorts:
        assert self._disk is not None, "the runtime is started"
        identity = f"embedded/{partition}@{self._disk.identity()}"
        tables = open_tables(self._tables_path(partition), identity)
        inbox = self._inbox = MemoryInbox(wake)
        outbox = MemoryOutbox(self._disk, inbox, self._activities, self._replied)
        log = self._log = DiskLog(self._disk)
        entropy = partial(urandom, 16)
        run, clock = self._activities, self._clock
        ports = log, inbox, outbox, tables, run, clock, entropy
        border = Border(self.namespace, is_open=False)
        return ShardPorts(*ports, is_own=lambda workflow_id: True, keeps_tasks=False, border=border)

    def wipe(self, partition: int) -> None:
        destroy(self._tables_path(partition))

    def may_own(self, partition: int) -> bool:
        return True

    def begin_pass(self) -> None:
        """What arrives is put into the inbox; what the pass appends is committed at its end."""
        assert self._commits is not None, "the runtime is started"
        self._commits.begin_pass()

    def end_pass(self) -> bool:
        assert self._commits is not None, "the runtime is started"
        return self._commits.end_pass()

    def wait(self, timeout_s: float) -> bool:
        return False

    def watch(self) -> None:
        """What arrives wakes the node by itself."""

    def _tables_path(self, partition: int) -> Path:
        return self.path / f"tables-{partition}"

    # --- clients ------------------------------------------------------------------------------

    @property
    def takes_commands(self) -> bool:
        return self._inbox is not None

    @property
    def inbox(self) -> MemoryInbox:
        """Where clients put their commands.

        A shard that is opened again begins with another one, and what was in the one before may
        never have counted.
        """
        assert self._inbox is not None, "clients find a runtime that takes commands"
        return self._inbox

    async def search(self, search: RunSearch, patience_s: float) -> Found | RunCount:
        """Return what the view of the log says."""
        assert self._log is not None, "clients find one that runs"
        return await self._view.search(self._log, search, patience_s)

    async def view(self, search: TableSearch, patience_s: float) -> TablePage:
        """Return what a table of the user's says."""
        assert self._log is not None, "clients find one that runs"
        return await self._view.view(self._log, search, patience_s)

    def _replied(self, reply: Reply) -> None:
        gateway = self._gateways.get(reply.to.client)
        if gateway is not None:
            gateway.resolve(reply)

    def add_gateway(self, client: str, gateway: EmbeddedGateway) -> None:
        self._gateways[client] = gateway

    def remove_gateway(self, client: str) -> None:
        self._gateways.pop(client, None)


class EmbeddedGateway:
    """A client's way to the runtime in its own process."""

    partitions = 1

    def __init__(self, path: Path, settings: Settings, namespace: str = "default") -> None:
        self._path = path.resolve()
        self._namespace = namespace
        self._settings = settings
        self._client = new_client_id()
        self._requester = Requester(ReplyTo(0, self._client))
        self._waiting: dict[int, asyncio.Future[ReplyBody | None]] = {}
        self._runtime: EmbeddedRuntime | None = None
        self._closed = False

    async def start(self) -> None:
        """Nothing to connect: the runtime is looked up at each request."""
        self._closed = False

    async def request(
        self, command: ClientCommand, *, timeout_s: float, partition: int | None = None
    ) -> ReplyBody:
        """Return the shard's answer; asks again until ``timeout_s`` is over.

        Commands are not encoded on the way: ``Client`` has checked what they are made of.
        """
        if self._closed:
            raise ProcessorError(CLOSED)
        loop = asyncio.get_running_loop()
        deadline = monotonic() + timeout_s
        command = self._requester.identified(command, 0)
        assert command.reply_to is not None, "it has an identity"
        number, taken_by = command.reply_to.request, None
        try:
            while True:
                answered: asyncio.Future[ReplyBody | None] = loop.create_future()
                self._waiting[number] = answered
                runtime = self._attached()
                if runtime is not None:
                    inbox = runtime.inbox
                    inbox.submit(command if inbox is not taken_by else replace(command, again=True))
                    taken_by = inbox
                left_s = deadline - monotonic()
                patience_s = self._settings.ask_again_s if runtime is not None else _LOOK_S
                overdue = loop.call_later(min(left_s, patience_s), _resolve, answered, None)
                try:
                    answer = await answered
                finally:
                    overdue.cancel()
                if answer is not None:
                    return answer
                if left_s <= patience_s:
                    raise ShardUnavailable(self._unanswered(command, timeout_s))
        finally:
            del self._waiting[number]

    async def search(self, search: RunSearch, *, timeout_s: float) -> Found | RunCount:
        """Return what the view says, which has all that was answered before."""
        return await self._of_views(lambda it: it.search(search, timeout_s / 2), timeout_s)

    async def view(self, search: TableSearch, *, timeout_s: float) -> TablePage:
        """Return what a table says, which has all that was answered before."""
        return await self._of_views(lambda it: it.view(search, timeout_s / 2), timeout_s)

    async def _of_views(
        self, ask: Callable[[EmbeddedRuntime], Awaitable[A]], timeout_s: float
    ) -> A:
        try:
            async with asyncio.timeout(timeout_s):
                while (runtime := self._attached()) is None:
                    await asyncio.sleep(_LOOK_S)
                return await ask(runtime)
        except TimeoutError as error:
            raise ShardUnavailable(self._unavailable(timeout_s)) from error

    def resolve(self, reply: Reply) -> None:
        answered = self._waiting.get(reply.to.request)
        if answered is not None:
            _resolve(answered, reply.body)

    async def close(self) -> None:
        self._closed = True
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(ProcessorError(CLOSED))
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.remove_gateway(self._client)

    def _attached(self) -> EmbeddedRuntime | None:
        runtime = running(self._path)
        if runtime is not None and runtime is not self._runtime:
            if runtime.namespace != self._namespace:
                raise InvalidArgument(
                    f"namespace: the Worker of embedded:{self._path} serves {runtime.namespace!r}, "
                    f"not {self._namespace!r}: a path holds one namespace. Give each a path of its "
                    "own, or this client the worker's namespace"
                )
            if runtime.loop is not asyncio.get_running_loop():
                raise InvalidArgument(
                    f"embedded:{self._path}: its Worker runs in another event loop of this process,"
                    " and what is embedded is asked in the loop of its Worker. Use processor.Client"
                    " with processor.Worker, or both of processor.sync"
                )
            runtime.add_gateway(self._client, self)
            self._runtime = runtime
        return runtime

    def _unanswered(self, command: ClientCommand, timeout_s: float) -> str:
        """Say that nobody answered a command, and which one was perhaps taken."""
        why = self._unavailable(timeout_s)
        if self._attached() is None or not isinstance(command.body, Operation):
            return why
        id = shown(command.workflow_id)
        return f"{why}. The command for workflow id {id} may be carried out all the same"

    def _unavailable(self, timeout_s: float) -> str:
        if self._attached() is None:
            return (
                f"no worker runs for embedded:{self._path} in this process. Start a "
                f"Worker('embedded:{self._path}', ...) first"
            )
        return f"embedded:{self._path} did not answer within {timeout_s:.1f} s"


def _resolve(answered: asyncio.Future[ReplyBody | None], body: ReplyBody | None) -> None:
    """Hand an answer over, or None where it took too long."""
    if not answered.done():
        answered.set_result(body)
