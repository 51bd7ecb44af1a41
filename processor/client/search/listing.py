"""Lists and counts of runs."""

from __future__ import annotations

import logging
from abc import ABC
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from processor import arguments as given
from processor import checks
from processor.client.calls import ClientCalls
from processor.client.descriptions import RunDescription, description, descriptions
from processor.core.questions import ListRuns
from processor.errors import InvalidArgument
from processor.gateway import only_outside
from processor.policy import Status
from processor.views.answers import Found, RunCount

if TYPE_CHECKING:
    from processor.views.language import Query

__all__ = ("ListsRuns",)

_log = logging.getLogger("processor.client")

_PAGE: Final = 100


class ListsRuns(ABC):
    """The part of a client that finds runs."""

    _calls: ClientCalls

    async def list(
        self,
        query: str | None = None,
        *,
        status: Status | str | None = None,
        workflow: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[RunDescription]:
        """Yield the runs that a query finds; without one, the latest run of each workflow id.

        ``client.list("status = 'failed' AND customer = 'ada' ORDER BY closed DESC")``: the language
        is in docs/search.md. A query finds open and closed runs, the one that began last first, and
        is answered by a view of the log: on Kafka, that of ``views_dir``. Without a query, shard by
        shard, ``status`` and ``workflow`` choose. ``limit`` is how many at the most (default: all).
        Raises ``InvalidArgument``, which shows where a query is wrong; ``ShardUnavailable``.
        """
        only_outside()
        left = None if limit is None else checks.whole(limit, "list: limit", 1)
        if query is not None:
            if status is not None or workflow is not None:
                raise InvalidArgument("list: query: say status and workflow in the query, too")
            async for run in self._found(self._parsed(query, "list: query"), left):
                yield run
            return
        wanted = None if status is None else given.status(status)
        if workflow is not None:
            workflow = checks.name(workflow, "list: workflow")
        for partition in range(self._calls.gateway.partitions):
            after: str | None = ""
            while after is not None:
                count = _PAGE if left is None else min(left, _PAGE)
                body = ListRuns(wanted, workflow, after, count)
                page = await self._calls.page("", body, partition=partition)
                for run in descriptions(page, partition, self._calls.payloads):
                    yield run
                    left = None if left is None else left - 1
                    if left == 0:
                        return
                after = page.after

    async def count(self, query: str = "") -> RunCount:
        """Return how many runs a query finds, and how many in each group.

        ``client.count("closed > now() - '1d' GROUP BY workflow, status")``, and with figures
        ``"SELECT avg(duration) WHERE status = 'completed' GROUP BY workflow"``. Runs are open and
        closed ones, until they are purged. Answered, and raises, as ``list`` with a query.
        """
        only_outside()
        found = await self._search(query, "count: query")
        assert isinstance(found, RunCount), f"a view answers a count with {found}"
        _tell("count", found.unknown)
        return found

    async def _found(self, query: Query, left: int | None) -> AsyncIterator[RunDescription]:
        from processor.views.asking import view_of

        cursor: str | None = None
        while True:
            limit = _PAGE if left is None else min(left, _PAGE)
            page = await self._searched(query, "list: query", limit, cursor)
            assert isinstance(page, Found), f"a view answers a list with {page}"
            if cursor is None:
                _tell("list", page.unknown)
            for run, shard in zip(page.runs, page.shards, strict=True):
                yield description(view_of(run, shard))
            left = None if left is None else left - len(page.runs)
            cursor = page.cursor
            if cursor is None or left == 0:
                return

    def _parsed(self, query: str, what: str) -> Query:
        from processor.views.language import parsed  # not for those who never search

        return parsed(checks.text(query, what), self._calls.now_ms(), what)

    async def _search(
        self, query: str, what: str, limit: int | None = None, cursor: str | None = None
    ) -> Found | RunCount:
        """Return a page of runs (``limit``), or a count. ``what`` names the query in errors."""
        return await self._searched(self._parsed(query, what), what, limit, cursor)

    async def _searched(
        self, query: Query, what: str, limit: int | None = None, cursor: str | None = None
    ) -> Found | RunCount:
        from processor.views.search import RunSearch

        calls, search = self._calls, RunSearch(query, what, limit, cursor)
        return await calls.gateway.search(search, timeout_s=calls.settings.request_timeout_s)


def _tell(call: str, unknown: Sequence[str]) -> None:
    """Warn of names that may be misspelt: there is no list of those that are right."""
    if unknown:
        names = ", ".join(map(repr, unknown))
        _log.warning(
            "%s: query: no run has an attribute named %s now. If that is a misspelt name, nothing "
            "fits it",
            call,
            names,
        )
