"""The ``Gateway`` over Kafka: a request is a command, its answer a record on ``replies``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

from confluent_kafka import KafkaError, KafkaException

from processor.codec.records import encode
from processor.config import Settings
from processor.core.answers import ReplyBody
from processor.core.effects import Reply
from processor.core.failure import shortened
from processor.core.inputs import Change, ClientCommand
from processor.errors import PayloadTooLarge, ShardUnavailable, TopicsNotReady
from processor.gateway import Requester
from processor.kafka.connection import COMMAND_BYTES_MAX, KafkaSettings, fits, partition_of
from processor.kafka.producers import which_producer
from processor.kafka.producing import Lasting, Producing
from processor.kafka.record_producer import Written
from processor.kafka.replies import ReplyReader
from processor.kafka.topics import BrokerUnreachable, connect

__all__ = ("KafkaGateway",)

_log = logging.getLogger("processor.kafka")
_ID_SHOWN = 100


@dataclass(slots=True, eq=False)
class _Request:
    """One request that waits. ``taken``: a broker acknowledged its command."""

    partition: int
    command: ClientCommand
    value: bytes
    answer: asyncio.Future[ReplyBody]
    timeout_s: float
    deadline: float
    timer: asyncio.TimerHandle | None = None
    taken: bool = False
    error: str = ""

    def delivered(self, error: KafkaError | None, _written: Written | None) -> None:
        if error is None:
            self.taken = True
        else:
            self.error = error.str()


class KafkaGateway:
    """Lives on the loop that ``start`` is called on."""

    def __init__(self, connection: KafkaSettings, settings: Settings) -> None:
        self._connection = connection
        self._commands = connection.topic("commands")
        self._ask_again_s = settings.ask_again_s
        self._partitions = 0
        self._requester: Requester | None = None
        self._waiting: dict[int, _Request] = {}
        self._collecting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._producing = Lasting(
            lambda: Producing(connection.client_producer(), connection.extra, "a client")
        )
        self._replies: ReplyReader | None = None

    @property
    def partitions(self) -> int:
        return self._partitions

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._connect)

    async def request(
        self, command: ClientCommand, *, timeout_s: float, partition: int | None = None
    ) -> ReplyBody:
        """Return the shard's answer; the command is sent again until it comes.

        A shard that gets the same request twice answers twice and acts once. It is told which ones
        a broker has acknowledged before, so that it takes none of them for a new one.
        """
        assert self._loop is not None and self._requester is not None, "the gateway is started"
        if partition is None:
            partition = partition_of(command.workflow_id, self._partitions)
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
        request = _Request(
            partition,
            command,
            value,
            self._loop.create_future(),
            timeout_s,
            monotonic() + timeout_s,
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

    async def close(self) -> None:
        for request in list(self._waiting.values()):
            if not request.answer.done():
                request.answer.set_exception(ShardUnavailable("the client was closed"))
        await asyncio.to_thread(self._disconnect)

    # --- on the loop --------------------------------------------------------------------------

    def _send(self, request: _Request) -> None:
        assert self._loop is not None, "the gateway is started"
        producing = self._producing.get()
        if not self._collecting:
            self._collecting = True
            self._loop.call_soon(self._flush)
        producing.collect()
        key = request.command.workflow_id.encode()
        producing.produce(self._commands, request.partition, key, request.value, request.delivered)
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
                request.value = encode(replace(request.command, again=True))
            self._send(request)
        else:
            wait_s = min(self._ask_again_s, request.deadline - monotonic())
            assert self._loop is not None, "the gateway is started"
            request.timer = self._loop.call_later(wait_s, self._overdue, request)

    def _unavailable(self, request: _Request) -> ShardUnavailable:
        namespace, limit = self._connection.namespace, f"{request.timeout_s:g} s"
        shard = f"shard {request.partition} of namespace {namespace!r}"
        changes = isinstance(request.command.body, Change)
        if not request.taken:
            why = f" ({request.error})" if request.error else ""
            later = "; the command may still arrive" if changes else ""
            return ShardUnavailable(
                f"no Kafka broker at {self._connection.servers} took the command for {shard} within"
                f" {limit}{why}. Check that the brokers run{later}"
            )
        why = "Perhaps no worker of this namespace runs, or one is still taking the shard over"
        if changes:
            return ShardUnavailable(
                f"{shard} did not answer within {limit}; the broker has the command, and a worker "
                f"will carry it out. {why}"
            )
        return ShardUnavailable(
            f"no worker answered for {shard} within {limit}. {why}. Start one (processor worker "
            f"MODULE --namespace {namespace}), or ask again"
        )

    def _resolve(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            request = self._waiting.pop(reply.to.request, None)
            if request is not None and not request.answer.done():
                request.answer.set_result(reply.body)

    # --- blocking -----------------------------------------------------------------------------

    def _connect(self) -> None:
        connection = self._connection
        replies_topic = connection.topic("replies")
        try:
            topics = connect(connection.servers, connection.extra).list_topics(timeout=10).topics
        except BrokerUnreachable as error:
            raise ShardUnavailable(str(error)) from error
        counts = {
            topic: len(topics[topic].partitions) if topic in topics else 0
            for topic in (self._commands, replies_topic)
        }
        if missing := [topic for topic, count in counts.items() if count == 0]:
            raise TopicsNotReady(
                f"namespace {connection.namespace!r} has no topic {' and no topic '.join(missing)}"
                f" at {connection.servers}: run `processor topics apply --namespace "
                f"{connection.namespace}`"
            )
        self._partitions = counts[self._commands]
        try:
            self._replies = ReplyReader(connection, counts[replies_topic], self._received)
        except KafkaException as error:
            raise ShardUnavailable(f"{replies_topic} cannot be read: {error}") from error
        self._requester = Requester(self._replies.to)
        _log.info("%s", which_producer(connection.extra))
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
