"""Serves the look-up of a namespace, in an asyncio program."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, TopicDescription
from faust.exceptions import ConsistencyError

from processor.errors import InvalidArgument, StoreCorrupt, TopicsNotReady
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import MISSING
from processor.kafka.shards.identity import describe_existing
from processor.kafka.topics.upkeep import connect
from processor.kafka.view_folder import ViewFolder
from processor.views.stream.lookup.app import TOPIC, LookupApp, WebAddress
from processor.views.stream.lookup.pages import Admits, add_pages
from processor.views.stream.running import run_until, topics_stay

__all__ = ("Lookup", "changelog_of")

_log = logging.getLogger("processor.views")


class Lookup:
    """Serves the partitions that the group ``<namespace>.lookup`` gives to this process.

    It keeps its table below ``views_dir``, which may be deleted: it comes again from the changelog,
    and where that is gone, too, from the log. ``standbys`` other processes keep a copy of each
    partition. ``admits`` says who may ask; None: whoever reaches the address.
    """

    def __init__(
        self,
        connection: KafkaSettings,
        views_dir: Path,
        web: WebAddress,
        standbys: int = 1,
        admits: Admits | None = None,
    ) -> None:
        self._connection = connection
        self._folder = ViewFolder(views_dir, connection.namespace)
        self._web = web
        self._standbys = standbys
        self._admits = admits
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let ``run`` end."""
        self._stopped.set()

    async def run(self) -> None:
        """Serve until ``stop``, or until it fails, and raise why.

        Raises ``BrokerUnreachable``; ``TopicsNotReady`` where the changelog is missing, is
        forbidden, or has another number of partitions than the log; ``ReleaseTooOld`` where a later
        release wrote to the log; ``ProcessorError`` where another process serves the same folder;
        ``InvalidArgument`` where one listens at its address.
        """
        with self._folder.served():
            log, changelog, check = await asyncio.to_thread(self._look)
            await self._served(log, changelog, check)

    def _look(self) -> tuple[TopicDescription, TopicDescription, Callable[[], None]]:
        """Return what Kafka says of the log and of the changelog, and what raises where they are
        others by now.
        """
        connection = self._connection
        admin = connect(connection.servers, connection.extra)
        log = describe_existing(admin, connection, ("events",))["events"]
        changelog = changelog_of(admin, connection, len(log.partitions))
        return log, changelog, topics_stay(admin, log, changelog)

    async def _served(
        self, log: TopicDescription, changelog: TopicDescription, check: Callable[[], None]
    ) -> None:
        """Run the application, once more where its files are damaged or ahead of the changelog."""
        data = self._folder.path / TOPIC / str(changelog.topic_id)
        for other in data.parent.glob("*"):
            if other != data:
                shutil.rmtree(other, ignore_errors=True)
        try:
            await self._once(data, log, check)
        except (ConsistencyError, StoreCorrupt) as error:
            _log.error("the files in %s are dropped and made anew: %s", data, error)
            shutil.rmtree(data)
            await self._once(data, log, check)

    async def _once(self, data: Path, log: TopicDescription, check: Callable[[], None]) -> None:
        await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
        log_id, count = str(log.topic_id), len(log.partitions)
        app = LookupApp(self._connection, data, log_id, count, self._web, self._standbys)
        add_pages(app, self._admits)
        what = f"look-up of {self._connection.namespace}"
        try:
            await run_until(app, self._stopped, what, check)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise InvalidArgument(
                f"the look-up cannot listen on {self._web.url}, where another process does: give "
                "another --web"
            ) from error


def changelog_of(
    admin: AdminClient, connection: KafkaSettings, partitions: int
) -> TopicDescription:
    """Return what Kafka says of the changelog.

    Raises ``TopicsNotReady`` where it cannot be used.
    """
    topic = connection.topic(TOPIC)
    rows = "The rows of `processor views run` go on without it"
    future = admin.describe_topics(TopicCollection([topic]), include_authorized_operations=True)
    try:
        found: TopicDescription = future[topic].result()
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise _forbidden(topic, rows) from error
        if code not in MISSING:
            raise
        raise TopicsNotReady(
            f"topic {topic}, the changelog of the look-up, does not exist, or this user may not "
            f"see it: run `processor topics apply --lookup --namespace {connection.namespace}`, "
            f"and allow Read and Write (docs/kafka.md#permissions). {rows}"
        ) from error
    allowed = found.authorized_operations
    if allowed and not {AclOperation.READ, AclOperation.WRITE} <= set(allowed):
        raise _forbidden(topic, rows)
    if len(found.partitions) != partitions:
        raise TopicsNotReady(
            f"{topic}, the changelog of the look-up, has {len(found.partitions)} partitions, and "
            f"the log has {partitions}: it holds nothing that is not in the log. Delete it "
            f"(kafka-topics.sh --delete --topic {topic}), and run `processor topics apply --lookup "
            f"--namespace {connection.namespace}`. {rows}"
        )
    return found


def _forbidden(topic: str, rows: str) -> TopicsNotReady:
    return TopicsNotReady(
        f"this user may not read and write {topic}, the changelog of the look-up: allow Read and "
        f"Write on it, and Read on the group (docs/kafka.md#permissions). {rows}"
    )
