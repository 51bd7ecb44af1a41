"""The view of the embedded runtime: its rows are brought to where the log is, and then asked."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from threading import Lock
from time import monotonic

from processor.embedded.disk import Disk, DiskLog
from processor.errors import ProcessorError, ShardUnavailable
from processor.gateway import CLOSED
from processor.views.answers import Found, RunCount
from processor.views.rows import Rows, open_rows
from processor.views.search import RunSearch, feed

__all__ = ("DiskView",)


class DiskView:
    """The rows of a disk's log, in a folder beside it. They are opened when they are first asked.

    What was acknowledged before a search is found by it. Nothing is folded that a power cut could
    take out of the log again.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._lock = Lock()
        self._rows: Rows | None = None
        self._closed = False

    async def search(self, log: DiskLog, search: RunSearch, patience_s: float) -> Found | RunCount:
        """Return what the rows say. Raises what ``RunSearch.of`` does.

        ``ShardUnavailable`` where they need longer than ``patience_s`` to come to where the log is:
        they go on from there with the next search.
        """
        deadline = monotonic() + patience_s
        end = log.bounds()[1]
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()

        def told() -> None:
            loop.call_soon_threadsafe(_done, durable)

        self._disk.then(told)
        await durable
        return await asyncio.to_thread(self._searched, log, end, search, deadline)

    def close(self) -> None:
        """Close the rows, once nobody asks them."""
        with self._lock:
            self._closed = True
            if self._rows is not None:
                self._rows.close()

    def _searched(
        self, log: DiskLog, end: int, search: RunSearch, deadline: float
    ) -> Found | RunCount:
        with self._lock:
            if self._closed:
                raise ShardUnavailable(f"{search.what}: {CLOSED}")
            try:
                rows = self._rows = self._rows or open_rows(self._folder, 0, log.id.hex())
                if rows.position > end:
                    rows.drop()
                feed(rows, log.read, end, lambda: monotonic() <= deadline)
                if rows.position < end:
                    raise ShardUnavailable(
                        f"{search.what}: the rows in {self._folder} are at record "
                        f"{rows.position:,} of {end:,} of the log. Ask again: they go on there"
                    )
                return search.of(rows)
            except (sqlite3.Error, OSError) as error:
                raise ProcessorError(
                    f"{search.what}: the rows in {self._folder} cannot be used ({error}). Look at "
                    "the room and the permissions there; that folder may be deleted, and is made "
                    "anew from the log"
                ) from error


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
