"""The view that ``processor views run`` keeps in a folder, as clients of Kafka ask it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Final, TypeVar

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.core.questions import ListRuns
from processor.core.records.answers import Page, Refused
from processor.errors import ProcessorError
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import ends_of
from processor.kafka.topics.upkeep import connect
from processor.kafka.view_folder import ViewFolder
from processor.seldom import Seldom
from processor.views.answers import Found, RunCount
from processor.views.reading import OfRun, answered, listed
from processor.views.rows import Rows
from processor.views.search import RunSearch
from processor.views.tables.pages import TablePage, TableSearch
from processor.views.tables.stored import StoredTable

__all__ = ("FolderView", "log_ends")

P = TypeVar("P", Rows, StoredTable)
T = TypeVar("T")

_log = logging.getLogger("processor.views")

_CATCH_UP_S: Final = 2.0
_LOOK_S: Final = 0.02
_ASK_S: Final = 10.0
_TELL_EVERY_S: Final = 30.0


class FolderView:
    """It tells what was acknowledged before it was asked, where it is fed and not far behind.

    A view that is behind the log has two seconds to come to where the log is now. What it says
    then is told, and a warning says how far it is behind. All block, and raise ``ProcessorError``.
    """

    def __init__(self, connection: KafkaSettings, views_dir: Path) -> None:
        self._connection = connection
        self._folder = ViewFolder(views_dir, connection.namespace)
        self._tell = Seldom(_TELL_EVERY_S)
        self._admin: AdminClient | None = None

    def search(self, search: RunSearch, partitions: int) -> Found | RunCount:
        """Return what the rows of all partitions say. Raises ``InvalidArgument``."""

        def ask(parts: Sequence[Rows], ends: Mapping[int, int]) -> Found | RunCount:
            behind = _lag(parts, ends)
            return replace(search.of(*parts), behind=behind)

        return self._asked(search.what, range(partitions), self._folder.read, ask)

    def table(self, search: TableSearch, partitions: int) -> TablePage:
        """Return what a table of the user's says, that of all partitions together."""

        def ask(parts: Sequence[StoredTable], ends: Mapping[int, int]) -> TablePage:
            behind = _lag(parts, ends)
            return replace(search.of(*parts), behind=behind)

        read, of = partial(self._folder.tables, search.name), f"table {search.name!r}"
        return self._asked(search.what, range(partitions), read, ask, of, " --module MODULE")

    def behind(self, partitions: int) -> int | None:
        """Return how many records of the log are not in the view; None: partitions are missing."""
        with ExitStack() as opened:
            parts = [opened.enter_context(closing(rows)) for rows in self._folder.read()]
            if {*range(partitions)} - {rows.partition for rows in parts}:
                return None
            return _lag(parts, self._ends(range(partitions)))

    def read(self, workflow_id: str, body: OfRun | ListRuns, partition: int) -> Page | Refused:
        """Return what the rows of a partition say of a run, or of the latest run of each id."""

        def ask(parts: Sequence[Rows], ends: Mapping[int, int]) -> Page | Refused:
            (rows,) = parts
            if isinstance(body, ListRuns):
                return listed(rows, body, ends[partition], now_ms)
            return answered(rows, workflow_id, body, ends[partition], now_ms)

        now_ms = time_ns() // 1_000_000
        what = body.word if isinstance(body, ListRuns) else f"{body.word} of {workflow_id!r}"
        return self._asked(what, (partition,), self._folder.read, ask)

    def _asked(
        self,
        what: str,
        partitions: Sequence[int],
        read: Callable[[], list[P]],
        ask: Callable[[Sequence[P], Mapping[int, int]], T],
        of: str = "rows",
        module: str = "",
    ) -> T:
        """Return what is said by those that are where the log is, or as far as they come in time.

        ``read`` opens those of all partitions; in errors they are called ``of``. ``module`` is what
        feeds them besides.
        """
        folder = self._folder.path
        with ExitStack() as opened:
            try:
                found = [opened.enter_context(closing(rows)) for rows in read()]
            except sqlite3.Error as error:
                raise ProcessorError(
                    f"{what}: the view in {folder} cannot be read ({error}): look at "
                    "the permissions of the folder; dropped files are made anew"
                ) from error
            parts = [rows for rows in found if rows.partition in partitions]
            missing = sorted({*partitions} - {rows.partition for rows in parts})
            if missing:
                raise ProcessorError(
                    f"{what}: {folder} has no {of} of "
                    f"{'any partition' if not found else f'partitions {missing}'}: run `processor "
                    f"views run{module} --views-dir {folder.parent}` until it says that it is up "
                    "to date. It has to feed all partitions: where processes share them, each has "
                    "a part"
                )
            ends = self._ends(partitions)
            if any(rows.position > ends[rows.partition] for rows in parts):
                raise ProcessorError(
                    f"{what}: the view in {folder} is ahead of the log: "
                    f"{self._connection.events} was deleted and made again, or lost records. "
                    "`processor views run` makes the view of another log anew; after a loss, run "
                    "`processor views rebuild` first"
                )
            until = monotonic() + _CATCH_UP_S
            while (lag := _lag(parts, ends)) and monotonic() < until:
                sleep(_LOOK_S)
            if lag and self._tell(str(folder)):
                _log.warning(
                    "%s: the view in %s is %d records behind the log. Does `processor views run` "
                    "run there? `processor views status` shows how far it is",
                    what,
                    folder,
                    lag,
                )
            return ask(parts, ends)

    def _ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Return where the log ends, as a client says that is kept while brokers answer it."""
        if self._admin is not None:
            try:
                return log_ends(self._admin, self._connection, partitions)
            except KafkaException:
                self._admin = None  # a new one says what is wrong
        self._admin = connect(self._connection.servers, self._connection.extra)
        return log_ends(self._admin, self._connection, partitions)


def log_ends(
    admin: AdminClient, connection: KafkaSettings, partitions: Iterable[int]
) -> Mapping[int, int]:
    """Return where partitions of the log end. Blocks."""
    places = [TopicPartition(connection.events, partition) for partition in partitions]
    return {place.partition: end for place, end in ends_of(admin, places, _ASK_S).items()}


def _lag(parts: Sequence[Rows | StoredTable], ends: Mapping[int, int]) -> int:
    """Return how many records are still to come. Of what stands still, none are."""
    for rows in parts:
        rows.look()
    return sum(max(ends[each.partition] - each.position, 0) for each in parts if not each.error)
