"""Feeds the views of a namespace from its log, in an asyncio program."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from processor.errors import LogTruncated
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import watermarks_of
from processor.kafka.shards.identity import describe_existing
from processor.kafka.shards.log import KafkaLogReader
from processor.kafka.topics.upkeep import connect
from processor.kafka.view_folder import ViewFolder
from processor.shard.ports import LogRecord
from processor.views.stream.app import PartitionFold, ViewsApp
from processor.views.stream.folds import RunsFold
from processor.views.stream.log_bounds import LogBounds
from processor.views.stream.running import run_until, topics_stay
from processor.views.tables.stored import UserTables

__all__ = ("Feeder",)

_log = logging.getLogger("processor.views")


class Feeder:
    """Feeds the partitions that the group ``<namespace>.views`` gives to this process.

    The folder has a name in the group, kept in it: a process that was killed and is started again
    on the same folder has its partitions back at once.
    """

    def __init__(
        self, connection: KafkaSettings, views_dir: Path, tables: UserTables | None = None
    ) -> None:
        self.folder = ViewFolder(views_dir, connection.namespace)
        self._connection = connection
        self._tables = tables or UserTables()
        self._app: ViewsApp | None = None
        self._stopped = asyncio.Event()
        self._log_id = ""

    def stop(self) -> None:
        """Let ``run`` end."""
        self._stopped.set()

    def lag(self) -> Mapping[int, int]:
        """Return how many offsets of each of our partitions are not folded, as far as is known."""
        return {} if self._app is None else self._app.lag()

    async def run(self) -> None:
        """Feed until ``stop``, or until it fails, and raise why.

        Raises ``BrokerUnreachable``, ``TopicsNotReady``, ``ReleaseTooOld`` where a later release
        wrote to the log, and ``ProcessorError`` where another process feeds the same folder.
        """
        with self.folder.fed():
            for name in sorted({*self.folder.table_names()} - {*self._tables.by_name}):
                _log.warning(
                    "table %s in %s is not fed: name its module with --module. If it is not "
                    "needed any more, delete its files (table-%s-*)",
                    name,
                    self.folder.path,
                    name,
                )
            check = await asyncio.to_thread(self._look)
            (self.folder.path / "faust").mkdir(exist_ok=True)
            await self._fed(check)

    def _look(self) -> Callable[[], None]:
        """See which log it is; return what raises where that is another one by now."""
        connection = self._connection
        admin = connect(connection.servers, connection.extra)
        log = describe_existing(admin, connection, ("events",))["events"]
        self._log_id = str(log.topic_id)
        return topics_stay(admin, log)

    async def _fed(self, check: Callable[[], None]) -> None:
        app = self._app = ViewsApp(
            self._connection, self.folder.path, self._opened, self.folder.member()
        )
        await run_until(app, self._stopped, self._connection.namespace, check)

    def _opened(self, partition: int) -> PartitionFold:
        rows = self.folder.open(partition, self._log_id)
        namespace = self._connection.namespace
        reader = KafkaLogReader(self._connection, partition, self._bounds)

        def read(first: int, end: int) -> Iterator[LogRecord]:
            now = LogBounds(*reader.bounds())
            if why := now.lost(first):
                raise LogTruncated(why)
            return reader.read(max(first, now.first), end)

        kept = LogBounds(*reader.bounds())
        kept.check(rows, reader.read)
        _log.info("%s: partition %d from offset %d on", namespace, partition, rows.position)
        where = self.folder.path, partition, self._log_id, "views run"
        tables = [self._tables.open(name, *where) for name in self._tables.by_name]
        for each in tables:
            kept.check_table(each, reader.read)
            _log.info("table %s: partition %d: %d is next", each.name, partition, each.position)
        return RunsFold(self._connection.events, rows, tables, read)

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset that is kept and the end. Blocks."""
        consumer = Consumer(self._connection.consumer())
        try:
            return watermarks_of(consumer, TopicPartition(topic, partition))
        finally:
            consumer.close()
