"""The views of the embedded runtime: they are brought to where the log is, and then asked."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Final, TypeVar

from processor.embedded.disk import DiskLog
from processor.errors import ProcessorError, ShardUnavailable
from processor.gateway import CLOSED
from processor.views.answers import Found, RunCount
from processor.views.place import changed
from processor.views.rows import Rows, open_rows
from processor.views.search import RunSearch, feed
from processor.views.tables.pages import TablePage, TableSearch
from processor.views.tables.stored import TableRows, UserTables

__all__ = ("DiskView",)

A = TypeVar("A")
Part = TypeVar("Part", Rows, TableRows)

_log = logging.getLogger("processor.views")

_LEAST_S: Final = 0.05
_CLOSE_S: Final = 5.0


class DiskView:
    """The rows of a disk's log, and tables of users, in a folder beside it. They are opened when
    they are first asked.

    What was acknowledged before a search is found by it. Nothing is folded that a power cut could
    take out of the log again.
    """

    def __init__(self, folder: Path, tables: UserTables) -> None:
        self._folder = folder
        self._tables = tables
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._rows: Rows | None = None
        self._opened: dict[str, TableRows] = {}
        self._checked: set[str] = set()
        self._closed = False

    async def search(self, log: DiskLog, search: RunSearch, patience_s: float) -> Found | RunCount:
        """Return what the rows say. Raises what ``RunSearch.of`` does.

        ``ShardUnavailable`` where they need longer than ``patience_s`` to come to where the log is:
        they go on from there with the next search.
        """

        def rows() -> Rows:
            if self._rows is None:
                self._rows = open_rows(self._folder, 0, log.id.hex())
            return self._rows

        return await self._asked(log, search.what, "", rows, search.of, patience_s)

    async def view(self, log: DiskLog, search: TableSearch, patience_s: float) -> TablePage:
        """Return what a table of the user's says, as ``search`` does."""

        def table() -> TableRows:
            name = search.name
            if name not in self._opened:
                how = self._folder, 0, log.id.hex(), search.what
                self._opened[name] = self._tables.open(name, *how)
            return self._opened[name]

        of = search.name
        return await self._asked(log, search.what, of, table, search.of, patience_s)

    async def _asked(
        self,
        log: DiskLog,
        what: str,
        of: str,
        opened: Callable[[], Part],
        ask: Callable[[Part], A],
        patience_s: float,
    ) -> A:
        deadline = monotonic() + patience_s
        end = log.bounds()[1]
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()

        def told() -> None:
            loop.call_soon_threadsafe(_done, durable)

        log.disk.then(told)
        await durable
        return await asyncio.to_thread(self._brought, log, end, what, of, opened, ask, deadline)

    def close(self) -> None:
        """Close the rows and tables, once nobody asks them; not those whose function waits."""
        self._closed = True
        opened: dict[str, Rows | TableRows] = {**self._opened}
        if self._rows is not None:
            opened[""] = self._rows
        for of, rows in opened.items():
            if self._locks[of].acquire(timeout=_CLOSE_S):
                rows.close()
                self._locks[of].release()

    def _brought(
        self,
        log: DiskLog,
        end: int,
        what: str,
        of: str,
        opened: Callable[[], Part],
        ask: Callable[[Part], A],
        deadline: float,
    ) -> A:
        """Ask rows, or the table ``of``, once they are where the log is."""
        if not self._locks[of].acquire(timeout=max(deadline - monotonic(), _LEAST_S)):
            raise ShardUnavailable(
                f"{what}: others ask for the same, and have not had their answer yet. Ask again; "
                "the log of this process says it where the function of a table does not return"
            )
        try:
            if self._closed:
                raise ShardUnavailable(f"{what}: {CLOSED}")
            rows = opened()
            if of not in self._checked:
                self._check(log, rows, end)
                self._checked.add(of)
            feed(rows, log.read, end, lambda: monotonic() <= deadline)
            if rows.position < end and not rows.error:
                raise ShardUnavailable(
                    f"{what}: the rows in {self._folder} are at record "
                    f"{rows.position:,} of {end:,} of the log. Ask again: they go on there"
                )
            return ask(rows)
        except (sqlite3.Error, OSError) as error:
            raise ProcessorError(
                f"{what}: the rows in {self._folder} cannot be used ({error}). Look at "
                "the room and the permissions there; that folder may be deleted, and is made "
                "anew from the log"
            ) from error
        finally:
            self._locks[of].release()

    def _check(self, log: DiskLog, rows: Rows | TableRows, end: int) -> None:
        """Drop rows that are of another past than the log."""
        ahead = f"it ends at record {end}, and {rows.position} is the next of the rows"
        if why := ahead if rows.position > end else changed(rows.place, log.read):
            _log.warning("rows in %s are made anew from the log: %s", self._folder, why)
            rows.drop()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
