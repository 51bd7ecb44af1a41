"""The ``Gateway`` over Kafka: a request is a command, its answer a record of ``replies``.

Or of ``replies.<name>``, where a client has a topic of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from processor.checks import shown
from processor.codec.records import encode
from processor.config import Settings
from processor.core.data.failure import shortened
from processor.core.inputs import ClientCommand
from processor.core.operation import Operation
from processor.core.records.answers import ReplyBody
from processor.core.records.effects import Reply
from processor.errors import (
    PayloadTooLarge,
    ProcessorError,
    ShardUnavailable,
    TopicsNotReady,
)
from processor.gateway import CLOSED, Requester, is_answer
from processor.kafka.clients.connection import COMMAND_BYTES_MAX, KafkaSettings, fits, partition_of
from processor.kafka.clients.faults import forbidding
from processor.kafka.clients.producers import which_producer
from processor.kafka.clients.producing import Lasting, Producing
from processor.kafka.clients.record_producer import Produced
from processor.kafka.replies import ReplyReader
from processor.kafka.searching import Searching
from processor.kafka.topics.upkeep import BrokerUnreachable, connect, option_for
from processor.seldom import Seldom

if TYPE_CHECKING:
    from pathlib import Path

    from processor.views.answers import Found, RunCount
    from processor.views.search import RunSearch
    from processor.views.tables.pages import TablePage, TableSearch

__all__ = ("KafkaGateway",)

_log = logging.getLogger("processor.kafka")
_ID_SHOWN = 100
_KEPT_MAX = 100_000
_KEPT_BYTES_MAX = 64_000_000
"""What is kept of commands that no broker has taken yet; more are refused."""

_KEPT_OVERHEAD = 500
_SAY_EVERY_S = 30.0


@dataclass(slots=True, eq=False)
class _Request:
    """One request that waits. ``taken``: a broker acknowledged its command."""

    partition: int
    command: ClientCommand
    value: bytes
    answer: asyncio.Future[ReplyBody]
    timeout_s: float
    deadline: float
    kept: deque[int]
    timer: asyncio.TimerHandle | None = None
    taken: bool = False
    error: str = ""

    def delivered(self, error: KafkaError | None, _written: Produced | None) -> None:
        self.kept.append(-len(self.value) - _KEPT_OVERHEAD)
        if error is None:
            self.taken = True
        else:
            self.error = forbidding(error)


class KafkaGateway:
    """Lives on the loop that ``start`` is called on."""

    def __init__(
        self, connection: KafkaSettings, settings: Settings, views_dir: Path | None = None
    ) -> None:
        self._connection = connection
        self._searching = Searching(connection, views_dir)
        self._ask_again_s = settings.ask_again_s
        self._partitions = 0
        self._requester: Requester | None = None
        self._waiting: dict[int, _Request] = {}
        self._collecting = False
        self._closed = False
        self._kept = self._kept_bytes = 0
        self._settled: deque[int] = deque()
        self._is_time = Seldom(_SAY_EVERY_S)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._producing = Lasting(
            lambda: Producing(connection.client_producer(), connection.extra, "a client")
        )
        self._replies: ReplyReader | None = None

    @property
    def partitions(self) -> int:
        self._check_usable()
        return self._partitions

    async def start(self) -> None:
        self._closed = False
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._connect)

    async def request(
        self, command: ClientCommand, *, timeout_s: float, partition: int | None = None
    ) -> ReplyBody:
        """Return the shard's answer; a description or a history may be that of the view instead."""
        self._check_usable()
        if partition is None:
            partition = partition_of(command.workflow_id, self._partitions)
        ask = partial(self._requested, command, partition)
        return await self._searching.answered(command, partition, timeout_s, ask)

    async def _requested(
        self, command: ClientCommand, partition: int, timeout_s: float
    ) -> ReplyBody:
        """Return the shard's answer; the command is sent again until it comes.

        A shard that gets the same request twice answers twice and acts once. It is told which ones
        a broker has acknowledged before, so that it takes none of them for a new one.
        """
        assert self._loop is not None and self._requester is not None, "it is usable"
        command = self._requester.identified(command, partition)
        value = encode(command)
        key = command.workflow_id.encode()
        if not fits(key, value):
            raise PayloadTooLarge(
                f"the command for {shortened(command.workflow_id, _ID_SHOWN)!r} has "
                f"{len(key) + len(value):,} bytes, of which {len(key):,} are its key, the workflow "
                f"id; the limit is {COMMAND_BYTES_MAX:,}. Keep large values elsewhere and pass "
                "where they are"
            )
        self._check_room()
        request = _Request(
            partition,
            command,
            value,
            self._loop.create_future(),
            timeout_s,
            monotonic() + timeout_s,
            self._settled,
        )
        assert command.reply_to is not None, "it has an identity"
        number = command.reply_to.request
        self._waiting[number] = request
        self._send(request)
        try:
            return await request.answer
        finally:
            self._waiting.pop(number, None)
            if request.timer is not None:
                request.timer.cancel()

    async def search(self, search: RunSearch, *, timeout_s: float) -> Found | RunCount:
        """Return what the view says. Raises what ``Searching.search`` does."""
        self._searching.check(search.what)
        return await self._searching.search(search, self.partitions)

    async def view(self, search: TableSearch, *, timeout_s: float) -> TablePage:
        """Return what a table says. Raises what ``Searching.view`` does."""
        self._searching.check(search.what)
        return await self._searching.view(search, self.partitions)

    async def close(self) -> None:
        self._closed = True
        for request in list(self._waiting.values()):
            if not request.answer.done():
                request.answer.set_exception(ProcessorError(CLOSED))
        await asyncio.to_thread(self._disconnect)

    # --- on the loop --------------------------------------------------------------------------

    def _check_usable(self) -> None:
        """Say what is wrong where a client is used outside of its time, or of its loop."""
        if self._closed:
            raise ProcessorError(CLOSED)
        if self._requester is None:
            raise ProcessorError("the client is not connected: use it inside `async with Client()`")
        if asyncio.get_running_loop() is not self._loop:
            raise ProcessorError(
                "the client belongs to another event loop: make one in each loop that needs one"
            )

    def _check_room(self) -> None:
        """Refuse a command at once where too much waits for a broker: memory is bounded."""
        settled = self._settled
        while settled:
            self._kept_bytes += settled.popleft()
            self._kept -= 1
        if self._kept >= _KEPT_MAX or self._kept_bytes >= _KEPT_BYTES_MAX:
            raise ShardUnavailable(
                f"{self._kept:,} commands of {self._kept_bytes:,} bytes wait for a Kafka broker at "
                f"{self._connection.servers}, which is all that a client keeps; this one was not "
                "sent. Check that the brokers run, and ask for less at once"
            )

    def _send(self, request: _Request) -> None:
        assert self._loop is not None, "the gateway is started"
        producing = self._producing.get()
        self._kept += 1
        self._kept_bytes += len(request.value) + _KEPT_OVERHEAD
        if not self._collecting:
            self._collecting = True
            self._loop.call_soon(self._flush)
        producing.collect()
        key = request.command.workflow_id.encode()
        producing.produce(
            self._connection.commands, request.partition, key, request.value, request.delivered
        )
        wait_s = min(self._ask_again_s, max(request.deadline - monotonic(), 0.0))
        request.timer = self._loop.call_later(wait_s, self._overdue, request)

    def _flush(self) -> None:
        """Send what this turn of the loop asked for, in one go."""
        self._collecting = False
        if (made := self._producing.made) is not None:
            made.flush()

    def _overdue(self, request: _Request) -> None:
        """Ask again, or give up; a command that no broker took yet is on its way all the same."""
        if request.answer.done():
            return
        if monotonic() >= request.deadline:
            request.answer.set_exception(self._unavailable(request))
        elif request.taken or request.error:
            request.error = ""
            if request.taken:
                self._ask_where_replies_are_read(request)
            self._send(request)
        else:
            wait_s = min(self._ask_again_s, request.deadline - monotonic())
            assert self._loop is not None, "the gateway is started"
            request.timer = self._loop.call_later(wait_s, self._overdue, request)

    def _ask_where_replies_are_read(self, request: _Request) -> None:
        assert self._replies is not None and self._requester is not None, "it is connected"
        assert request.command.reply_to is not None, "it has an identity"
        self._replies.look_again()
        self._requester.to = self._replies.to
        to = replace(request.command.reply_to, partition=self._replies.to.partition)
        request.value = encode(replace(request.command, again=True, reply_to=to))

    def _unavailable(self, request: _Request) -> ShardUnavailable:
        namespace, limit = self._connection.namespace, f"{request.timeout_s:g} s"
        shard = f"shard {request.partition} of namespace {namespace!r}"
        changes = isinstance(request.command.body, Operation)
        about = f"the command for workflow id {shown(request.command.workflow_id)}"
        if not request.taken:
            why = request.error or "Check that the brokers run"
            later = f". Yet {about} may still arrive" if changes else ""
            return ShardUnavailable(
                f"no Kafka broker at {self._connection.servers} took the command for {shard} within"
                f" {limit}: {why}{later}"
            )
        why = "Perhaps no worker of this namespace runs, or one is still taking the shard over"
        if self._replies is not None and self._replies.problem:
            why = f"Its answer cannot be read: {self._replies.problem}"
        elif self._connection.replies is not None:
            why += f", or it may not write to {self._connection.replies_topic}: its log says so"
        if changes:
            return ShardUnavailable(
                f"{shard} did not answer within {limit}; the broker has {about}, and a worker will "
                f"carry it out. {why}"
            )
        return ShardUnavailable(
            f"no worker answered for {shard} within {limit}. {why}. Start one (processor worker "
            f"MODULE --namespace {namespace}), or ask again"
        )

    def _resolve(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            request = self._waiting.get(reply.to.request)
            if request is None:
                continue
            if not is_answer(request.command.body, reply.body):
                self._say_forged(request, reply)
                continue
            del self._waiting[reply.to.request]
            if not request.answer.done():
                request.answer.set_result(reply.body)

    def _say_forged(self, request: _Request, reply: Reply) -> None:
        if self._is_time():
            _log.warning(
                "%s: a reply (%s) does not fit what was asked (%s) and is dropped: something else "
                "than a worker writes to that topic",
                self._connection.replies_topic,
                type(reply.body).__name__,
                type(request.command.body).__name__,
            )

    # --- blocking -----------------------------------------------------------------------------

    def _connect(self) -> None:
        connection, topic = self._connection, self._connection.replies_topic
        self._partitions, partitions = _counted(connection, connection.commands, topic)
        try:
            self._replies = ReplyReader(connection, partitions, self._received)
        except KafkaException as error:
            why = forbidding(error.args[0])
            raise ShardUnavailable(f"{topic} cannot be read: {why}") from error
        self._requester = Requester(self._replies.to)
        _log.info("%s", which_producer(connection.servers, connection.extra))
        self._producing.get()

    def _received(self, replies: Sequence[Reply]) -> None:
        """Hand a batch over to the loop: one wake-up for all of it."""
        assert self._loop is not None, "the gateway is started"
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, replies)

    def _disconnect(self) -> None:
        for client in (self._producing.made, self._replies):
            if client is not None:
                client.close()
        self._producing.made = self._replies = None


def _counted(connection: KafkaSettings, *wanted: str) -> list[int]:
    """Return how many partitions topics have. Raises ``TopicsNotReady`` where one is missing."""
    try:
        topics = connect(connection.servers, connection.extra).list_topics(timeout=10).topics
    except BrokerUnreachable as error:
        raise ShardUnavailable(str(error)) from error
    counts = [len(topics[topic].partitions) if topic in topics else 0 for topic in wanted]
    missing = [topic for topic, count in zip(wanted, counts, strict=True) if count == 0]
    if missing:
        command = f"processor topics apply --namespace {connection.namespace}"
        raise TopicsNotReady(
            f"namespace {connection.namespace!r} has no topic {' and no topic '.join(missing)} at "
            f"{connection.servers} that this user may see: run `{command}"
            f"{option_for(connection.namespace, missing[-1])}`, or allow the user what a client "
            "needs (`Permissions` in the documentation)"
        )
    return counts
