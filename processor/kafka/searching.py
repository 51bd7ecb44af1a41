"""How a client of Kafka asks a view."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from processor.errors import InvalidArgument
from processor.kafka.clients.connection import KafkaSettings

if TYPE_CHECKING:
    from pathlib import Path

    from processor.kafka.view import FolderView
    from processor.views.answers import Found, RunCount
    from processor.views.search import RunSearch

__all__ = ("Searching",)


class Searching:
    """Nothing of views is imported for those who never search."""

    def __init__(self, connection: KafkaSettings, views_dir: Path | None) -> None:
        self._connection = connection
        self._views_dir = views_dir
        self._view: FolderView | None = None

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
        assert self._views_dir is not None, "checked before"
        if self._view is None:
            from processor.kafka.view import FolderView

            self._view = FolderView(self._connection, self._views_dir)
        return await asyncio.to_thread(self._view.search, search, partitions)
