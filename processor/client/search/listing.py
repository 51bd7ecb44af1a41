"""Lists of runs."""

from __future__ import annotations

from abc import ABC
from collections.abc import AsyncIterator

from processor import arguments as given
from processor import checks
from processor.client.calls import ClientCalls
from processor.client.descriptions import RunDescription, descriptions
from processor.core.questions import ListRuns
from processor.gateway import only_outside
from processor.policy import Status

__all__ = ("ListsRuns",)


class ListsRuns(ABC):
    """The part of a client that finds runs."""

    _calls: ClientCalls

    async def list(
        self,
        *,
        status: Status | str | None = None,
        workflow: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[RunDescription]:
        """Yield the latest run of each workflow id, shard by shard, from the state tables.

        ``limit`` is how many at the most (default: all). Raises ``InvalidArgument``.
        """
        only_outside()
        wanted = None if status is None else given.status(status)
        if workflow is not None:
            workflow = checks.name(workflow, "list: workflow")
        left = None if limit is None else checks.whole(limit, "list: limit", 1)
        for partition in range(self._calls.gateway.partitions):
            after: str | None = ""
            while after is not None:
                count = 100 if left is None else min(left, 100)
                body = ListRuns(wanted, workflow, after, count)
                page = await self._calls.page("", body, partition=partition)
                for run in descriptions(page, partition, self._calls.payloads):
                    yield run
                    left = None if left is None else left - 1
                    if left == 0:
                        return
                after = page.after
