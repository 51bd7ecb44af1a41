"""The Faust application of the look-up: its table, and the pages that any of its processes answers.

It is a group of its own beside the one that feeds rows. So nothing that happens to the table, to
its changelog or in its recovery stops the rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faust.exceptions import ProducerSendError

from processor.errors import ProcessorError
from processor.kafka.clients.connection import KafkaSettings
from processor.shard.ports import LogRecord
from processor.views.stream.app import PartitionFold, ViewsApp
from processor.views.stream.folds import log_entries
from processor.views.stream.lookup.entries import (
    LatestRun,
    Position,
    anew_because,
    changes,
    entry_of,
    position_key,
    position_of,
)
from processor.views.stream.lookup.routing import OwnersRouter
from processor.views.stream.lookup.table import LookupTable

__all__ = ("TOPIC", "LookupApp", "LookupFold", "WebAddress")

_log = logging.getLogger("processor.views")

TOPIC = "lookup"
"""The changelog of the look-up, among the namespace's topics."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Where a process of the look-up listens, and is reached by the others."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def member(self) -> str:
        """A name in the group: Faust refuses an assignment that was made for another address."""
        return f"lookup-{hashlib.sha256(self.url.encode()).hexdigest()[:16]}"


class LookupFold:
    """How far one partition is. ``stale`` is true where what the table has is of another log."""

    def __init__(self, partition: int, at: Position, stale: bool) -> None:
        self.partition = partition
        self.at = at
        self.stale = stale

    @property
    def position(self) -> int:
        return self.at.position

    def take(self, records: Sequence[LogRecord]) -> None:
        raise NotImplementedError("LookupApp.give writes them, and waits")

    def close(self) -> None:
        """Nothing is open: the table is Faust's."""


class LookupApp(ViewsApp):
    """Keeps the table of the log ``log``, which has ``partitions``."""

    folds: dict[int, LookupFold]  # type: ignore[assignment]

    def __init__(
        self,
        connection: KafkaSettings,
        folder: Path,
        log: str,
        partitions: int,
        web: WebAddress,
        standbys: int,
    ) -> None:
        self._log = log
        self._changelog = connection.topic(TOPIC)
        self.partitions = partitions
        self.where = web
        super().__init__(
            connection,
            folder,
            self._opened_fold,
            web.member,
            group=TOPIC,
            store="rocksdb://",
            table_standby_replicas=standbys,
            Router=OwnersRouter,
            web_enabled=True,
            web_bind=web.host,
            web_host=web.host,
            web_port=web.port,
            canonical_url=web.url,
            web_router_enabled=False,
            web_tables_enabled=False,
            web_graph_enabled=False,
            web_stats_enabled=False,
        )
        self.instances = LookupTable(self, self._changelog, partitions)
        self.tables.add(self.instances)

    async def give(self, fold: PartitionFold, records: Sequence[LogRecord]) -> None:
        """Fold records, write what they change to the changelog, and then to the table."""
        assert isinstance(fold, LookupFold), "it opens no others"
        partition, table = fold.partition, self.instances
        try:
            if fold.stale:
                await table.empty(partition)
                fold.stale = False
            entries = log_entries(self.events, partition, records)
            at, changed = changes(
                fold.at, partition, entries, lambda key: table.value(partition, key)
            )
            written = await table.write(partition, changed)
        except ProducerSendError as error:
            raise ProcessorError(
                f"the look-up cannot write to {self._changelog} ({error}): allow this user Read "
                "and Write there (docs/kafka.md#permissions). The rows of `processor views run` go "
                "on without it"
            ) from error
        if self.folds.get(partition) is fold:  # else another process has the partition by now
            table.apply_changelog_batch(written)
            fold.at = at

    def found(self, workflow_id: str, partition: int) -> LatestRun | None:
        """Return what the table has of a workflow id. Its partition is open here."""
        return entry_of(self.instances.value(partition, workflow_id.encode()))

    def numbers(self) -> list[dict[str, Any]]:
        """Return position, end and lag of each partition that this process has."""
        lag: Mapping[int, int] = self.lag()
        return [
            {
                "partition": partition,
                "position": fold.position,
                "end": self.end(partition),
                "lag": lag.get(partition),
            }
            for partition, fold in sorted(self.folds.items())
        ]

    def _opened_fold(self, partition: int) -> LookupFold:
        kept = self.instances.value(partition, position_key(partition))
        at = position_of(kept, self._log)
        if at is not None:
            return LookupFold(partition, at, stale=False)
        stale = not self.instances.is_empty(partition)
        if stale:
            _log.warning(
                "partition %d of the look-up is made anew from the log: what the table has of it "
                "is not used, as %s",
                *(partition, anew_because(kept, self._log)),
            )
        return LookupFold(partition, Position(self._log), stale)
