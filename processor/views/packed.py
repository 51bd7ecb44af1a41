"""What a view answers, as bytes: MessagePack, in which a time is a time; tables are plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from processor.errors import SchemaMismatch
from processor.views.answers import Found, RunCount, ViewRow
from processor.views.fold import Row
from processor.views.tables.pages import TablePage

__all__ = ("PackedSearch", "packed", "unpacked_count", "unpacked_found", "unpacked_table")


class PackedSearch(msgspec.Struct, frozen=True):
    """A page of runs, or a count (``limit`` None). ``what`` names the call in errors."""

    query: str
    what: str
    limit: int | None = None
    cursor: str | None = None


class _Page(msgspec.Struct, frozen=True):
    runs: tuple[Row, ...]
    shards: tuple[int, ...]
    cursor: str | None
    unknown: tuple[str, ...]
    behind: int = 0


class _Table(msgspec.Struct, frozen=True):
    items: tuple[ViewRow, ...]
    after: str | None
    behind: int = 0


_tables: Final = msgspec.json.Decoder(_Table)
_pages: Final = msgspec.msgpack.Decoder(_Page)
_counts: Final = msgspec.msgpack.Decoder(RunCount)


def packed(answer: Found | RunCount) -> bytes:
    """Return an answer as bytes."""
    if isinstance(answer, Found):
        shards: Sequence[int] = answer.shards
        page = _Page(
            tuple(answer.runs), tuple(shards), answer.cursor, tuple(answer.unknown), answer.behind
        )
        return msgspec.msgpack.encode(page)
    return msgspec.msgpack.encode(answer)


def unpacked_found(data: bytes) -> Found:
    """Return a page. Raises ``SchemaMismatch``."""
    try:
        page = _pages.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SchemaMismatch(f"it is no page of runs: {error}") from error
    return Found(page.runs, page.shards, page.cursor, page.unknown, page.behind)


def unpacked_count(data: bytes) -> RunCount:
    """Return a count. Raises ``SchemaMismatch``."""
    try:
        count = _counts.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SchemaMismatch(f"it is no count of runs: {error}") from error
    return replace(count, groups=tuple(count.groups), unknown=tuple(count.unknown))


def unpacked_table(data: bytes) -> TablePage:
    """Return a page of a table. Raises ``SchemaMismatch``."""
    try:
        page = _tables.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SchemaMismatch(f"it is no page of a table: {error}") from error
    return TablePage(page.items, page.after, page.behind)
