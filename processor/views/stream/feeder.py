"""Feeds the views of a namespace from its log, in an asyncio program."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Final

from processor.errors import ProcessorError, TopicsNotReady
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.shards.identity import describe
from processor.kafka.topics.upkeep import connect
from processor.store.lock import hold, holder
from processor.views.rows import open_rows
from processor.views.stream.app import PartitionFold, ViewsApp
from processor.views.stream.folds import RunsFold

__all__ = ("Feeder", "dropped", "folder_of", "is_fed")

_log = logging.getLogger("processor.views")

_LOOK_S: Final = 0.2
_TELL_EVERY_S: Final = 60.0
_LOCK: Final = "feeder.lock"
_MEMBER: Final = "member"


def folder_of(views_dir: Path, namespace: str) -> Path:
    """Return the folder of a namespace's views."""
    return views_dir / namespace


def is_fed(folder: Path) -> bool:
    """Return whether a process feeds the views in a folder."""
    held = hold(folder / _LOCK)
    if held is None:
        return True
    os.close(held)
    return False


def dropped(folder: Path) -> int:
    """Drop the rows in a folder that nobody feeds; return how many files that were."""
    files = list(folder.glob("runs-*.sqlite*"))
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


class Feeder:
    """Feeds the partitions that the group ``<namespace>.views`` gives to this process.

    The folder has a name in the group, kept in it: a process that was killed and is started again
    on the same folder has its partitions back at once.
    """

    def __init__(self, connection: KafkaSettings, views_dir: Path) -> None:
        self.folder = folder_of(views_dir, connection.namespace)
        self._connection = connection
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
        held = hold(self.folder / _LOCK)
        if held is None:
            raise ProcessorError(
                f"{self.folder} is fed by {holder(self.folder / _LOCK)}: give this process another "
                "--views-dir"
            )
        try:
            self._log_id = await asyncio.to_thread(self._look)
            (self.folder / "faust").mkdir(exist_ok=True)
            await self._fed()
        finally:
            os.close(held)

    def _look(self) -> str:
        """Return the id of the log."""
        connection = self._connection
        topic = connection.events
        described = describe(connect(connection.servers, connection.extra), [topic])
        if topic not in described:
            raise TopicsNotReady(
                f"topic {topic} does not exist: run `processor topics apply --namespace "
                f"{connection.namespace}`"
            )
        return str(described[topic].topic_id)

    async def _fed(self) -> None:
        app = ViewsApp(self._connection, self.folder, self._opened, self._member())
        self._app = app
        told_at, behind = monotonic(), True
        try:
            await app.start()
            while not (self._stopped.is_set() or app.failed.done()):
                if app.crashed:
                    raise app.crash_reason or ProcessorError("Faust ended and did not say why")
                await asyncio.wait((app.failed,), timeout=_LOOK_S)
                lag = app.lag()
                caught_up = behind and bool(lag) and not any(lag.values())
                if caught_up or (lag and monotonic() > told_at + _TELL_EVERY_S):
                    told_at, behind = monotonic(), any(lag.values())
                    _log.info("%s: %s", self._connection.namespace, shown_lag(lag))
            if app.failed.done():
                app.failed.result()
        finally:
            app.failed.cancel()
            await app.stop()
            app.close()

    def _member(self) -> str:
        """Return the name of the folder in the group."""
        path = self.folder / _MEMBER
        if not path.exists():
            partial = path.with_suffix(".new")
            partial.write_text(f"views-{secrets.token_hex(8)}")
            partial.replace(path)
        return path.read_text()

    def _opened(self, partition: int) -> PartitionFold:
        rows = open_rows(self.folder, partition, self._log_id)
        namespace = self._connection.namespace
        _log.info("%s: partition %d from offset %d on", namespace, partition, rows.position)
        return RunsFold(self._connection.events, rows)


def shown_lag(lag: Mapping[int, int]) -> str:
    """Return how far views are behind the log, in words."""
    behind = {partition: count for partition, count in sorted(lag.items()) if count}
    if not behind:
        return f"up to date with {len(lag)} partitions"
    each = ", ".join(f"partition {partition} by {count:,}" for partition, count in behind.items())
    return f"{sum(behind.values()):,} records behind ({each})"
