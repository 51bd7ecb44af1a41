"""What a view answers, as bytes: MessagePack, in which a time is a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from processor.errors import SchemaMismatch
from processor.views.answers import Found, RunCount
from processor.views.fold import Row

__all__ = ("PackedSearch", "packed", "unpacked_count", "unpacked_found")


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
