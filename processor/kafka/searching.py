"""How a client of Kafka asks a view: with queries, and where no worker answers for a shard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from processor.core.inputs import ClientCommand
from processor.core.questions import DescribeRun, ListRuns, ReadHistory
from processor.core.records.answers import ReplyBody
from processor.errors import InvalidArgument, ProcessorError, ShardUnavailable
from processor.kafka.clients.connection import KafkaSettings

if TYPE_CHECKING:
    from pathlib import Path

    from processor.kafka.view import FolderView
    from processor.views.answers import Found, RunCount
    from processor.views.search import RunSearch
    from processor.views.tables.pages import TablePage, TableSearch

__all__ = ("Searching",)

_PATIENCE_S: Final = 2.0
"""So long a shard has for its answer, where a view can answer."""

_SILENT_S: Final = 0.1
"""So long it has where it was silent within the last ``_SILENCE_S``."""

_SILENCE_S: Final = 10.0


class Searching:
    """Nothing of views is imported for those who never search."""

    def __init__(self, connection: KafkaSettings, views_dir: Path | None) -> None:
        self._connection = connection
        self._views_dir = views_dir
        self._view: FolderView | None = None
        self._silent: dict[int, float] = {}

    def check(self, what: str) -> None:
        """Raise ``InvalidArgument`` where no view was named."""
        if self._views_dir is None:
            raise InvalidArgument(
                f"{what}: only a view answers queries: run `processor views run`, and give its "
                "folder: Client(..., views_dir=...), --views-dir or PROCESSOR_VIEWS_DIR. Without a "
                "query, client.list(status=..., workflow=...) (`processor list --status ... "
                "--workflow ...`) asks the shards for the latest runs"
            )

    async def search(self, search: RunSearch, partitions: int) -> Found | RunCount:
        """Return what the view says. Raises what ``FolderView.search`` does."""
        return await asyncio.to_thread(self._opened().search, search, partitions)

    async def view(self, search: TableSearch, partitions: int) -> TablePage:
        """Return what a table of the view says. Raises what ``FolderView.table`` does."""
        return await asyncio.to_thread(self._opened().table, search, partitions)

    async def answered(
        self,
        command: ClientCommand,
        partition: int,
        timeout_s: float,
        ask: Callable[[float], Awaitable[ReplyBody]],
    ) -> ReplyBody:
        """Return the answer of a shard, which is asked for so many seconds; else that of the view.

        Only lists, descriptions and histories are in a view. A list asks one shard after the other:
        it has no patience with the second silent one. Raises ``ShardUnavailable``.
        """
        body = command.body
        if self._views_dir is None or not isinstance(body, DescribeRun | ListRuns | ReadHistory):
            return await ask(timeout_s)
        silent_s = self._silent.get(partition, 0.0)
        if isinstance(body, ListRuns):
            silent_s = max(self._silent.values(), default=0.0)
        was_silent = monotonic() < silent_s + _SILENCE_S
        try:
            answer = await ask(min(_SILENT_S if was_silent else _PATIENCE_S, timeout_s))
        except ShardUnavailable as error:
            self._silent[partition] = monotonic()
            read = self._opened().read
            try:
                return await asyncio.to_thread(read, command.workflow_id, body, partition)
            except ProcessorError as why:
                raise ShardUnavailable(f"{error}. The view cannot answer either: {why}") from why
        self._silent.pop(partition, None)
        return answer

    def _opened(self) -> FolderView:
        assert self._views_dir is not None, "checked before"
        if self._view is None:
            from processor.kafka.view import FolderView

            self._view = FolderView(self._connection, self._views_dir)
        return self._view
