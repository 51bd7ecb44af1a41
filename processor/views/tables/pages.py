"""What is asked of a table: its rows in the order of their keys, those of all shards as one."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from processor.errors import TableStopped
from processor.views.answers import ViewRow
from processor.views.tables.stored import StoredRow, StoredTable
from processor.views.words import prefix_end

__all__ = ("TablePage", "TableSearch", "merged")

_BYTES_MAX: Final = 2_000_000
"""Where the rows of a page have more bytes than that, it ends, however many were asked for."""


@dataclass(frozen=True)
class TablePage:
    """Rows in the order of their keys. ``after`` begins the next page; None: there is none.

    ``behind``: so many records of the log are not in the table.
    """

    rows: Sequence[ViewRow]
    after: str | None
    behind: int = 0


@dataclass(frozen=True)
class TableSearch:
    """A page of a table: keys that begin with ``prefix``, behind ``after``.

    ``what`` names the call in errors.
    """

    name: str
    what: str
    limit: int
    prefix: str = ""
    after: str | None = None

    def of(self, *parts: StoredTable) -> TablePage:
        """Return what the tables of these partitions say, all together.

        Blocks. Raises ``TableStopped`` where one of them stands still.
        """
        for part in parts:
            if part.error:
                raise TableStopped(
                    f"{self.what}: table {self.name!r} stands still, {part.error}. Correct its "
                    "function, and start what feeds it again; raise version= in @views.table if "
                    "rows that are there have to be folded anew"
                )
        merge = parts[-1].merge if parts else {}
        where = self.prefix, prefix_end(self.prefix), self.after, self.limit + 1
        rows: list[ViewRow] = []
        with ExitStack() as asked:
            found = [asked.enter_context(closing(part.page(*where))) for part in parts]
            size = 0
            for key, of in groupby(heapq.merge(*found, key=_key), key=_key):
                if len(rows) == self.limit or size > _BYTES_MAX:
                    return TablePage(rows, after=rows[-1].key)
                stored = list(of)
                size += sum(len(each.value) for each in stored)
                rows.append(_row(key, stored, merge))
        return TablePage(rows, after=None)


def _key(row: StoredRow) -> str:
    return row.key


def _row(key: str, stored: list[StoredRow], merge: Mapping[str, str]) -> ViewRow:
    stored.sort(key=lambda row: row.time_ms)
    return ViewRow(key, merged([json.loads(row.value) for row in stored], merge))


def merged(values: Sequence[Any], how: Mapping[str, str], name: str = "") -> Any:
    """Return what shards have of one row as one, the latest one last.

    Fields of objects are merged by their names, those inside of others by ``outer.inner``.
    """
    if len(values) == 1:
        return values[0]
    asked = how.get(name)
    if asked is None and all(isinstance(each, dict) for each in values):
        names = list(dict.fromkeys(key for each in values for key in each))
        return {
            key: merged(
                [each[key] for each in values if key in each], how, f"{name}.{key}" if name else key
            )
            for key in names
        }
    there = [each for each in values if each is not None]
    if not there:
        return None
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in there)
    if asked is None:
        asked = "sum" if numbers else "latest"
    texts = all(isinstance(each, str) for each in there)
    if numbers or (texts and asked != "sum"):
        return _MERGES[asked](there)
    return values[-1]


_MERGES: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "sum": sum,
    "min": min,
    "max": max,
    "latest": lambda values: values[-1],
}
