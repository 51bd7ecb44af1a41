"""Tables of users, as a client reads them."""

from __future__ import annotations

from abc import ABC
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from processor import checks
from processor.client.calls import ClientCalls
from processor.gateway import only_outside

if TYPE_CHECKING:
    from processor.views.answers import ViewRow

__all__ = ("ReadsTables",)

_PAGE: Final = 500


class ReadsTables(ABC):
    """The part of a client that reads tables."""

    _calls: ClientCalls

    async def view(
        self, name: str, *, prefix: str = "", limit: int | None = None
    ) -> AsyncIterator[ViewRow]:
        """Yield the rows of a table of yours (``@views.table``) in the order of their keys.

        Only those whose keys begin with ``prefix``; ``limit`` is how many at the most (default:
        all). What shards have of one key is one row. All that was acknowledged before is in the
        rows; where a view is behind the log, on Kafka, a warning says so. Raises
        ``InvalidArgument`` where there is no such table, ``ProcessorError`` where its function has
        failed, ``ShardUnavailable``.
        """
        from processor.views.tables.pages import TableSearch  # not for those who read none

        only_outside()
        name, prefix = checks.name(name, "view: name"), checks.text(prefix, "view: prefix")
        left = None if limit is None else checks.whole(limit, "view: limit", 1)
        calls, after = self._calls, None
        while True:
            count = _PAGE if left is None else min(left, _PAGE)
            search = TableSearch(name, f"view {name!r}", count, prefix, after)
            page = await calls.gateway.view(search, timeout_s=calls.settings.request_timeout_s)
            for row in page.rows:
                yield row
            left = None if left is None else left - len(page.rows)
            after = page.after
            if after is None or left == 0:
                return
