"""A worker on Kafka: its transport, membership, node and queues, put together."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from confluent_kafka import KafkaException

from processor.activities.executor import Executor
from processor.codec.records import LEVEL
from processor.config import Settings
from processor.core.runner import Runners
from processor.errors import InvalidArgument, LogTruncated, TopicsNotReady
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.producers import which_producer
from processor.kafka.connecting.connector import Connector
from processor.kafka.group.instance import Lifetime, take_instance
from processor.kafka.group.membership import Membership
from processor.kafka.options import KafkaWorkerOptions
from processor.kafka.queues.queues import Queues
from processor.kafka.shards.log import KafkaLogReader
from processor.kafka.shards.ports import KafkaPorts
from processor.kafka.topics.specs import is_own, topic_name
from processor.kafka.topics.upkeep import apply, connect, missing_or_wrong, plan, read_topics
from processor.kafka.transport import KafkaTransport
from processor.node import Node, ShardStatus
from processor.node.publishing.steps import Standing
from processor.shard.ports import Clock
from processor.shard.recovery.survey import level_of_log, too_old

__all__ = ("KafkaRuntime",)

_log = logging.getLogger("processor.kafka")

_DRAIN_S = 2.0
_WATCH_EVERY_S = 5.0
_MISSING_MIN = 2


class KafkaRuntime:
    """Implements ``WorkerRuntime``. Each instance id has a state directory of its own.

    So a paused process that still holds its files keeps nobody from taking its shards over.
    """

    def __init__(
        self,
        options: KafkaWorkerOptions,
        runners: Runners,
        executor: Executor,
        settings: Settings,
        clock: Clock,
    ) -> None:
        for each, _ in options.connections:
            if is_own(options.namespace, each.topic):
                raise InvalidArgument(
                    f"connection {each.topic!r}: that is a topic of namespace "
                    f"{options.namespace!r}, or of Kafka's own; a connection reads one of yours"
                )
        self._options = options
        self._settings = settings
        self._executor = executor
        connection = KafkaSettings(options.server, options.namespace, dict(options.kafka))
        _log.info("%s", which_producer(connection.servers, connection.extra))
        # Workers of queues alone may share a name: nothing shuts the second one out.
        self._lock: int | None = None
        name = options.instance_id or socket.gethostname()
        if options.owns_shards:
            name, self._lock = take_instance(
                options.state_dir, options.namespace, options.instance_id
            )
            _log.info("this process is instance %s", name)
        self._name = name
        self._life = Lifetime(options.state_dir, options.namespace, name)
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[BaseException] = self._loop.create_future()
        try:
            self._transport = KafkaTransport(connection, settings)
        except BaseException:
            self._let_go()
            raise
        self._ports = KafkaPorts(
            self._transport,
            options.state_dir,
            executor,
            clock,
            name,
            self._may_own,
            self._standing,
        )
        self._node = Node(self._ports, runners, settings, name, clock)
        self._membership: Membership | None = None
        self._connectors = tuple(
            Connector(each, take, connection, settings, self._fail_from_thread)
            for each, take in options.connections
        )
        self._watching: asyncio.Task[None] | None = None
        self._queues = Queues(
            self._transport,
            executor,
            options.queues,
            name if options.owns_shards else None,
            came_back=options.owns_shards and self._life.came_back,
            share_groups=options.share_groups,
        )

    async def start(self) -> None:
        await asyncio.to_thread(self._prepare_topics)
        if self._options.owns_shards:
            await asyncio.to_thread(self._transport.warm)
            await asyncio.to_thread(self._life.begin)
        else:
            await asyncio.to_thread(self._check_level)
        await self._queues.start()
        if self._options.owns_shards:
            self._membership = Membership(
                self._transport.connection,
                self._settings,
                self._name,
                self._loop,
                assign=self._node.assign,
                revoke=self._node.revoke,
                failed=self._fail,
                next_command=self._ports.next_command,
                came_back=self._life.came_back,
            )
            self._membership.start()
        for connector in self._connectors:
            connector.start()
        self._watching = self._loop.create_task(self._watch_topics())

    async def drain(self) -> None:
        """Stop what takes in, finish shortly what is under way, and give the shards back."""
        await self._close_connectors()
        await self._queues.stop()
        await self._node.drain(_DRAIN_S)
        await asyncio.to_thread(self._ports.drain, _DRAIN_S)
        if self._membership is not None:
            await self._membership.close()

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await self._close_connectors()
        await self._queues.stop()
        if self._membership is not None:
            await self._membership.close()
            if self._membership.left and self._queues.left:
                await asyncio.to_thread(self._life.end)
        await self._node.close()
        await asyncio.to_thread(self._ports.close)
        await asyncio.to_thread(self._transport.close)
        self._let_go()

    async def _close_connectors(self) -> None:
        await asyncio.gather(*(connector.close() for connector in self._connectors))

    def _let_go(self) -> None:
        """Let another process have the name of this one."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def shards(self) -> Mapping[int, ShardStatus]:
        return self._node.shards

    async def failed(self) -> None:
        stopped = asyncio.ensure_future(self._node.wait_stopped())
        try:
            await asyncio.wait((stopped, self._failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if stopped.done() and not stopped.cancelled():
            stopped.result()
        raise self._failed.result()

    async def _watch_topics(self) -> None:
        """End the worker when its topics are gone; one answer alone may be a broker's that starts.

        What else goes wrong with a question shows in the work itself.
        """
        missing = 0
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            try:
                await asyncio.to_thread(self._queues.check_topics)
                await asyncio.to_thread(self._ports.check_topics)
                missing = 0
            except TopicsNotReady as error:
                missing += 1
                if missing >= _MISSING_MIN:
                    self._fail(error)
            except LogTruncated as error:
                self._fail(error)
            except KafkaException as error:
                _log.debug("looking at the topics: %s", error)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            _log.error("this worker ends: %s", error)
            self._failed.set_result(error)

    def _fail_from_thread(self, error: BaseException) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._fail, error)

    def _may_own(self, partition: int) -> bool:
        return self._membership is not None and self._membership.may_own(partition)

    def _standing(self) -> Standing:
        return Standing(None, {}) if self._membership is None else self._membership.standing

    def _check_level(self) -> None:
        """Do not join below the level of the namespace. Whoever owns shards looks at each of them.

        Shard 0 is the first one to be raised. Blocks.
        """
        reader = KafkaLogReader(self._transport.connection, 0, self._transport.watermarks)
        try:
            level = level_of_log(0, reader, self._transport.connection.events)
        except KafkaException as error:
            _log.warning(
                "the level of namespace %r is not known, because its events cannot be read: %s. "
                "Have a release that is not older than the other workers'",
                self._options.namespace,
                error,
            )
            return
        if level > LEVEL:
            raise too_old(f"namespace {self._options.namespace!r}", level, LEVEL)

    def _prepare_topics(self) -> None:
        """Make what is missing if that was asked for; else say which command does. Blocks."""
        options = self._options
        admin = connect(options.server, options.kafka)
        if options.create_topics:
            events = topic_name(options.namespace, "events")
            found = read_topics(admin, (events,)).get(events)
            partitions = options.partitions if found is None else found.partitions
            changes = plan(admin, options.namespace, partitions, 1, options.queues)
            if changes:
                apply(admin, changes)
            return
        wrong = missing_or_wrong(admin, options.namespace, options.queues)
        if wrong:
            lines = "\n".join(f"  {each.topic}: {each.problem}. {each.remedy}" for each in wrong)
            raise TopicsNotReady(
                f"the topics of namespace {options.namespace!r} are not ready, or this user may "
                f"not describe them:\n{lines}"
            )
