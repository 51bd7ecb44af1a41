"""What is asked of a view, and how a view comes to where the log is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from processor.codec.records import decode_entry
from processor.views.answers import Found, RunCount
from processor.views.asking import count, find
from processor.views.language import Query
from processor.views.place import LogEntry, LogRecordLike, ReadLog
from processor.views.rows import Rows

__all__ = ("Folding", "RunSearch", "feed")

_GROUP: Final = 1_000


@dataclass(frozen=True)
class RunSearch:
    """A page of runs, or a count. ``what`` names the call in errors.

    ``limit`` None: it is a count. ``cursor`` is where the page begins.
    """

    query: Query
    what: str
    limit: int | None = None
    cursor: str | None = None

    def of(self, *parts: Rows) -> Found | RunCount:
        """Return what the rows of these partitions say, all together.

        Blocks, 10 s at the most. Raises ``InvalidArgument``.
        """
        if self.limit is None:
            return count(parts, self.query, self.what)
        return find(parts, self.query, self.limit, self.cursor, self.what)


class Folding(Protocol):
    """What is folded from the log: it is the fold of what is below its position."""

    @property
    def position(self) -> int: ...

    @property
    def error(self) -> str:
        """Why it stands still; "": it does not."""

    def take(self, entries: Iterable[LogEntry], end: int | None = None) -> None: ...


def feed(
    rows: Folding,
    read: ReadLog,
    end: int,
    has_time: Callable[[], bool] = lambda: True,
) -> None:
    """Fold the log up to an offset, in groups. Blocks.

    ``read`` yields the records from one offset up to another. It ends before where there is no
    more time behind a group, and where the fold stands still. Raises ``TooNew`` for a record of a
    later release.
    """
    while (first := rows.position) < end:
        until = min(first + _GROUP, end)
        rows.take(_entries(read(first, until)), until)
        if rows.position < until or not has_time():
            return


def _entries(records: Iterable[LogRecordLike]) -> Iterator[LogEntry]:
    """Yield what stands in the log. What a stranger wrote there is told of by the shard."""
    for record in records:
        offset, value = record.offset, record.value
        entry = None if value is None else decode_entry(value, offset)
        yield LogEntry(offset, entry, value)
